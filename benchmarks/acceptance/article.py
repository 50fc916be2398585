"""The article's example over HTTP, to the digit."""

import math
import tempfile
from pathlib import Path
from typing import Any

import httpx

from benchmarks.acceptance.outcome import passed, require
from posneg.service.schemas.loss_request import EXAMPLE
from tests.conftest import launch


def check(url: str, **headers: str) -> None:
    """Ask a service for the example, with negatives and without."""
    result = httpx.post(f"{url}/v1/losses", json=EXAMPLE, headers=headers).raise_for_status().json()
    without = EXAMPLE | {"loss": {"classification": {"negative_weight": 0}}}
    positives = httpx.post(f"{url}/v1/losses", json=without, headers=headers).raise_for_status().json()
    a, b, c = result["images"][0]["predictions"]
    figures: list[tuple[str, Any, Any]] = [
        ("A is positive", a["state"], "positive"),
        ("A's metric", a["metric"], 0.0419904),
        ("A's classification loss", a["loss"]["classification"], -math.log(0.9)),
        ("A's box loss", a["loss"]["box"], 54.0),
        ("B is negative", (b["state"], b["reason"]), ("negative", "BELOW_THRESHOLD")),
        ("B's classification loss", b["loss"]["classification"], -math.log(0.7)),
        ("C is negative", (c["state"], c["reason"]), ("negative", "BELOW_THRESHOLD")),
        ("C's classification loss", c["loss"]["classification"], -math.log(0.8)),
        ("no box loss on negatives", b["loss"]["box"] + c["loss"]["box"], 0.0),
        ("the total", result["total"], 54.685179010910765),
        ("the total of positives alone", positives["total"], 54.10536051565783),
    ]
    for what, seen, wanted in figures:
        same = math.isclose(seen, wanted, rel_tol=1e-9) if isinstance(wanted, float) else seen == wanted
        require(same, f"article: {what}", seen)
    passed("the article's example", f"total {result['total']}, positives alone {positives['total']}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        server = launch(Path(folder))
        try:
            check(server.url)
        finally:
            server.stop()
