"""Batching: who queues together runs together, gets their own answer, and is harmed by nobody."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from posneg.service.errors import BadRequest, TooManyRequests, Unavailable
from posneg.service.serving.batching import Batcher, Limits
from posneg.service.serving.sessions import Session
from posneg.service.serving.statistics import Statistics
from tests.service import onnx_models

LIMITS = {"max_rows": 8, "max_delay_s": 0.0, "max_queue": 256, "max_run_s": 60.0, "slots": 1}


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    """A model that gives back what it gets, rows of any width."""
    path = tmp_path_factory.mktemp("echo") / "model.onnx"
    return Session(onnx_models.identity(path, TensorProto.FLOAT), threads=1, cuda=False)


class Line:
    """A batcher whose one thread is held up until `go`, so that everything sent before queues."""

    def __init__(self, session, **limits):
        self.threads = ThreadPoolExecutor(1)
        self.statistics = Statistics("test")
        self.batcher = Batcher(session, self.threads, Limits(**{**LIMITS, **limits}), self.statistics)
        self.held = threading.Event()
        self.threads.submit(self.held.wait)

    def go(self):
        """Let the runs begin."""
        self.held.set()

    def send(self, feed, **options):
        """A request, on its way once the loop has turned."""
        run = self.batcher.run({"x": feed}, ("y",), rows=len(feed), **options)
        return asyncio.ensure_future(run)


async def all_queued():
    """Every request sent so far has reached the queue."""
    for _ in range(3):
        await asyncio.sleep(0)


@given(
    rows=st.lists(st.integers(1, 5), min_size=1, max_size=30),
    max_rows=st.integers(1, 8),
    slots=st.integers(1, 3),
)
def test_everybody_gets_their_own_rows(echo, rows, max_rows, slots):
    """Whatever the sizes, and however they fall into batches."""
    feeds = [np.full((number, 2), index, np.float32) for index, number in enumerate(rows)]

    async def main():
        line = Line(echo, max_rows=max_rows, slots=slots)
        sent = [line.send(feed) for feed in feeds]
        await all_queued()
        line.go()
        answers = await asyncio.gather(*sent)
        line.threads.shutdown()
        return answers, line.statistics

    answers, statistics = asyncio.run(main())

    for feed, answered in zip(feeds, answers, strict=True):
        np.testing.assert_array_equal(answered.outputs[0], feed)
    assert statistics.inferences == sum(rows)
    assert statistics.success.count == len(rows)
    assert max(statistics.batch_sizes) <= max(max_rows, *rows)


def test_what_queues_meanwhile_shares_a_run(echo):
    """Nine requests behind a busy model: the first runs alone, eight together."""

    async def main():
        line = Line(echo)
        first = line.send(np.zeros((1, 2), np.float32))
        await all_queued()
        others = [line.send(np.zeros((1, 2), np.float32)) for _ in range(8)]
        await all_queued()
        line.go()
        await asyncio.gather(first, *others)
        return line.statistics

    statistics = asyncio.run(main())

    assert dict(statistics.batch_sizes) == {1: 1, 8: 1}


def test_a_delay_waits_for_company_and_no_longer_than_needed(echo):
    """With a delay of a minute two requests fill a batch of two at once; nobody waits for the minute."""

    async def main():
        line = Line(echo, max_rows=2, max_delay_s=60.0)
        line.go()
        sent = [line.send(np.zeros((1, 2), np.float32)) for _ in range(2)]
        await asyncio.wait_for(asyncio.gather(*sent), 30)
        return line.statistics

    assert dict(asyncio.run(main()).batch_sizes) == {2: 1}


def test_a_lone_request_goes_when_the_delay_is_over(echo):
    """Company never came."""

    async def main():
        line = Line(echo, max_delay_s=0.01)
        line.go()
        return await asyncio.wait_for(line.send(np.ones((1, 2), np.float32)), 30)

    assert asyncio.run(main()).outputs[0].tolist() == [[1, 1]]


def test_shapes_are_never_mixed(echo):
    """Portrait and landscape in one queue: each comes back as it went in."""
    feeds = [np.full((1, 2 + index % 2), index, np.float32) for index in range(12)]

    async def main():
        line = Line(echo)
        sent = [line.send(feed) for feed in feeds]
        await all_queued()
        line.go()
        return await asyncio.gather(*sent), line.statistics

    answers, statistics = asyncio.run(main())

    for feed, answered in zip(feeds, answers, strict=True):
        np.testing.assert_array_equal(answered.outputs[0], feed)
    assert statistics.executions < len(feeds)


@pytest.fixture(scope="module")
def lookup(tmp_path_factory):
    """A model that fails on any index but 0 and 1."""
    file = onnx_models.save(
        tmp_path_factory.mktemp("lookup") / "model.onnx",
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        {"x": (TensorProto.INT64, ["b", 1])},
        {"y": (TensorProto.FLOAT, ["b", 1])},
        constants={"table": np.array([10, 20], np.float32)},
    )
    return Session(file, threads=1, cuda=False)


def test_a_bad_request_harms_no_other(lookup):
    """The batch fails, and then each of its requests stands for itself."""

    async def main():
        line = Line(lookup)
        sent = [line.send(np.array([[index]])) for index in (0, 1, 99, 0)]
        await all_queued()
        line.go()
        return await asyncio.gather(*sent, return_exceptions=True), line.statistics

    (first, second, bad, last), statistics = asyncio.run(main())

    assert [a.outputs[0].tolist() for a in (first, second, last)] == [[[10]], [[20]], [[10]]]
    assert isinstance(bad, BadRequest)
    assert "indices" in bad.detail
    assert (statistics.success.count, statistics.fail.count) == (3, 1)


def test_a_full_queue_says_when_to_come_back(echo):
    """The limit holds for what waits, not for what runs; the refused can come again."""

    async def main():
        line = Line(echo, max_queue=2)
        running = line.send(np.zeros((1, 2), np.float32))
        await all_queued()
        waiting = [line.send(np.zeros((1, 2), np.float32)) for _ in range(2)]
        await all_queued()
        with pytest.raises(TooManyRequests) as refusal:
            await line.send(np.zeros((1, 2), np.float32))
        line.go()
        await asyncio.gather(running, *waiting)
        await line.send(np.zeros((1, 2), np.float32))
        return refusal.value

    assert "Retry-After" in asyncio.run(main()).headers


def test_whoever_gives_up_leaves_the_queue(echo):
    """Their rows are never computed."""

    async def main():
        line = Line(echo)
        running = line.send(np.zeros((1, 2), np.float32))
        await all_queued()
        gone, stays = line.send(np.zeros((5, 2), np.float32)), line.send(np.ones((1, 2), np.float32))
        await all_queued()
        gone.cancel()
        await all_queued()
        line.go()
        await asyncio.gather(running, stays)
        return line.statistics

    assert asyncio.run(main()).inferences == 2


def test_a_request_waits_no_longer_than_it_wants_to(echo):
    """Its time in the queue is bounded also while the model is busy with another."""

    async def main():
        line = Line(echo)
        running = line.send(np.zeros((1, 2), np.float32))
        await all_queued()
        with pytest.raises(Unavailable, match="timeout"):
            await asyncio.wait_for(line.send(np.zeros((1, 2), np.float32), timeout_s=0.01), 30)
        line.go()
        await running
        return line.statistics

    assert asyncio.run(main()).inferences == 1


def test_an_endless_run_is_stopped_and_the_next_one_works(tmp_path):
    """A model that loops for ever costs its caller an error, and nobody else anything."""
    session = Session(onnx_models.endless(tmp_path / "endless.onnx"), threads=1, cuda=False)

    async def main():
        line = Line(session, max_run_s=0.2)
        line.go()
        with pytest.raises(Unavailable, match="max_run_s"):
            await line.send(np.ones((1, 1), np.float32))
        return await line.send(np.zeros((1, 1), np.float32))

    assert asyncio.run(main()).outputs[0].tolist() == [[0]]


def test_models_without_a_batch_run_one_by_one(tmp_path):
    """A fixed first axis is no batch, whatever the queue holds."""
    file = onnx_models.identity(tmp_path / "fixed.onnx", TensorProto.FLOAT, (2, 2))
    session = Session(file, threads=1, cuda=False)

    async def main():
        line = Line(session, max_rows=0)
        sent = [line.send(np.full((2, 2), index, np.float32)) for index in range(3)]
        await all_queued()
        line.go()
        return await asyncio.gather(*sent), line.statistics

    answers, statistics = asyncio.run(main())

    assert [a.outputs[0][0, 0] for a in answers] == [0, 1, 2]
    assert statistics.executions == 3


def test_a_graph_whose_rows_do_not_add_up_is_run_request_by_request(tmp_path):
    """Two rows in, one sum out: batching would mix requests, so it is undone."""
    file = onnx_models.save(
        tmp_path / "sum.onnx",
        [helper.make_node("ReduceSum", ["x", "axis"], ["y"])],
        {"x": (TensorProto.FLOAT, ["b", 1])},
        {"y": (TensorProto.FLOAT, ["c", 1])},
        constants={"axis": np.array([0])},
    )
    assert onnx.load(file).graph.node[0].op_type == "ReduceSum"
    session = Session(file, threads=1, cuda=False)

    async def main():
        line = Line(session)
        sent = [line.send(np.full((2, 1), index, np.float32)) for index in (1, 2, 3)]
        await all_queued()
        line.go()
        return await asyncio.gather(*sent)

    assert [a.outputs[0].tolist() for a in asyncio.run(main())] == [[[2]], [[4]], [[6]]]
