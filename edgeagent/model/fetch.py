"""Brings a model file from the Hugging Face hub: resumed, checked, and under its final name only when it is whole.

`huggingface_hub` knows the hub (addresses, metadata, access, redirects, what its errors mean); the bytes are written
here, since its own download begins anew after a killed process (it writes to a new temporary name each time). The
package takes 0.35 s and 20 MB to import, so it is imported by a pull and by nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from edgeagent.errors import EdgeagentError, InvalidModel, ModelError, NotFound
from edgeagent.model.catalog import Source

ATTEMPTS = 6
"""Broken connections in a row, with nothing received, after which a pull gives up."""
SPARE_BYTES = 50_000_000
"""What a download leaves free on the disk."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DEFAULT_HUB = "https://huggingface.co"


class Progress(Protocol):
    def __call__(self, done: int, total: int) -> None:
        """So many bytes of so many are there."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on the hub as it is now. `sha256` is empty where the hub does not say."""

    source: Source
    url: str
    size: int
    sha256: str


def locate(source: Source, environ: Mapping[str, str]) -> Remote:
    """Asks the hub (`HF_ENDPOINT`, with `HF_TOKEN` where set) for the file's size and digest.

    Raises:
        NotFound: no such repository or file. ModelError: gated, or the hub cannot be reached.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    endpoint = environ.get("HF_ENDPOINT", "").rstrip("/") or _DEFAULT_HUB
    token = environ.get("HF_TOKEN") or None
    with _explained(source, endpoint):
        url = hf_hub_url(source.repository, source.file, endpoint=endpoint)
        found = get_hf_file_metadata(url, token=token, endpoint=endpoint)
    if found.commit_hash:
        url = hf_hub_url(source.repository, source.file, endpoint=endpoint, revision=found.commit_hash)
    if found.size is None:
        raise ModelError(f"the hub does not say how large {source} is", "try again later")
    etag = (found.etag or "").lower()
    return Remote(source, url, found.size, etag if _SHA256.fullmatch(etag) else "")


def fetch(
    remote: Remote, target: Path, environ: Mapping[str, str], progress: Progress, check: Callable[[Path], object]
) -> str:
    """Downloads to `target`, going on from what an earlier try left. Returns the SHA-256 of the file.

    Args:
        check: looks at the whole file before it gets its name; raises to refuse it.

    Raises:
        ModelError: no room, the connection is lost, or size or digest are not what the hub said.
    """
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = target.with_name(f".{target.stem}.{(remote.sha256 or str(remote.size))[:16]}.part")
    with _exclusive(part, target) as file:
        _check_room(remote, part, target)
        digest = _download(remote, file, environ, progress)
        if remote.sha256 and digest != remote.sha256:
            part.unlink()
            raise ModelError(
                f"{remote.source} arrived damaged: its SHA-256 is {digest}, the hub says {remote.sha256}",
                f"edgeagent models pull {remote.source}",
            )
        try:
            check(part)
        except InvalidModel as error:
            part.unlink()
            raise InvalidModel(error.message.replace(str(part), str(remote.source)), error.hint) from error
        os.replace(part, target)
    _sync_folder(target.parent)
    for left in target.parent.glob(f".{target.stem}.*.part"):  # of other versions of the file
        left.unlink(missing_ok=True)
    return digest


def _check_room(remote: Remote, part: Path, target: Path) -> None:
    missing = remote.size - part.stat().st_size
    free = shutil.disk_usage(target.parent).free
    if missing + SPARE_BYTES > free:
        raise ModelError(
            f"{target.stem} needs {missing / 1e6:,.0f} MB more and {SPARE_BYTES / 1e6:.0f} MB must stay free,"
            f" but {target.parent} has {free / 1e6:,.0f} MB",
            "make room, or choose a smaller model: edgeagent models list",
        )


@contextlib.contextmanager
def _exclusive(part: Path, target: Path) -> Iterator[BinaryIO]:
    """The part file, for one process at a time."""
    with part.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ModelError(f"{target.stem} is being pulled by another process", "wait for it to end") from None
        yield file


def _download(remote: Remote, file: BinaryIO, environ: Mapping[str, str], progress: Progress) -> str:
    """Appends what is missing, over several connections if need be."""
    digest, done = _known(remote, file)
    attempts = 0
    while done < remote.size:
        before = done
        with _retried(remote) as is_broken:
            for chunk, begins_anew in _chunks(remote, done, environ):
                if begins_anew:  # the hub sends the whole file, whatever was asked for
                    file.truncate(0)
                    digest, done = hashlib.sha256(), 0
                if done + len(chunk) > remote.size:
                    raise ModelError(f"the hub sent more than the {remote.size:,} bytes of {remote.source}")
                _write(file, chunk)
                digest.update(chunk)
                done += len(chunk)
                progress(done, remote.size)
        attempts = 0 if done > before else attempts + 1
        if done < remote.size and attempts >= ATTEMPTS:
            raise ModelError(
                f"the connection broke {attempts} times after {done:,} of {remote.size:,} bytes of {remote.source}"
                f" ({is_broken.reason})",
                f"edgeagent models pull {remote.source} goes on from there",
            )
        if done < remote.size:
            time.sleep(min(0.2 * 2**attempts, 8.0))
    file.flush()
    os.fsync(file.fileno())
    return str(digest.hexdigest())


def _known(remote: Remote, file: BinaryIO) -> tuple[Any, int]:
    """The digest and length of what is there already."""
    size = os.fstat(file.fileno()).st_size
    if size > remote.size:
        file.truncate(0)
        size = 0
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest, size


def _write(file: BinaryIO, chunk: bytes) -> None:
    try:
        file.write(chunk)
        file.flush()
    except OSError as error:
        raise ModelError(f"cannot write the download: {error.strerror}", "make room, then pull again") from error


def _chunks(remote: Remote, begin: int, environ: Mapping[str, str]) -> Iterator[tuple[bytes, bool]]:
    """Pieces of the file from `begin` on; with the first one, whether it is the very beginning instead."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # exported, but not in a way that mypy sees
        build_hf_headers,
        hf_raise_for_status,
        http_stream_backoff,
    )

    headers = {**build_hf_headers(token=environ.get("HF_TOKEN") or None), "Accept-Encoding": "identity"}
    if begin:
        headers["Range"] = f"bytes={begin}-"
    # A connection that breaks while it is read is not for the hub's own retries, which would begin anew.
    with http_stream_backoff(
        "GET", remote.url, headers=headers, timeout=30, max_retries=2, retry_on_exceptions=()
    ) as response:
        hf_raise_for_status(response)
        begins_anew = begin > 0 and response.status_code != 206
        for chunk in response.iter_bytes():
            yield chunk, begins_anew
            begins_anew = False


