"""Puts a model file of yours into the models folder: looks at it first, and gives it its name only when it is whole."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from edgeagent.errors import InvalidModel, ModelError, UsageError
from edgeagent.model.catalog import Catalog, CatalogEntry, Record
from edgeagent.model.fetch import SPARE_BYTES, Progress
from edgeagent.model.header import Header, read_header
from edgeagent.schema import format_time

_CHUNK = 1 << 20


def check_model(path: Path) -> Header:
    """Refuses what edgeagent could not run: no GGUF, cut short, one part of several, no weights. InvalidModel."""
    model = read_header(path)
    if model.number("split.count") > 1:
        raise InvalidModel(f"{path} is one part of a model in several files", "join them: llama-gguf-split --merge")
    if not model.tensors:
        raise InvalidModel(f"{path} holds a vocabulary and no weights", "name the file of the whole model")
    if not model.of_architecture("block_count") or not model.vocabulary:
        raise InvalidModel(f"{path} is no language model", "name a GGUF of an instruction-tuned language model")
    return model


def add_model(
    catalog: Catalog, path: Path, name: str, link: bool, now: datetime, progress: Progress
) -> tuple[CatalogEntry, Header]:
    """Copies (or links) the file into the models folder under that name.

    Raises:
        InvalidModel, NotFound: see `check_model`. UsageError: the name is taken. ModelError: no room.
    """
    model = check_model(path)
    target = catalog.path_of(name)
    if any(entry.name == name and entry.origin in ("bundled", "pulled", "added") for entry in catalog.entries()):
        raise UsageError(
            f"there is a model named {name}", f"give another name: --name, or edgeagent models remove {name}"
        )
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = _link(path, target, progress) if link else _copy(path, target, path.stat().st_size, progress)
    licence = model.text("general.license")
    about = model.text("general.name") or model.text("general.basename")
    catalog.write_record(
        name, Record(str(path.absolute()), digest, path.stat().st_size, licence, about, format_time(now))
    )
    return catalog.lookup(name), model


def _link(path: Path, target: Path, progress: Progress) -> str:
    digest = _read(path, lambda chunk: None, progress)
    target.symlink_to(path.absolute())
    return digest


def _copy(path: Path, target: Path, size: int, progress: Progress) -> str:
    free = shutil.disk_usage(target.parent).free
    if size + SPARE_BYTES > free:
        raise ModelError(
            f"{path.name} has {size / 1e6:,.0f} MB, but {target.parent} has {free / 1e6:,.0f} MB",
            "make room, or give --link to leave the file where it is",
        )
    part = target.with_name(f".{target.stem}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            digest = _read(path, file.write, progress)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as error:
        raise ModelError(f"cannot copy {path}: {error.strerror}", "make room, or give --link") from error
    finally:
        part.unlink(missing_ok=True)
    return digest


def _read(path: Path, take: Callable[[bytes], object], progress: Progress) -> str:
    """Reads the file once; returns its SHA-256."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            take(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress(done, total)
    return digest.hexdigest()
