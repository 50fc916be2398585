"""Data sets by name: kept, replaced, paged, forgotten."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from posneg.models.data import shapes
from posneg.service.datasets import catalog
from posneg.service.errors import Conflict, InvalidRequest, NotFound, PreconditionFailed
from posneg.service.records import jobs
from posneg.service.schemas.pages import Window
from tests.coco_zips import box, document, image, pictures, simple
from tests.service.datasets.conftest import Site, opened

PETS = {"train.json": simple([1, 2]), "val.json": simple([3]), **pictures("images/", [1, 2, 3])}
OTHERS = {"train.json": simple([4]), "val.json": simple([5]), **pictures("images/", [4, 5])}


@pytest.fixture(params=["sqlite", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """A site on each kind of database."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with opened(tmp_path, url) as made:
        yield made


def anything(version: str | None) -> None:
    """The condition of a caller without one."""


def use(site: Site, name: str, state: str) -> None:
    """A job on a data set."""
    values = {
        "id": "job-1",
        "sequence": 1,
        "kind": "train",
        "state": state,
        "spec": {"dataset": name},
        "created_at": 0.0,
        "priority": 0,
        "transitions": [],
        "progress": {},
        "metrics": {},
        "attempt": 0,
        "deaths": 0,
        "last_event": 0,
        "workflow": "job-1",
    }
    with site.records.begin() as connection:
        connection.execute(jobs.insert().values(**{k: v for k, v in values.items() if k in jobs.c}))


def test_what_is_put_is_told(site: Site) -> None:
    """Classes, counts by split and class, no issues; and the same again changes nothing."""
    view, created = site.put("pets", PETS)

    assert created
    assert view["classes"] == ["cat", "dog"]
    assert (view["images"], view["boxes"], view["boxes_by_class"]) == (3, 3, {"cat": 3, "dog": 0})
    assert view["splits"]["train"] == {"images": 2, "boxes": 2, "images_without_boxes": 0, "crowd": 0}
    assert (view["issues"], view["issues_total"], view["generated"]) == ([], 0, False)
    assert site.put("pets", PETS) == (view, False)
    assert catalog.get(site.records, "pets") == view


def test_equal_data_are_equal_however_they_are_zipped(site: Site) -> None:
    """Another order of entries, a file that nobody needs: the same bytes, kept once, and the same version."""
    site.put("a", PETS)
    site.put("b", {"README.txt": b"hello", **dict(reversed(PETS.items()))})

    assert site.row("a")["sha256"] == site.row("b")["sha256"]
    assert site.row("a")["etag"] == site.row("b")["etag"]


def test_other_findings_are_another_version(site: Site) -> None:
    """What is told has changed, though the data that are kept have not."""
    broken = [box(1, 1), box(2, 2), box(3, 9)]
    view, _ = site.put("a", PETS)
    other, _ = site.put("a", PETS | {"train.json": document([image(1), image(2)], broken)})

    assert other["issues_by_code"] == {"UNKNOWN_IMAGE": 1}
    assert other["etag"] != view["etag"]
    assert site.store.exists(site.row("a")["sha256"])


def test_replacing_forgets_the_bytes_before(site: Site) -> None:
    """And the time of creation stays."""
    first, _ = site.put("pets", PETS)
    sha256 = site.row("pets")["sha256"]
    second, created = site.put("pets", OTHERS)

    assert not created
    assert second["created_at"] == first["created_at"]
    assert second["updated_at"] > first["updated_at"]
    assert not site.store.exists(sha256)
    assert site.store.exists(site.row("pets")["sha256"])


def test_deleting_forgets_the_bytes_unless_another_has_them(site: Site) -> None:
    """Two names for the same data."""
    site.put("a", PETS)
    site.put("b", PETS)
    sha256 = site.row("a")["sha256"]

    assert catalog.delete(site.records, site.store, "a", anything) is None
    assert site.store.exists(sha256)
    assert catalog.delete(site.records, site.store, "b", anything) == sha256
    assert not site.store.exists(sha256)
    with pytest.raises(NotFound, match="no data set 'b'"):
        catalog.get(site.records, "b")
    with pytest.raises(NotFound):
        catalog.delete(site.records, site.store, "b", anything)


def test_callers_who_put_one_name_at_once_all_succeed(site: Site) -> None:
    """One creates it, the others replace; what is kept in the end is whole."""
    prepared = [site.prepare(files) for files in (PETS, OTHERS) * 4]
    with ThreadPoolExecutor(8) as pool:
        kept = [*pool.map(lambda p: catalog.put(site.records, site.store, "pets", p, anything), prepared)]

    assert sorted(k.created for k in kept) == [False] * 7 + [True]
    row = site.row("pets")
    assert row["etag"] in {k.view["etag"] for k in kept}
    assert site.store.exists(row["sha256"])


