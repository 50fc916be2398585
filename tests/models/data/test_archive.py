"""Zips from strangers: what is unpacked, and everything that is refused."""

import io
import random
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from posneg.models.data import archive
from posneg.models.data.archive import ArchiveError, extract, pack

FILES, BYTES = 100, 10_000_000


def zipped(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    """A zip with these entries, whatever their names."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in entries:
            target.writestr(name, data)
    return path


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def refusal(source: Path, folder: Path, *, max_files: int = FILES, max_bytes: int = BYTES) -> ArchiveError:
    """The error of an archive that is refused before anything is written outside the folder."""
    around = names(folder.parent)
    with pytest.raises(ArchiveError) as caught:
        extract(source, folder, max_files=max_files, max_bytes=max_bytes)
    assert {n for n in names(folder.parent) if not n.startswith(f"{folder.name}/")} == around
    return caught.value


def test_files_come_out_as_they_went_in(tmp_path: Path) -> None:
    """Folders are made; empty ones and the systems' leavings are skipped; inner archives stay closed."""
    inner = zipped(tmp_path / "inner.zip", ("x", b"x")).read_bytes()
    source = zipped(
        tmp_path / "a.zip",
        ("set/train/1.jpg", b"one"),
        ("./set/back\\slash.txt", b"two"),
        ("set/empty/", b""),
        ("set/inner.zip", inner),
        ("__MACOSX/set/train/._1.jpg", b"junk"),
        ("set/.DS_Store", b"junk"),
        ("set/._1.jpg", b"junk"),
        ("set/Thumbs.db", b"junk"),
        ("ünï.txt", b"three"),
    )

    extract(source, tmp_path / "out", max_files=FILES, max_bytes=BYTES)

    expected = {"set/train/1.jpg", "set/back/slash.txt", "set/inner.zip", "ünï.txt"}
    assert names(tmp_path / "out") == expected
    assert (tmp_path / "out/set/back/slash.txt").read_bytes() == b"two"


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/etc/evil", "\\evil", "..\\evil", "C:\\evil", "c:evil", "a/..", ".", "a\nb"],
)
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    """Parents, absolute paths, drives, control characters: nothing is written at all."""
    error = refusal(zipped(tmp_path / "a.zip", ("ok", b"x"), (name, b"x")), tmp_path / "out")

    assert error.code == "UNSAFE_NAME"
    assert not (tmp_path / "out").exists()


def test_a_name_with_nul_is_refused(tmp_path: Path) -> None:
    """`zipfile` itself would cut the name there."""
    source = zipped(tmp_path / "a.zip", ("aXb", b"x"))
    source.write_bytes(source.read_bytes().replace(b"aXb", b"a\0b"))

    assert refusal(source, tmp_path / "out").code == "UNSAFE_NAME"


@pytest.mark.parametrize("name", ["/".join("a" * 33), "n" * 256, "ü" * 128])
def test_a_name_beyond_the_file_systems_is_refused(tmp_path: Path, name: str) -> None:
    """Too deep, or longer than 255 bytes."""
    assert refusal(zipped(tmp_path / "a.zip", (name, b"x")), tmp_path / "out").code == "NAME_TOO_LONG"


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    """A link could lead anywhere."""
    info = zipfile.ZipInfo("link")
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16

    assert refusal(zipped(tmp_path / "a.zip", (info, b"/etc")), tmp_path / "out").code == "NOT_A_FILE"


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "pair",
    [("a", "a"), ("a/x", "A/x"), ("a", "A"), ("a", "a/b"), ("a/b", "a"), ("é", "e\u0301"), ("a", "./a")],
)
def test_names_that_collide_are_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    """Twice, in case or accents alone, or once as file and once as folder."""
    source = zipped(tmp_path / "a.zip", (pair[0], b"1"), (pair[1], b"2"))

    assert refusal(source, tmp_path / "out").code == "NAME_COLLISION"


