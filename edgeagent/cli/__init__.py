"""Commands: thin click functions over the runtime, the journal and the daemon's socket. One file a noun.

    main     the group, lazy loading, errors and exit codes      app      what every command gets
    screen   width, colours, tables, clean text                  command  options that all commands have
    trace    a run as people see it                              events   event data from the command line
    running  one run: here, or in the daemon                     checks   what `doctor` looks at
    words    agents, triggers and runs in a few words            settings config.toml with all its defaults

Nothing heavy is imported here or in main, so that --help and completion answer at once.
"""
