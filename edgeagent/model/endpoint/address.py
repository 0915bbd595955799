"""The address of a server, as an agent's file names it: `http://localhost:8080/v1`."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from edgeagent.errors import UsageError

_PORTS = {"http": 80, "https": 443}
_CHAT = "/chat/completions"
_KEPT = "%/:=&?~+!$,;'@()*[]-._"


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests go. `host` is without brackets; `path` begins with a slash and does not end with one."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """With `/v1` where the address has no path. Raises UsageError."""
        try:
            parts = urlsplit(text)
            host, port = (parts.hostname or "").encode("idna").decode(), parts.port
        except (ValueError, UnicodeError) as error:
            raise UsageError(f"{text} is not an address", "write one such as http://localhost:8080/v1") from error
        if parts.scheme not in _PORTS or not host or not text.isprintable() or " " in text:
            raise UsageError(f"{text} is not an address", "write one such as http://localhost:8080/v1")
        if parts.username is not None or parts.password is not None:
            raise UsageError("a key does not belong into the address", "write api_key: NAME, the name of a secret")
        if parts.query or parts.fragment:
            raise UsageError(f"{text} has a part after its path", "write one such as http://localhost:8080/v1")
        path = quote(parts.path.rstrip("/").removesuffix(_CHAT), safe=_KEPT)
        return cls(parts.scheme, host, port or _PORTS[parts.scheme], path or "/v1")

    @property
    def place(self) -> str:
        """`host:port`, and the host alone where the port is the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.place}{self.path}"
