"""The control API: HTTP over a unix socket (SPEC section 11). Reads the journal and hands events on; runs nothing.

backend  what the daemon must offer     app      routes, errors        documents  /openapi.json
hooks    what webhook triggers listen to
server   the socket and its thread      client   for commands          wire       runs and errors as JSON and back
"""
