"""Data sets at hand: unpacked once, whole or not at all."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from posneg.models.data import shapes
from posneg.models.imaging import decode
from posneg.service.datasets import catalog, open_dataset, opening
from posneg.service.errors import Conflict, NotFound
from tests.coco_zips import box, document, image, pictures, simple, zipped
from tests.service.datasets.conftest import Site

PETS = {
    "deep/train.json": document([image(1), image(2)], [box(1, 1, [-5, 2, 20, 9.25]), box(2, 2, iscrowd=1)]),
    "deep/val.json": simple([3]),
    **pictures("deep/images/", [1, 2, 3]),
}


def test_a_data_set_is_opened_as_it_was_read(site: Site) -> None:
    """Boxes clipped, crowds marked, images to the byte."""
    site.put("pets", PETS)
    dataset = open_dataset("pets", site.records, site.store, site.cache)

    assert (dataset.name, dataset.classes) == ("pets", ("cat", "dog"))
    first, second = dataset.splits["train"]
    assert first.boxes.tolist() == [[0, 2, 15, 11.25]]
    assert second.crowd.tolist() == [True]
    for sample in (first, second, *dataset.splits["val"]):
        assert sample.file.read_bytes() == PETS[f"deep/images/{sample.file.name}"]
        assert decode(sample.file.read_bytes(), max_pixels=10_000).shape == (*sample.size, 3)


def test_the_second_opening_reads_what_is_there(site: Site) -> None:
    """Even without the store."""
    site.put("pets", PETS)
    open_dataset("pets", site.records, site.store, site.cache)
    sha256 = site.row("pets")["sha256"]
    site.store.delete(sha256)

    assert len(open_dataset("pets", site.records, site.store, site.cache).splits["train"]) == 2
    assert [p.name for p in site.cache.iterdir()] == [sha256]


def test_shapes_are_drawn_on_first_use(site: Site) -> None:
    """And agree with what is told of them."""
    dataset = open_dataset("shapes", site.records, site.store, site.cache)
    told = catalog.get(site.records, "shapes")["splits"]

    assert {s: len(v) for s, v in dataset.splits.items()} == {s: v["images"] for s, v in told.items()}
    assert all(sample.file.is_file() for group in dataset.splits.values() for sample in group)
    assert [p.name for p in site.cache.iterdir()] == [f"shapes-{shapes.VERSION}"]


def test_another_version_than_was_meant_is_refused(site: Site) -> None:
    """A job goes on with the data that it began with, or not at all."""
    etag = site.put("pets", PETS)[0]["etag"]
    open_dataset("pets", site.records, site.store, site.cache, etag=etag)
    site.put("pets", PETS | {"deep/val.json": simple([2])})

    with pytest.raises(Conflict, match="replaced"):
        open_dataset("pets", site.records, site.store, site.cache, etag=etag)
    with pytest.raises(NotFound, match="GET /v1/datasets"):
        open_dataset("none", site.records, site.store, site.cache)


def test_many_at_once_leave_one_copy(site: Site) -> None:
    """Each fills a folder of its own; one is taken, the others vanish."""
    site.put("pets", PETS)
    with ThreadPoolExecutor(8) as pool:
        opened = pool.map(lambda _: open_dataset("pets", site.records, site.store, site.cache), range(8))
        assert [len(d.splits["train"]) for d in opened] == [2] * 8

    assert [p.name for p in site.cache.iterdir()] == [site.row("pets")["sha256"]]


def test_a_process_that_dies_while_it_unpacks_leaves_no_half(tmp_path: Path) -> None:
    """What carries the name is complete; the rest is swept after a day."""
    program = (
        "import os, pathlib, sys\n"
        "from posneg.service.datasets import opening\n"
        "def fill(folder):\n"
        "    folder.mkdir()\n"
        "    (folder / 'half').touch()\n"
        "    os._exit(9)\n"
        "opening._materialise(pathlib.Path(sys.argv[1]), fill)\n"
    )
    folder = tmp_path / "cache" / "set"
    assert subprocess.run([sys.executable, "-c", program, str(folder)]).returncode == 9
    (left,) = folder.parent.iterdir()
    assert left.name.startswith(".set.")

    opening._materialise(folder, lambda fresh: fresh.mkdir())
    assert left.exists()
    long_ago = time.time() - opening.ABANDONED_S - 1
    os.utime(left, (long_ago, long_ago))
    opening._materialise(folder.with_name("other"), lambda fresh: fresh.mkdir())
    assert sorted(p.name for p in folder.parent.iterdir()) == ["other", "set"]


def test_a_failure_while_unpacking_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """An error of the disk is not taken for somebody else's success."""

    def fail(fresh: Path) -> None:
        fresh.mkdir()
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        opening._materialise(tmp_path / "cache" / "set", fail)
    assert [*(tmp_path / "cache").iterdir()] == []


def test_forgetting_removes_the_unpacked_files(site: Site) -> None:
    """Also where there are none."""
    site.put("pets", PETS)
    open_dataset("pets", site.records, site.store, site.cache)
    sha256 = site.row("pets")["sha256"]

    opening.forget(sha256, site.cache)
    opening.forget(sha256, site.cache)

    assert [*site.cache.iterdir()] == []
    assert len(open_dataset("pets", site.records, site.store, site.cache).splits["train"]) == 2


def test_the_deepest_path_that_is_taken_in_is_opened(site: Site) -> None:
    """The canonical archive adds a folder to it."""
    deep = "/".join("abcdefghijklmnopqrstuvwxyzabcde") + "/"
    site.put("deep", {"train.json": simple([1, 2]), **pictures(deep, [1, 2])})

    dataset = open_dataset("deep", site.records, site.store, site.cache)

    assert dataset.splits["train"][0].file.is_file()


def test_boxes_survive_to_the_bit(site: Site) -> None:
    """JSON keeps every digit of a float64."""
    awkward = [0.1, 1 / 3, 7.000000000000001, 2**-30]
    site.put("pets", PETS | {"deep/train.json": document([image(1)], [box(1, 1, awkward)])})
    dataset = open_dataset("pets", site.records, site.store, site.cache)

    x, y, width, height = awkward
    np.testing.assert_array_equal(dataset.splits["train"][0].boxes, [[x, y, x + width, y + height]])


def test_the_kept_archive_is_a_zip_that_the_intake_wrote(site: Site) -> None:
    """Not the upload: its bytes depend on the data alone."""
    site.put("pets", PETS)
    kept = site.store.read(site.row("pets")["sha256"])

    assert kept != zipped(PETS)
    assert b"dataset.json" in kept[:100]
