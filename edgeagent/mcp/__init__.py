"""MCP servers: programs that offer tools over stdio, each run inside the sandbox with what its agent grants.

Owns how a server of config.toml is started, spoken to and ended, what of its tool list is shown, and when it is trusted
no more. Does not own policy: a call goes through the toolbox as that of any tool. The SDK (`edgeagent[mcp]`) is
imported in one file, connection.py, when a server is started for the first time.
"""
