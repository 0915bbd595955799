"""Which host, port and address a confined command may reach. Pure, but for asking the system's resolver.

A host is granted as it is written: `ntfy.sh:443` grants neither another port nor another name. Whatever a name stands
for, an address that is not public is refused unless that very address and port are granted by number, so that no name
leads to the router, to this machine or to the metadata service of a cloud.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], list[Address]]

_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?", re.ASCII)
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Refused(Exception):
    """Why a host is not reached."""

    reason: str


@dataclass(slots=True)
class Reachable:
    """The hosts that one command is granted."""

    names: set[tuple[str, int]] = field(default_factory=set)
    numbers: set[tuple[Address, int]] = field(default_factory=set)

    @classmethod
    def of(cls, hosts: Iterable[str]) -> Reachable:
        reachable = cls()
        for entry in hosts:
            host, port = split(entry)
            reachable.names.add((host, port))
            number = as_number(host)
            if number is not None:
                reachable.numbers.add((number, port))
        return reachable

    def addresses(self, host: str, port: int, resolve: Resolve) -> list[Address]:
        """Where to connect to. A name that was not granted is not even looked up. Raises Refused or OSError."""
        number = as_number(host)
        if number is None and (host, port) not in self.names:
            raise Refused("not granted")
        if number is not None:
            if (number, port) not in self.numbers:
                raise Refused("not granted")
            return [number]
        allowed = [found for found in resolve(host, port) if is_public(found) or (found, port) in self.numbers]
        if not allowed:
            raise Refused("stands for an address that is not public and not granted by number")
        return allowed


def split(entry: str) -> tuple[str, int]:
    """`host:port` in its parts, the name in lower case without a dot at its end. ValueError where it is not that."""
    host, colon, port = entry.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{entry!r} is not a host and port")
    if host.startswith("[") and host.endswith("]"):
        host = str(IPv6Address(host[1:-1]))
        if "%" in host:
            raise ValueError(f"{entry!r}: an address without a zone, please")
    elif ":" in host:
        raise ValueError(f"{entry!r} is not a host and port")
    host = host.lower().removesuffix(".")
    if not _HOST.fullmatch(host) and as_number(host) is None:
        raise ValueError(f"{entry!r} is not a host and port")
    return host, int(port)


def as_number(host: str) -> Address | None:
    """The address that is written, if one is."""
    try:
        return _plain(ip_address(host))
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """Whether it is an address of the public internet, through every way to write one IPv4 address as IPv6."""
    address = _plain(address)
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
        if address.sixtofour or address.teredo or address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def resolve(host: str, port: int) -> list[Address]:
    """What the system's resolver knows of a name. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def _plain(address: Address) -> Address:
    """::ffff:127.0.0.1 is 127.0.0.1."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
