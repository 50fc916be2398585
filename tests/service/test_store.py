"""Bytes by their SHA-256."""

import hashlib
import os
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posneg.service.errors import NotFound
from posneg.service.settings import Settings
from posneg.service.store import Store

UNKNOWN = "0" * 64


@pytest.fixture(params=["folder", "url"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store in the data folder, and one that is named by a URL."""
    if request.param == "folder":
        return Store(Settings(data=tmp_path))
    (tmp_path / "elsewhere").mkdir()
    return Store(Settings(data=tmp_path, store=f"file://{tmp_path}/elsewhere"))


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One store for many examples."""
    return Store(Settings(data=tmp_path_factory.mktemp("store")))


@given(data=st.binary(max_size=1000))
def test_what_is_put_is_read(shared_store: Store, data: bytes) -> None:
    """The name is the SHA-256 of the bytes, which come back as they were."""
    name = shared_store.put(data)
    assert name == hashlib.sha256(data).hexdigest()
    assert shared_store.read(name) == data


def test_put_file_equals_put(store: Store, tmp_path: Path) -> None:
    """A file's bytes have the name that they would have had in memory."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * 5_000_000)
    name = store.put_file(file)
    assert name == store.put(file.read_bytes())
    store.fetch(name, tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == file.read_bytes()
    assert os.listdir(tmp_path / "new") == ["copy"]


def test_large_files_do_not_fill_memory(store: Store, tmp_path: Path) -> None:
    """300 MB go in and out in pieces."""
    file = tmp_path / "large"
    with file.open("wb") as stream:
        stream.truncate(300_000_000)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store.fetch(store.put_file(file), tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_size == 300_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 150_000


def test_putting_twice_keeps_once(store: Store) -> None:
    """The same bytes are the same object, and deleting it once is enough."""
    name = store.put(b"a")
    assert store.put(b"a") == name
    store.delete(name)
    assert not store.exists(name)


def test_what_is_not_there_is_not_found(store: Store, tmp_path: Path) -> None:
    """Reading, fetching and asking for the unknown; deleting it is fine."""
    assert not store.exists(UNKNOWN)
    store.delete(UNKNOWN)
    with pytest.raises(NotFound):
        store.read(UNKNOWN)
    with pytest.raises(NotFound):
        store.fetch(UNKNOWN, tmp_path / "file")
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "a" * 63, "A" * 64, "/" * 64, "0" * 63 + "g"])
def test_only_hashes_are_names(store: Store, name: str) -> None:
    """No name leads out of the store."""
    for use in (store.read, store.exists, store.delete):
        with pytest.raises(NotFound):
            use(name)


def test_bytes_outlive_the_process(tmp_path: Path) -> None:
    """Another store on the same folder finds them."""
    name = Store(Settings(data=tmp_path)).put(b"kept")
    assert Store(Settings(data=tmp_path)).read(name) == b"kept"