class _Breakage:
    reason = "it ended early"


@contextlib.contextmanager
def _retried(remote: Remote) -> Iterator[_Breakage]:
    """Swallows a connection that broke, and remembers why."""
    import httpx2

    breakage = _Breakage()
    with _explained(remote.source, remote.url.partition(f"/{remote.source.repository}")[0]):
        try:
            yield breakage
        except httpx2.TransportError as error:
            breakage.reason = str(error) or type(error).__name__


@contextlib.contextmanager
def _explained(source: Source, endpoint: str) -> Iterator[None]:
    """Turns what the hub and the network say into one line with the next thing to do."""
    import httpx2
    from huggingface_hub import errors

    page = f"{endpoint}/{source.repository}"
    try:
        yield
    except EdgeagentError:
        raise
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{source.repository} is gated: its owner wants you to accept terms first",
            f"accept them at {page}, then set HF_TOKEN to a token of yours and pull again",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise NotFound(
            f"the hub has no repository {source.repository}, or it is private",
            f"see {page}; a private one needs HF_TOKEN",
        ) from error
    except errors.EntryNotFoundError as error:
        raise NotFound(
            f"{source.repository} has no file {source.file}", f"its files are listed at {page}/tree/main"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise ModelError("HF_HUB_OFFLINE is set, so nothing can be pulled", "unset HF_HUB_OFFLINE") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise ModelError(f"the hub answered {status} for {source}", "try again later") from error
    except errors.HFValidationError as error:
        raise NotFound(f"{source.repository} is no name of a repository", "write hf:ORG/REPO/FILE.gguf") from error
    except httpx2.HTTPError as error:
        raise ModelError(
            f"the hub at {endpoint} cannot be reached: {error or type(error).__name__}",
            "check the network, or copy the file here by hand: edgeagent models add PATH",
        ) from error


def _sync_folder(folder: Path) -> None:
    """So that the new name survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