def test_encrypted_entries_are_refused(tmp_path: Path) -> None:
    """The flag in the directory is enough."""
    source = zipped(tmp_path / "a.zip", ("a", b"x"))
    data = bytearray(source.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    source.write_bytes(data)

    assert refusal(source, tmp_path / "out").code == "ENCRYPTED"


def test_other_compressions_are_refused(tmp_path: Path) -> None:
    """Stored and deflate are what every tool writes."""
    source = tmp_path / "a.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_LZMA) as target:
        target.writestr("a", b"x" * 100)

    assert refusal(source, tmp_path / "out").code == "UNKNOWN_COMPRESSION"


def test_more_files_than_the_limit_are_refused(tmp_path: Path) -> None:
    """The limit is inclusive."""
    source = zipped(tmp_path / "a.zip", *[(f"{i}", b"") for i in range(10)])

    extract(source, tmp_path / "fits", max_files=10, max_bytes=BYTES)
    assert refusal(source, tmp_path / "out", max_files=9).code == "TOO_MANY_FILES"


def test_more_bytes_than_the_limit_are_refused(tmp_path: Path) -> None:
    """All files together; the limit is inclusive."""
    source = zipped(tmp_path / "a.zip", ("a", bytes(600)), ("b", bytes(400)))

    extract(source, tmp_path / "fits", max_files=FILES, max_bytes=1000)
    error = refusal(source, tmp_path / "out", max_bytes=999)
    assert error.code == "TOO_LARGE"
    assert "999" in str(error)


def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    """Within the limit of bytes, but no image shrinks a thousandfold."""
    source = zipped(tmp_path / "a.zip", ("zeros", bytes(archive.RATIO_FREE_BYTES + 1)))

    assert refusal(source, tmp_path / "out", max_bytes=10**12).code == "BOMB"
    assert not (tmp_path / "out").exists()


def test_entries_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """Fifield's bomb: many entries of the directory that lead to one block of data."""
    block = random.Random(0).randbytes(5000)
    data = zipped(tmp_path / "a.zip", ("aa", block)).read_bytes()
    start, end = data.rindex(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    entry = data[start:end]
    directory = b"".join(entry.replace(b"aa", f"{i:02}".encode()) for i in range(20))
    record = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 20, 20, len(directory), start, 0)
    (tmp_path / "b.zip").write_bytes(data[:start] + directory + record)

    assert refusal(tmp_path / "b.zip", tmp_path / "out").code == "BOMB"


def test_an_entry_larger_than_it_says_is_refused(tmp_path: Path) -> None:
    """A size of 10 declared for 100,000 bytes: no more than declared is written."""
    data = bytearray(zipped(tmp_path / "a.zip", ("a", bytes(100_000))).read_bytes())
    struct.pack_into("<L", data, data.rindex(b"PK\x01\x02") + 24, 10)
    struct.pack_into("<L", data, 22, 10)
    (tmp_path / "b.zip").write_bytes(data)

    assert refusal(tmp_path / "b.zip", tmp_path / "out").code in ("BROKEN_ARCHIVE", "BOMB")
    assert sum(p.stat().st_size for p in (tmp_path / "out").rglob("*")) <= 10


@pytest.mark.parametrize(
    "data", [b"", b"P", b"hello" * 1000, b"\x89PNG\r\n", bytes(100_000), b"PK\x03\x04abc"]
)
def test_what_is_no_zip_says_so(tmp_path: Path, data: bytes) -> None:
    """Nothing, text, an image, the beginning of a zip."""
    (tmp_path / "a.zip").write_bytes(data)

    assert refusal(tmp_path / "a.zip", tmp_path / "out").code == "NOT_A_ZIP"


def small_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("a/1.txt", b"hello hello hello")
        with target.open("a/2.txt", "w", force_zip64=True) as entry:
            entry.write(random.Random(1).randbytes(300))
    return buffer.getvalue()


def test_a_zip_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    """Every length but the whole one."""
    whole = small_zip()
    source = tmp_path / "a.zip"
    for length in range(len(whole)):
        source.write_bytes(whole[:length])
        with pytest.raises(ArchiveError):
            extract(source, tmp_path / f"{length}", max_files=FILES, max_bytes=BYTES)


def test_damage_gives_files_or_an_archive_error(tmp_path: Path) -> None:
    """Random bytes changed: no other exception ever, and nothing outside the folder."""
    whole = small_zip()
    generator = random.Random(0)
    source, out = tmp_path / "a.zip", tmp_path / "out"
    for number in range(1000):
        data = bytearray(whole)
        for _ in range(generator.randint(1, 5)):
            data[generator.randrange(len(data))] = generator.choice(
                (0, 1, 127, 255, generator.randrange(256))
            )
        source.write_bytes(data)
        try:
            extract(source, out / f"{number}", max_files=FILES, max_bytes=BYTES)
        except ArchiveError:
            continue
    assert {p.name for p in tmp_path.iterdir()} <= {"a.zip", "out"}


def test_a_large_zip64_directory_is_read(tmp_path: Path) -> None:
    """More than 65,535 entries have an end record of their own."""
    source = tmp_path / "a.zip"
    with zipfile.ZipFile(source, "w") as target:
        for index in range(65_536):
            target.writestr(f"{index % 256}/{index}", b"")

    assert refusal(source, tmp_path / "out", max_files=65_535).code == "TOO_MANY_FILES"
    with source.open("rb") as file:
        assert sum(1 for _ in archive._directory_entries(file)) == 65_536


def test_a_comment_does_not_hide_the_directory(tmp_path: Path) -> None:
    """Tools may write up to 64 KiB of comment after it."""
    source = zipped(tmp_path / "a.zip", ("a", b"x"))
    with zipfile.ZipFile(source, "a") as target:
        target.comment = b"c" * 65_535

    extract(source, tmp_path / "out", max_files=FILES, max_bytes=BYTES)

    assert names(tmp_path / "out") == {"a"}


def test_packing_the_same_files_gives_the_same_bytes(tmp_path: Path) -> None:
    """Dates and modes of the files do not matter, and what is packed can be extracted."""
    folder = tmp_path / "files"
    (folder / "images").mkdir(parents=True)
    (folder / "images/1.png").write_bytes(b"one")
    (folder / "index.json").write_bytes(b"{}")
    order = ["index.json", "images/1.png"]

    pack(folder, order, tmp_path / "a.zip")
    (folder / "index.json").touch()
    (folder / "index.json").chmod(0o600)
    pack(folder, order, tmp_path / "b.zip")
    extract(tmp_path / "a.zip", tmp_path / "out", max_files=2, max_bytes=5)

    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert names(tmp_path / "out") == set(order)
