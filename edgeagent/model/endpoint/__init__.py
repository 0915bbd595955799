"""A model behind an OpenAI-compatible server: llama-server, Ollama, vLLM, or a service.

address    which server, as an agent's file names it
exchange   one HTTP request and its answer, within limits of time and size, that can be ended at any moment
wire       a conversation as those servers take it, and what they answer, parsed once
reply      an answer that comes in pieces, put together
checking   whether a call names a tool and matches its schema, and an answer its own
refusal    what a server says when it does not answer, in words and with what to do
server     one server: the key, tries and pauses, and what it does not take
model      the Model that agents use
"""

from edgeagent.model.endpoint.address import Address
from edgeagent.model.endpoint.model import EndpointModel
from edgeagent.model.endpoint.server import Server

__all__ = ["Address", "EndpointModel", "Server"]
