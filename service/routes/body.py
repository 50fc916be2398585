"""A request's body in full: within a limit as sent, and once inflated, whatever its encoding promises."""

import zlib

import zstandard
from fastapi import Request

from posneg.service.errors import BadRequest, TooLarge, UnsupportedMediaType

PLAIN = ("", "identity")
GZIP = ("gzip", "x-gzip")
ZSTD = ("zstd",)
READ_HERE = "gzip, zstd"
GZIP_WINDOW = 31
"""zlib's number for a gzip header and its largest window."""
MAX_ZSTD_WINDOW = 128 * 2**20
ZSTD_CHUNK = 1024
"""Bytes inflated at a time: a block of a few bytes may stand for 128 KiB, and the decoder knows no limit."""


def encoding_of(request: Request) -> str:
    """The `Content-Encoding`; raises `UnsupportedMediaType` for one that is not read."""
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in (*PLAIN, *GZIP, *ZSTD):
        raise UnsupportedMediaType(
            f"Content-Encoding {encoding[:60]!r} is none of {READ_HERE}",
            headers={"Accept-Encoding": READ_HERE},
        )
    return encoding


async def read_body(request: Request, limit: int) -> bytes:
    """The body as sent, at most `limit` bytes; raises `TooLarge`."""
    parts, received = [], 0
    async for part in request.stream():
        received += len(part)
        if received > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """The body without its encoding, at most `limit` bytes; raises `TooLarge`, or `BadRequest` if broken.

    Takes its time, so it belongs in a thread; as many at once as may each hold `limit` bytes.
    """
    if encoding in PLAIN:
        return body
    return _inflate_gzip(body, limit) if encoding in GZIP else _inflate_zstd(body, limit)


def _inflate_gzip(body: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(wbits=GZIP_WINDOW)
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise BadRequest(f"the body is not gzip: {error}") from error
    if len(inflated) > limit:
        raise _too_large(limit)
    if not inflater.eof:
        raise BadRequest("the gzip body ends too early")
    if inflater.unused_data:
        raise BadRequest("the gzip body has something behind its end; send one member")
    return inflated


def _inflate_zstd(body: bytes, limit: int) -> bytes:
    inflater = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW).decompressobj()
    parts, size, position = [], 0, 0
    try:
        while position < len(body) and not inflater.eof:
            parts.append(inflater.decompress(body[position : position + ZSTD_CHUNK]))
            position += ZSTD_CHUNK
            size += len(parts[-1])
            if size > limit:
                raise _too_large(limit)
    except zstandard.ZstdError as error:
        raise BadRequest(f"the body is not zstd: {error}") from error
    if not inflater.eof:
        raise BadRequest("the zstd body ends too early")
    if inflater.unused_data or position < len(body):
        raise BadRequest("the zstd body has something behind its end; send one frame")
    return b"".join(parts)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than max_body_mib = {limit / 2**20:g} MiB; GET /v1/limits")
