"""A database and a store of the test's own."""

from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def opened(folder: Path, database: str) -> Iterator[Site]:
    """A site in an empty folder, with an empty database."""
    settings = Settings(data=folder / "data", database=database, max_dataset_files=100, max_dataset_mib=64)
    migrate(settings.database_url)
    records = Records(settings.database_url)
    (folder / "uploads").mkdir()
    yield Site(folder / "uploads", settings, records, Store(settings))
    records.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site on SQLite."""
    with opened(tmp_path, "") as made:
        yield made
