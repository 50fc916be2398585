"""The files of a run as callers see them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from posneg.service.errors import NotFound

LOG = "log.txt"
LOG_BYTES = 4 * 2**20
CHUNK_BYTES = 2**20
PRIVATE = {"traceback.txt"}
"""For whoever runs the service: it tells where things lie."""


def log(folder: Path) -> bytes:
    """The end of what the trainer printed; empty where it has not started."""
    file = folder / LOG
    if not file.exists():
        return b""
    with file.open("rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - LOG_BYTES))
        return stream.read(LOG_BYTES)


def artifacts(folder: Path) -> list[dict[str, Any]]:
    """Every file that may be downloaded: name, bytes, and when it was last written."""
    found = ((file, file.stat()) for file in sorted(folder.rglob("*")) if _is_shown(folder, file))
    return [
        {"name": str(file.relative_to(folder)), "bytes": stat.st_size, "modified_at": stat.st_mtime}
        for file, stat in found
    ]


def opened(folder: Path, name: str) -> tuple[int, Iterator[bytes]]:
    """The size of one file, and its content."""
    file = folder / name
    if ".." in Path(name).parts or not _is_shown(folder, file):
        raise NotFound(f"the job has no file {name!r}; its artifacts are listed beside it")
    stream = file.open("rb")
    size = os.fstat(stream.fileno()).st_size

    def chunks() -> Iterator[bytes]:
        left = size
        with stream:
            while left and (chunk := stream.read(min(left, CHUNK_BYTES))):
                left -= len(chunk)
                yield chunk

    return size, chunks()


def _is_shown(folder: Path, file: Path) -> bool:
    if not file.is_relative_to(folder) or not file.is_file() or file.is_symlink():
        return False
    parts = file.relative_to(folder).parts
    return file.name not in PRIVATE and not any(part.startswith(".") for part in parts)
