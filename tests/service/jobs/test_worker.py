"""The worker process at its edges: a database that is not there, and two that start in one place."""

import subprocess
import sys
from pathlib import Path

from posneg.service.jobs import leases
from posneg.service.jobs.leases import Lease
from posneg.service.settings import Settings
from tests.service.jobs.site import Site, environment


def test_a_worker_that_cannot_work_says_so_and_ends(tmp_path: Path) -> None:
    """A database that cannot be opened ends the process with a status; it does not hang."""
    (tmp_path / "posneg.sqlite").mkdir()
    command = [sys.executable, "-m", "posneg.service.jobs.worker"]
    settings = Settings(data=tmp_path)

    ended = subprocess.run(
        command, env=environment(settings), stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )

    assert ended.returncode == 1
    assert "worker failed" in ended.stderr
    assert "unable to open database file" in ended.stderr


def test_places_are_taken_one_by_one(site: Site) -> None:
    """Workers of one machine have places of their own; one that is free again is taken again."""
    folder = site.settings.data / "places"
    first, second = (Lease(site.records, folder, "cuda:1") for _ in range(2))
    first.give_up()
    third = Lease(site.records, folder, "cuda:1")

    assert first.place == third.place == f"{first.host}-cuda1-0"
    assert second.place == f"{first.host}-cuda1-1"
    assert len({lease.executor for lease in (first, second, third)}) == 3
    second.give_up()
    third.give_up()


def test_a_lease_that_others_ended_is_not_renewed(site: Site) -> None:
    """A worker whose row is gone finds that out, and its successor finds its row while it is there."""
    folder = site.settings.data / "places"
    lease = Lease(site.records, folder, "cpu")
    lease.take()
    assert lease.renew()
    lease.give_up()
    successor = Lease(site.records, folder, "cpu")
    assert successor.predecessors() == [lease.executor]
    assert [worker["id"] for worker in site.queue.workers()] == [lease.executor]

    with site.records.begin() as connection:
        assert leases.condemn(connection, [lease.executor]) == [lease.executor]
        assert leases.condemn(connection, [lease.executor]) == []

    assert not lease.renew()
    successor.give_up()
