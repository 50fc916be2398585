"""Bytes by their SHA-256, in a folder or in object storage."""

import hashlib
import os
import tempfile
from pathlib import Path

import obstore
from obstore.exceptions import NotFoundError
from obstore.store import LocalStore, ObjectStore, from_url

from posneg.service.errors import NotFound
from posneg.service.settings import Settings

CHUNK_BYTES = 4 * 2**20


class Store:
    """One place for bytes; equal bytes are kept once, and what is kept under a name never changes."""

    def __init__(self, settings: Settings) -> None:
        self._objects = _open(settings)

    def put(self, data: bytes) -> str:
        """Keep `data`; its SHA-256 is its name."""
        name = hashlib.sha256(data).hexdigest()
        if not self.exists(name):
            obstore.put(self._objects, _path(name), data)
        return name

    def put_file(self, file: Path) -> str:
        """Keep a file's bytes without ever holding them all in memory."""
        with file.open("rb") as stream:
            name = hashlib.file_digest(stream, "sha256").hexdigest()
        if not self.exists(name):
            obstore.put(self._objects, _path(name), file)
        return name

    def read(self, sha256: str) -> bytes:
        """The bytes, for small things; `fetch` is for large ones."""
        try:
            return bytes(obstore.get(self._objects, _path(sha256)).bytes())
        except (NotFoundError, FileNotFoundError) as error:
            raise NotFound(f"the store has no object {sha256}") from error

    def fetch(self, sha256: str, file: Path) -> None:
        """Write the bytes to `file`, which appears whole or not at all."""
        try:
            stream = obstore.get(self._objects, _path(sha256)).stream(min_chunk_size=CHUNK_BYTES)
        except (NotFoundError, FileNotFoundError) as error:
            raise NotFound(f"the store has no object {sha256}") from error
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(handle, "wb") as target:
                for chunk in stream:
                    target.write(chunk)
            os.replace(temporary, file)
        except BaseException:
            os.unlink(temporary)
            raise

    def exists(self, sha256: str) -> bool:
        """Whether the bytes are kept here."""
        try:
            obstore.head(self._objects, _path(sha256))
        except (NotFoundError, FileNotFoundError):
            return False
        return True

    def delete(self, sha256: str) -> None:
        """Forget the bytes; nothing happens where there are none."""
        try:
            obstore.delete(self._objects, _path(sha256))
        except (NotFoundError, FileNotFoundError):
            return


def _open(settings: Settings) -> ObjectStore:
    if settings.store:
        return from_url(settings.store)
    return LocalStore(settings.data.resolve() / "store", mkdir=True)


def _path(sha256: str) -> str:
    """Two levels, so that no folder holds everything; a name that is no SHA-256 could lead elsewhere."""
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise NotFound(f"{sha256!r} is no SHA-256")
    return f"{sha256[:2]}/{sha256[2:]}"
