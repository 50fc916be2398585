"""Zip archives from strangers: unpacked without leaving the folder and without filling disk or memory.

Everything is checked against the archive's directory before the first byte is written, and sizes once more
while writing. Files stream through a small buffer.
"""

import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path

CHUNK_BYTES = 2**20
MAX_DEPTH = 32
MAX_PART_BYTES = 255  # of one folder or file name, as file systems have it
MAX_RATIO = 100  # images and annotations shrink by far less; a bomb by up to 1032
RATIO_FREE_BYTES = 64 * 2**20  # below this a high ratio harms nobody

END_RECORD = struct.Struct("<4s8xLLH")
END_RECORD_64 = struct.Struct("<4s20xQQQQ")
LOCATOR_64 = struct.Struct("<4s16x")
DIRECTORY_ENTRY = struct.Struct("<4s24x3H12x")  # signature; lengths of name, extra field and comment
MAX_COMMENT_BYTES = 2**16

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
DRIVE = re.compile(r"[A-Za-z]:")
JUNK_FOLDERS = {"__MACOSX"}
JUNK_FILES = {".DS_Store", "Thumbs.db", "desktop.ini"}
READABLE_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, UnicodeDecodeError, NotImplementedError)


class ArchiveError(ValueError):
    """An archive that is refused; `code` tells the reasons apart, `entry` names the one to blame, if any."""

    def __init__(self, code: str, message: str, entry: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.entry = entry


def extract(
    source: Path, folder: Path, *, max_files: int, max_bytes: int, max_depth: int = MAX_DEPTH
) -> None:
    """Unpack the zip `source` into the new `folder`: at most `max_files` files of `max_bytes` bytes together.

    Names are taken as POSIX paths, backslashes as slashes. Folders without files and what macOS and Windows
    leave behind are skipped. Archives within the archive stay as they are. After an error the folder may hold
    some of the files.
    """
    with source.open("rb") as file:
        try:
            _check_directory_size(file, max_files)
            with zipfile.ZipFile(file) as archive:
                entries = _checked(
                    archive.infolist(),
                    archive_bytes=source.stat().st_size,
                    max_bytes=max_bytes,
                    max_depth=max_depth,
                )
                for info, parts in entries:
                    _write(archive, info, folder.joinpath(*parts))
        except BROKEN as error:
            raise ArchiveError(
                "BROKEN_ARCHIVE", f"the zip is damaged or cut off ({error}); send the whole file"
            ) from error


def _check_directory_size(file: BufferedReader, max_files: int) -> None:
    """Count the entries by their headers: `ZipFile` makes objects of them all before one can stop it."""
    for number, _ in enumerate(_directory_entries(file), 1):
        if number > max_files:
            raise ArchiveError("TOO_MANY_FILES", f"the zip has more entries than the limit of {max_files:,}")


def _directory_entries(file: BufferedReader) -> Iterator[int]:
    """Offsets of the central directory's entries, where `zipfile` finds them: right before the end record."""
    end, size = _end_of_directory(file)
    at = end - size
    if at < 0:
        raise zipfile.BadZipFile("its directory is larger than the file")
    while at < end:
        file.seek(at)
        signature, name, extra, comment = DIRECTORY_ENTRY.unpack(file.read(DIRECTORY_ENTRY.size))
        if signature != b"PK\x01\x02":
            raise zipfile.BadZipFile("its directory is not where the end record says")
        yield at
        at += DIRECTORY_ENTRY.size + name + extra + comment


def _end_of_directory(file: BufferedReader) -> tuple[int, int]:
    """Where the central directory ends, and its size in bytes."""
    length = file.seek(0, 2)
    tail_start = max(length - END_RECORD.size - MAX_COMMENT_BYTES, 0)
    file.seek(tail_start)
    tail = file.read()
    last = tail[-END_RECORD.size :]
    plain = last.startswith(b"PK\x05\x06") and last.endswith(b"\0\0")
    position = len(tail) - END_RECORD.size if plain else tail.rfind(b"PK\x05\x06")
    if position < 0:
        hint = "it is cut off" if tail_start or tail.startswith(b"PK") else "it is another format"
        raise ArchiveError(
            "NOT_A_ZIP", f"not a whole zip file: no directory at its end, so {hint}; send a zip"
        )
    _, size, _, _ = END_RECORD.unpack_from(tail, position)
    end = tail_start + position
    wide = end - LOCATOR_64.size - END_RECORD_64.size
    if wide >= 0:
        file.seek(wide)
        record = file.read(END_RECORD_64.size + LOCATOR_64.size)
        if record.startswith(b"PK\x06\x06") and record[END_RECORD_64.size :].startswith(b"PK\x06\x07"):
            return wide, END_RECORD_64.unpack_from(record)[3]
    return end, size


def _checked(
    infos: Iterable[zipfile.ZipInfo], *, archive_bytes: int, max_bytes: int, max_depth: int
) -> list[tuple[zipfile.ZipInfo, tuple[str, ...]]]:
    """The files to write and the parts of their paths; raises for an archive that is not safe to unpack."""
    entries = []
    seen: dict[str, tuple[str, bool]] = {}
    for info in infos:
        parts = _parts(info, max_depth)
        if info.orig_filename.endswith(("/", "\\")) or _is_junk(parts):
            continue
        _check_kind(info)
        if not 0 <= info.header_offset < archive_bytes:
            raise zipfile.BadZipFile(f"{info.filename!r} lies outside the file")
        _check_collision(parts, seen, info.filename)
        entries.append((info, parts))
    _check_sizes([info for info, _ in entries], archive_bytes=archive_bytes, max_bytes=max_bytes)
    return entries


def _parts(info: zipfile.ZipInfo, max_depth: int) -> tuple[str, ...]:
    name = info.orig_filename.replace("\\", "/")
    if CONTROL.search(name):
        raise ArchiveError("UNSAFE_NAME", f"{name!r} has a control character in its name", repr(name))
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or DRIVE.match(name) or ".." in parts or not parts:
        raise ArchiveError(
            "UNSAFE_NAME", f"{name!r} leads out of the folder; names must be relative and without ..", name
        )
    if len(parts) > max_depth or any(len(part.encode()) > MAX_PART_BYTES for part in parts):
        limits = f"{max_depth} folders deep, {MAX_PART_BYTES} bytes a name"
        raise ArchiveError("NAME_TOO_LONG", f"{name[:80]!r}... is beyond the limits: {limits}", name[:80])
    return parts


def _is_junk(parts: tuple[str, ...]) -> bool:
    return not JUNK_FOLDERS.isdisjoint(parts) or parts[-1] in JUNK_FILES or parts[-1].startswith("._")


def _check_kind(info: zipfile.ZipInfo) -> None:
    name = info.filename
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise ArchiveError("NOT_A_FILE", f"{name!r} is a link or device; pack the files themselves", name)
    if info.flag_bits & 0x1:
        raise ArchiveError("ENCRYPTED", f"{name!r} is encrypted; pack it without a password", name)
    if info.compress_type not in READABLE_METHODS:
        raise ArchiveError(
            "UNKNOWN_COMPRESSION",
            f"{name!r} is compressed by method {info.compress_type}; pack it by deflate or stored",
            name,
        )


def _check_collision(parts: tuple[str, ...], seen: dict[str, tuple[str, bool]], entry: str) -> None:
    """No entry may write over another one on any file system, those that fold case or accents included."""
    for depth in range(1, len(parts) + 1):
        path, is_file = "/".join(parts[:depth]), depth == len(parts)
        folded = unicodedata.normalize("NFC", path).casefold()
        known = folded in seen
        other, was_file = seen.setdefault(folded, (path, is_file))
        if other != path:
            raise ArchiveError(
                "NAME_COLLISION", f"{path!r} and {other!r} differ in case or accents alone; rename one", entry
            )
        if known and (is_file or was_file):
            raise ArchiveError("NAME_COLLISION", f"{path!r} is there twice; keep one", entry)


def _check_sizes(infos: list[zipfile.ZipInfo], *, archive_bytes: int, max_bytes: int) -> None:
    total, packed = sum(i.file_size for i in infos), sum(i.compress_size for i in infos)
    if total > max_bytes:
        raise ArchiveError(
            "TOO_LARGE", f"unpacked it has {total:,} bytes, more than the limit of {max_bytes:,}"
        )
    if packed > archive_bytes:
        raise ArchiveError("BOMB", "its entries overlap: together they are larger than the file")
    if total > RATIO_FREE_BYTES and total > MAX_RATIO * max(packed, 1):
        raise ArchiveError("BOMB", f"it would grow from {packed:,} to {total:,} bytes; images do not")


def _write(archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with archive.open(info) as packed, file.open("xb") as target:
        while chunk := packed.read(CHUNK_BYTES):
            written += len(chunk)
            if written > info.file_size:
                raise ArchiveError("BOMB", f"{info.filename!r} is larger than it says", info.filename)
            target.write(chunk)
    if written != info.file_size:
        raise ArchiveError("BROKEN_ARCHIVE", f"{info.filename!r} is cut off", info.filename)


def pack(folder: Path, names: Iterable[str], file: Path) -> None:
    """A zip of some files of `folder`, stored, in the order given: the same files give the same bytes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            info = zipfile.ZipInfo(name)  # dated 1980
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            with (folder / name).open("rb") as source, archive.open(info, "w", force_zip64=True) as target:
                while chunk := source.read(CHUNK_BYTES):
                    target.write(chunk)
