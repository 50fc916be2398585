"""Sites for tests: with a worker that the tests of a file share, and without one."""

from collections.abc import Iterator
from itertools import count

import psycopg
import pytest

from tests.service.jobs.site import Site, opened


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def staffed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with a worker, on SQLite and on Postgres."""
    database = "" if request.param == "sqlite" else _new_database(request, f"jobs_{next(_databases)}")
    with opened(tmp_path_factory.mktemp("site"), database) as site:
        site.start_worker()
        yield site


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site without a worker, on SQLite and on Postgres."""
    database = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with opened(tmp_path_factory.mktemp("site"), database) as site:
        yield site


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site without a worker, on SQLite."""
    with opened(tmp_path_factory.mktemp("site")) as site:
        yield site


_databases = count()


def _new_database(request: pytest.FixtureRequest, name: str) -> str:
    where = f"host={request.getfixturevalue('postgres_cluster')}"
    with psycopg.connect(f"postgresql://posneg@/postgres?{where}", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql://posneg@/{name}?{where}"
