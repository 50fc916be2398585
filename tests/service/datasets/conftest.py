"""A database and a store of the test's own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from posneg.service.datasets import catalog, intake
from posneg.service.migrations import migrate
from posneg.service.records import Records
from posneg.service.settings import Settings
from posneg.service.store import Store
from tests.coco_zips import zipped


@dataclass
class Site:
    """What the service keeps data sets in."""

    folder: Path
    settings: Settings
    records: Records
    store: Store

    @property
    def cache(self) -> Path:
        """Where data sets are unpacked."""
        return self.settings.datasets_folder

    def prepare(self, files: dict[str, bytes]) -> intake.Prepared:
        """A zip of the files, taken in."""
        place = self.folder / f"upload-{len([*self.folder.iterdir()])}"
        place.mkdir()
        (place / "body").write_bytes(zipped(files))
        return intake.prepare(place / "body", place, self.settings)

    def put(self, name: str, files: dict[str, bytes]) -> tuple[dict[str, Any], bool]:
        """Keep a data set without a condition; its view, and whether the name is new."""
        kept = catalog.put(self.records, self.store, name, self.prepare(files), lambda _: None)
        return kept.view, kept.created

    def row(self, name: str) -> dict[str, Any]:
        """Its row."""
        return dict(catalog.row(self.records, name))


@pytest.fixture(params=["sqlite", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """One of each kind of database."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    settings = Settings(data=tmp_path / "data", database=url, max_dataset_files=100, max_dataset_mib=64)
    migrate(settings.database_url)
    records = Records(settings.database_url)
    (tmp_path / "uploads").mkdir()
    yield Site(tmp_path / "uploads", settings, records, Store(settings))
    records.close()