def test_bytes_that_vanish_while_a_data_set_is_put_are_kept_again(site: Site) -> None:
    """Another caller deletes the same data between the look and the write."""
    site.put("a", PETS)
    prepared = site.prepare(PETS)

    def delete_meanwhile(version: str | None) -> None:
        site.store.delete(site.row("a")["sha256"])

    catalog.put(site.records, site.store, "b", prepared, delete_meanwhile)

    assert site.store.exists(site.row("b")["sha256"])


def test_a_condition_that_fails_changes_nothing(site: Site) -> None:
    """It is given the version that is kept, or None, within the transaction."""
    view, _ = site.put("pets", PETS)
    seen: list[str | None] = []

    def refuse(version: str | None) -> None:
        seen.append(version)
        raise PreconditionFailed("another version")

    prepared = site.prepare(OTHERS)
    for name in ("pets", "new"):
        with pytest.raises(PreconditionFailed):
            catalog.put(site.records, site.store, name, prepared, refuse)
    with pytest.raises(PreconditionFailed):
        catalog.delete(site.records, site.store, "pets", refuse)

    assert seen == [view["etag"], None, view["etag"]]
    assert catalog.get(site.records, "pets") == view


@pytest.mark.parametrize("state", ["queued", "running", "interrupted", "cancelling"])
def test_a_data_set_in_use_is_neither_replaced_nor_deleted(site: Site, state: str) -> None:
    """The job would find other data, or none; putting the same again is no replacement."""
    site.put("pets", PETS)
    use(site, "pets", state)

    with pytest.raises(Conflict, match="job-1"):
        catalog.delete(site.records, site.store, "pets", anything)
    with pytest.raises(Conflict, match="job-1"):
        site.put("pets", OTHERS)
    assert site.put("pets", PETS)[1] is False


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_a_job_that_has_ended_uses_nothing(site: Site, state: str) -> None:
    """Nor does one on another data set."""
    site.put("pets", PETS)
    use(site, "pets", state)

    catalog.delete(site.records, site.store, "pets", anything)


def test_pages_go_by_name_with_the_generated_one_among_them(site: Site) -> None:
    """Each once, without issues, whatever the length of a page."""
    for name in ("zebra", "ant", "shapes-2"):
        site.put(name, PETS)

    for limit in (1, 2, 3, 4, 5):
        found: list[str] = []
        after = None
        while True:
            page = catalog.page(site.records, Window(limit, after))
            assert len(page["data"]) <= limit
            assert all("issues" not in entry for entry in page["data"])
            found += [entry["name"] for entry in page["data"]]
            after = page["next"]
            if not page["has_more"]:
                break
        assert found == ["ant", "shapes", "shapes-2", "zebra"]


def test_shapes_are_always_there(site: Site) -> None:
    """Described without being drawn."""
    view = catalog.get(site.records, "shapes")

    assert view["generated"]
    assert view["classes"] == list(shapes.CLASSES)
    assert {split: counts["images"] for split, counts in view["splits"].items()} == shapes.IMAGES
    assert view["splits"]["train"]["images_without_boxes"] == 32
    assert sum(view["boxes_by_class"].values()) == view["boxes"] > 2000
    assert not site.cache.exists()


@pytest.mark.parametrize("name", ["", "A", ".a", "-a", "a/b", "ä", "a b", "a" * 129, "a\n"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    """With the rule."""
    with pytest.raises(InvalidRequest, match="lower-case"):
        catalog.writable_name(name)


@pytest.mark.parametrize("name", ["a", "0", "bccd-mini", "a.b_c-d", "a" * 128])
def test_a_name_is_lower_case(name: str) -> None:
    """Letters, digits, dots, dashes, underscores."""
    assert catalog.writable_name(name) == name


def test_the_generated_name_is_taken() -> None:
    """It can be neither put nor deleted."""
    with pytest.raises(Conflict, match="generated"):
        catalog.writable_name("shapes")


def test_findings_beyond_the_limit_are_counted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The view stays bounded, the numbers true."""
    monkeypatch.setattr("posneg.service.datasets.intake.MAX_ISSUES", 3)
    broken = [box(n, 9) for n in range(10)]
    files = PETS | {"train.json": document([image(1), image(2)], [box(100, 1), *broken])}

    view, _ = site.put("pets", files)

    assert len(view["issues"]) == 3
    assert view["issues_total"] == 11
    assert view["issues_by_code"] == {"IMAGES_WITHOUT_BOXES": 1, "UNKNOWN_IMAGE": 10}


def test_dataclass_of_prepared_is_a_value(site: Site) -> None:
    """Putting does not consume it."""
    prepared = site.prepare(PETS)
    catalog.put(site.records, site.store, "a", prepared, anything)
    catalog.put(site.records, site.store, "b", replace(prepared), anything)

    assert site.row("a")["etag"] == site.row("b")["etag"]
