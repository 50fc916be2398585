"""`Idempotency-Key`: one act a key, whatever is sent again, by whom and when."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.responses import JSONResponse, Response

from posneg.service import idempotency
from posneg.service.errors import Conflict, InvalidRequest, Unavailable
from posneg.service.idempotency import KEPT_S, forget_old, once
from posneg.service.migrations import migrate
from posneg.service.records import Records

ROUTE = "POST /v1/jobs"


@pytest.fixture(params=["sqlite", "postgres"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    """A migrated database of each kind."""
    url = f"sqlite:///{tmp_path}/posneg.sqlite"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url").replace("postgresql://", "postgresql+psycopg://")
    migrate(url)
    opened = Records(url)
    yield opened
    opened.close()


class Creation:
    """An act that counts how often it was done."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def __call__(self, identity: str) -> Response:
        """Create once more."""
        self.ids.append(identity)
        return JSONResponse({"id": identity}, 202, {"Location": f"/v1/jobs/{identity}"})


def test_the_same_request_replays_the_answer(records: Records) -> None:
    """Status, body and headers are the first answer's, and nothing is done again, after a restart too."""
    act = Creation()
    first = once(records, route=ROUTE, key="k", body=b"{}", act=act)
    reopened = Records(records.engine.url.render_as_string(hide_password=False))
    again = once(reopened, route=ROUTE, key="k", body=b"{}", act=act)
    reopened.close()
    assert len(act.ids) == 1
    assert (again.status_code, again.body) == (first.status_code, first.body)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["content-type"] == "application/json"
    assert again.headers[idempotency.REPLAYED] == "true"
    assert idempotency.REPLAYED not in first.headers


def test_another_body_is_refused(records: Records) -> None:
    """The key was for something else."""
    act = Creation()
    once(records, route=ROUTE, key="k", body=b"1", act=act)
    with pytest.raises(InvalidRequest) as refused:
        once(records, route=ROUTE, key="k", body=b"2", act=act)
    assert refused.value.faults[0].code == "idempotency_key_reused"
    assert len(act.ids) == 1


def test_keys_and_routes_do_not_mix(records: Records) -> None:
    """Another key, another route, or no key at all is another act, with an id of its own."""
    act = Creation()
    for route, key in ((ROUTE, "a"), (ROUTE, "b"), ("POST /v1/other", "a"), (ROUTE, None), (ROUTE, None)):
        once(records, route=route, key=key, body=b"", act=act)
    assert len(set(act.ids)) == 5


def test_a_failure_frees_the_key(records: Records) -> None:
    """A refused request was not answered; corrected, it may carry the same key."""

    def fail(_: str) -> Response:
        raise Unavailable("not now")

    with pytest.raises(Unavailable):
        once(records, route=ROUTE, key="k", body=b"1", act=fail)
    act = Creation()
    once(records, route=ROUTE, key="k", body=b"2", act=act)
    assert len(act.ids) == 1


def test_of_concurrent_requests_one_acts(records: Records) -> None:
    """While the first is under way the others are told to come back, and then they get its answer."""
    act = Creation()
    entered, leave = threading.Event(), threading.Event()

    def slowly(identity: str) -> Response:
        entered.set()
        leave.wait(30)
        return act(identity)

    def attempt(_: int) -> Response:
        return once(records, route=ROUTE, key="k", body=b"", act=slowly)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(attempt, 0)
        assert entered.wait(30)
        with pytest.raises(Conflict) as refused:
            attempt(1)
        assert refused.value.headers["Retry-After"] == "1"
        leave.set()
        assert first.result().status_code == 202
    assert attempt(2).body == first.result().body
    assert len(act.ids) == 1


def test_a_race_has_one_winner(records: Records) -> None:
    """Of many at the very same moment exactly one acts."""
    act = Creation()
    together = threading.Barrier(8)

    def attempt(_: int) -> int:
        together.wait(30)
        try:
            return once(records, route=ROUTE, key="k", body=b"", act=act).status_code
        except Conflict:
            return 409

    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(attempt, range(8)))
    assert len(act.ids) == 1
    assert 202 in statuses


def test_a_dead_request_is_taken_over_with_its_id(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process died in the middle, the next attempt may act and is given the same id."""
    died = Creation()

    def die(identity: str) -> Response:
        died(identity)
        raise KeyboardInterrupt

    # What a killed process leaves behind is a claim that nobody releases.
    monkeypatch.setattr(idempotency, "_release", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        once(records, route=ROUTE, key="k", body=b"", act=die)
    act = Creation()
    with pytest.raises(Conflict):
        once(records, route=ROUTE, key="k", body=b"", act=act)
    monkeypatch.setattr(idempotency, "CLAIM_S", 0.0)
    once(records, route=ROUTE, key="k", body=b"", act=act)
    assert act.ids == died.ids


def test_old_answers_are_forgotten(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time a key is as good as new."""
    act = Creation()
    once(records, route=ROUTE, key="k", body=b"1", act=act)
    forget_old(records)
    once(records, route=ROUTE, key="k", body=b"1", act=act)
    assert len(act.ids) == 1
    monkeypatch.setattr(idempotency, "KEPT_S", -1.0)
    forget_old(records)
    once(records, route=ROUTE, key="k", body=b"2", act=act)
    assert len(act.ids) == 2
    assert KEPT_S >= 86400
