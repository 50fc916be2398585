"""What a model has done so far, in Triton's terms: every figure only grows."""

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Histogram

STAGES = ("queue", "compute_input", "compute_infer", "compute_output")
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

BATCH_SIZE = Histogram(
    "posneg_model_batch_size", "Rows of a run.", ("model",), buckets=(1, 2, 4, 8, 16, 32, 64)
)
RUN_SECONDS = Histogram(
    "posneg_model_run_duration_seconds", "Time of one run of a model.", ("model",), buckets=BUCKETS_S
)
QUEUE_SECONDS = Histogram(
    "posneg_model_queue_duration_seconds", "Time that a request waited.", ("model",), buckets=BUCKETS_S
)


@dataclass(slots=True)
class Tally:
    """How often, and how long in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        """`count` more, which took `ns` nanoseconds together."""
        self.count += count
        self.ns += ns

    def show(self) -> dict[str, int]:
        """As the protocol has it."""
        return {"count": self.count, "ns": self.ns}


@dataclass(slots=True)
class Statistics:
    """Counters of one version; written from the event loop alone."""

    model: str
    inferences: int = 0
    executions: int = 0
    last_inference_ms: int = 0
    success: Tally = field(default_factory=Tally)
    fail: Tally = field(default_factory=Tally)
    stages: dict[str, Tally] = field(default_factory=lambda: {stage: Tally() for stage in STAGES})
    batch_sizes: Counter[int] = field(default_factory=Counter)
    batch_ns: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))

    def ran(self, rows: int, ns: int) -> None:
        """One run of the graph on `rows` rows."""
        self.executions += 1
        self.inferences += rows
        self.last_inference_ms = time.time_ns() // 1_000_000
        self.batch_sizes[rows] += 1
        self.batch_ns[rows] += ns
        BATCH_SIZE.labels(self.model).observe(rows)
        RUN_SECONDS.labels(self.model).observe(ns / 1e9)

    def answered(self, *, queue_ns: int, infer_ns: int) -> None:
        """One request came through."""
        self.success.add(queue_ns + infer_ns)
        self.stages["queue"].add(queue_ns)
        self.stages["compute_infer"].add(infer_ns)
        QUEUE_SECONDS.labels(self.model).observe(queue_ns / 1e9)

    def show(self, name: str, version: int) -> dict[str, Any]:
        """One element of `model_stats`."""
        zero = Tally().show()
        stages = {stage: tally.show() for stage, tally in self.stages.items()}
        return {
            "name": name,
            "version": str(version),
            "last_inference": self.last_inference_ms,
            "inference_count": self.inferences,
            "execution_count": self.executions,
            "inference_stats": {
                "success": self.success.show(),
                "fail": self.fail.show(),
                **stages,
                "cache_hit": zero,
                "cache_miss": zero,
            },
            "response_stats": {},
            "batch_stats": [
                {
                    "batch_size": size,
                    "compute_input": {"count": count, "ns": 0},
                    "compute_infer": {"count": count, "ns": self.batch_ns[size]},
                    "compute_output": {"count": count, "ns": 0},
                }
                for size, count in sorted(self.batch_sizes.items())
            ],
            "memory_usage": [],
        }
