"""The promises that the daemon keeps, each as trials that count violations: `make torture`.

tally   what trials gave             world    a home, its ledger of outside effects, and its settling of accounts
tracing strace, and what it tells    plan     which promise has which trials
report  docs/reliability.md          __main__ the command

kills, signals, poison, doubles, power, disk, bursts, partial, absence, schedules, soak, upgrade: the trials
"""
