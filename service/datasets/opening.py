"""A data set as files at hand: fetched and unpacked, or drawn, once a machine."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from posneg.models.data import shapes
from posneg.models.data.archive import MAX_DEPTH, extract
from posneg.models.data.dataset import Dataset, read_index
from posneg.service.datasets import catalog
from posneg.service.errors import Conflict
from posneg.service.records import Records
from posneg.service.store import Store

ABANDONED_S = 24 * 3600  # a folder that is still being filled after so long belongs to a process that died
NO_LIMIT = 2**62  # the archive is of our own making


def open_dataset(
    name: str, records: Records, store: Store, cache: Path, *, etag: str | None = None
) -> Dataset:
    """The data set `name` with its files below `cache`, where they are put if they are not there yet.

    With `etag` raises `Conflict` if another version is kept by now. Several processes may do this at once:
    each fills a folder of its own, and the first one's is used by all.
    """
    if name == shapes.NAME:
        version, folder = catalog.generated()["etag"], cache / f"{shapes.NAME}-{shapes.VERSION}"
    else:
        row = catalog.row(records, name)
        version, folder = row["etag"], cache / row["sha256"]
    if etag not in (None, version):
        raise Conflict(f"the data set {name!r} was replaced: {etag} was meant, {version} is kept")
    if name == shapes.NAME:
        _materialise(folder, lambda fresh: shapes.generate(fresh))
    else:
        _materialise(folder, lambda fresh: _unpack(store, folder.name, fresh))
    return read_index(folder, name=name)


def forget(sha256: str, cache: Path) -> None:
    """Remove the unpacked files of an archive on this machine, if there are any."""
    folder = cache / sha256
    if not folder.is_dir():
        return
    gone = Path(tempfile.mkdtemp(prefix=f".{sha256}.", dir=cache))
    try:
        os.rename(folder, gone / "data")  # at once, so that nobody finds half of it
    except FileNotFoundError:
        pass  # another process was faster
    finally:
        shutil.rmtree(gone, ignore_errors=True)


def _unpack(store: Store, sha256: str, folder: Path) -> None:
    archive = folder.with_name("archive.zip")
    store.fetch(sha256, archive)
    extract(archive, folder, max_files=NO_LIMIT, max_bytes=NO_LIMIT, max_depth=MAX_DEPTH + 1)
    archive.unlink()


def _materialise(folder: Path, fill: Callable[[Path], object]) -> None:
    """Have `fill` write into a folder beside, which then takes the name: what is there is complete."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        fill(beside / "data")
        os.rename(beside / "data", folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster, and its files are as good
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _sweep(cache: Path) -> None:
    """Remove what processes left that died while they filled a folder."""
    for folder in cache.glob(".*"):
        try:
            abandoned = time.time() - folder.stat().st_mtime > ABANDONED_S
        except FileNotFoundError:
            continue  # its process has just finished
        if abandoned:
            shutil.rmtree(folder, ignore_errors=True)
