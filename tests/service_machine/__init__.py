"""The service under a real systemd: a machine is booted from Debian packages, and edgeagent is used in it."""
