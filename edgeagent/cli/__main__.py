"""`python -m edgeagent.cli` is `edgeagent`, for where the script is not on the path."""

from edgeagent.cli.main import main

main()
