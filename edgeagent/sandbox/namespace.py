"""A listening socket inside the network namespace of another process.

As a program of its own it enters that namespace, opens the socket and hands it over; the daemon, which has threads,
cannot enter one itself. What is confined sees a port on its loopback and needs no helper inside.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import socket
import sys
import time

PORT = 3128
_NEW_USER, _NEW_NET = 0x1000_0000, 0x4000_0000
_OWNER = 0xB701  # NS_GET_USERNS
_SECONDS = 10.0


def main() -> None:
    process, channel = int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
    network = os.open(f"/proc/{process}/ns/net", os.O_RDONLY)
    _enter(fcntl.ioctl(network, _OWNER), _NEW_USER)
    _enter(network, _NEW_NET)
    listener = _listen(time.monotonic() + _SECONDS)
    channel.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener.fileno()]))])


def _enter(namespace: int, kind: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(namespace, kind) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _listen(deadline: float) -> socket.socket:
    """The loopback has its address a moment after the namespace is there."""
    while True:
        listener = socket.socket()
        try:
            listener.bind(("127.0.0.1", PORT))
            listener.listen(64)
        except OSError:
            listener.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.001)
        else:
            return listener


if __name__ == "__main__":
    main()
