"""What goes wrong between here and a server, before it says anything that can be read: in words, with what to do."""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass

from edgeagent.errors import ModelError
from edgeagent.model.endpoint.address import Address

LOOK = "edgeagent doctor"


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to connect, seconds without a byte, seconds in all; bytes of an answer."""

    connect: float = 10.0
    silence: float = 300.0
    total: float = 1800.0
    size: int = 8_000_000


class TooLargeError(Exception):
    """The answer has more bytes than it may."""


def explained(error: Exception, where: Address, patience: Patience, *, is_connected: bool) -> ModelError:
    """`is_connected`: whether there was a connection (and TLS on it) already."""
    if isinstance(error, ssl.SSLError) and not is_connected:
        return _no_tls(error, where)
    if not is_connected:
        return _unreachable(error, where, patience)
    match error:
        case TooLargeError():
            return ModelError(f"{where} sent more than {patience.size / 1_000_000:g} MB", LOOK)
        case TimeoutError():
            return ModelError(f"{where} was silent for {patience.silence:g} seconds", LOOK)
        case http.client.RemoteDisconnected():
            return ModelError(f"{where} ended the connection without an answer", LOOK)
        case OSError() | http.client.IncompleteRead():
            return ModelError(f"{where} broke off in the middle of its answer", LOOK)
    told = f"{where} does not speak HTTP as it should: {type(error).__name__}"
    return ModelError(told, "is it an OpenAI-compatible server?")


def _no_tls(error: ssl.SSLError, where: Address) -> ModelError:
    if isinstance(error, ssl.SSLCertVerificationError):
        told = f"{where} cannot be trusted: {error.verify_message}"
        return ModelError(told, "name the file of its authority's certificate in SSL_CERT_FILE")
    if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
        return ModelError(f"{where} does not speak TLS", "write http:// in the endpoint, if that is meant")
    return ModelError(f"{where}: no TLS connection: {error.reason or error}", LOOK)


def _unreachable(error: Exception, where: Address, patience: Patience) -> ModelError:
    match error:
        case socket.gaierror() | UnicodeError():
            told, hint = f"no address is known for {where.host}", "is this device online, and is the name right?"
        case TimeoutError():
            told, hint = (
                f"no answer within {patience.connect:g} seconds",
                "is the server running, and is it allowed in?",
            )
        case OSError():
            told, hint = str(error.strerror or error), "is the server running, and is the address right?"
        case _:
            told, hint = str(error), LOOK
    return ModelError(f"{where} cannot be reached: {told}", hint)
