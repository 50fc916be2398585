"""A large body as a file, written piece by piece off the event loop: plain, or the one file of a form."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from anyio import CancelScope, to_thread
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, MultipartState, parse_options_header

from posneg.service.errors import BadRequest, InvalidRequest, UnsupportedMediaType
from posneg.service.repository import UPLOAD

BUFFER_BYTES = 4 * 2**20
FORM = "multipart/form-data"


@asynccontextmanager
async def received(
    request: Request, folder: Path, *, kinds: tuple[str, ...] = (), forms: bool = False
) -> AsyncIterator[Path]:
    """The body as a file in a new folder below `folder`, which is gone afterwards.

    `kinds` are the content types that are taken, all of them where none is named; `forms` takes a form's
    one file.
    """
    header, options = parse_options_header(request.headers.get("content-type"))
    kind = header.decode("latin-1")
    taken = (*kinds, FORM) if forms else kinds
    if (kind == FORM and not forms) or (kind and kinds and kind not in taken):
        told = f"none of {', '.join(taken)}" if kinds else "not taken: send the file as the body itself"
        raise UnsupportedMediaType(f"Content-Type {kind[:60]!r} is {told}")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("send the file as it is, without a Content-Encoding")
    folder.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=folder, prefix=UPLOAD))
    try:
        file = place / "body"
        with file.open("wb") as target:
            if kind == FORM:
                form = _FormFile(options.get(b"boundary", b""), target)
                await _drain(request, form.write)
                form.finish()
            else:
                await _drain(request, target.write)
        yield file
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(shutil.rmtree, place)  # it may hold a whole data set by now


async def _drain(request: Request, write: Callable[[bytes], object]) -> None:
    """Hand the body to `write` in pieces of a few MiB, each in a thread."""
    buffer = bytearray()
    async for chunk in request.stream():
        buffer += chunk
        if len(buffer) >= BUFFER_BYTES:
            await to_thread.run_sync(write, bytes(buffer))
            buffer.clear()
    await to_thread.run_sync(write, bytes(buffer))


class _FormFile:
    """Writes the one file of a multipart form; its other parts are read past."""

    def __init__(self, boundary: bytes, target: BinaryIO) -> None:
        self._target = target
        self._name = self._value = b""
        self._is_file = False
        self._files = 0
        if not boundary:
            raise BadRequest(f"Content-Type {FORM} needs a boundary")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_part_data": self._data,
                },
            )
        except FormParserError as error:
            raise BadRequest(f"the form cannot be read: {error}") from error

    def write(self, data: bytes) -> None:
        """Take the next piece of the body."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise BadRequest(f"the form cannot be read: {error}") from error

    def finish(self) -> None:
        """Raise unless the form was whole and held one file."""
        if self._parser.state != MultipartState.END:
            raise BadRequest("the form is cut off; send it whole")
        if self._files != 1:
            detail = f"the form has {self._files} files, send one, with a filename: curl -F file=@data.zip"
            raise InvalidRequest.at("", detail, "not_one_file")

    def _begin(self) -> None:
        self._is_file = False

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._is_file = b"filename" in parse_options_header(self._value)[1]
            self._files += self._is_file
        self._name = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file and self._files == 1:
            self._target.write(data[start:end])
