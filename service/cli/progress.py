"""A training run as it is watched: a live bar on a terminal, lines in a log, or JSON lines for machines."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from posneg.service.cli.tables import console, precision

Emit = Callable[[dict[str, Any]], None]
LINES = 20  # of the loss, over a run that is watched in a log


@contextmanager
def shown(*, json: bool) -> Iterator[Emit]:
    """What a run tells its events to."""
    out = console()
    if json:
        yield print_event
    elif out.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with _Bar(*columns, console=out) as progress:
            yield _Live(progress)
    else:
        yield _Lines(out)


def print_event(event: dict[str, Any]) -> None:
    """One event, one line, at once."""
    sys.stdout.buffer.write(orjson.dumps(event) + b"\n")
    sys.stdout.flush()


class _Bar(Progress):
    """A bar with a line below it, which no terminal is too narrow for."""

    below = ""

    def get_renderables(self) -> Iterator[RenderableType]:
        """What is drawn."""
        yield from super().get_renderables()
        yield Text(self.below, no_wrap=True, overflow="ellipsis")


class _Live:
    """A bar with the terms below it; what is to stay scrolls by above it."""

    def __init__(self, progress: _Bar) -> None:
        self._progress = progress
        self._task: TaskID = progress.add_task("starting", total=1.0)

    def __call__(self, event: dict[str, Any]) -> None:
        if event["type"] == "loss":
            self._progress.below = _loss(event)
            self._progress.update(self._task, completed=event["fraction"], description=_where(event))
        elif line := told(event):
            self._progress.console.print(line)


class _Lines:
    """A line now and then: each measurement, and the loss at every twentieth of the way."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed = -1

    def __call__(self, event: dict[str, Any]) -> None:
        if event["type"] == "loss":
            part = int(event["fraction"] * LINES)
            if part == self._printed:
                return
            self._printed = part
            self._console.print(f"{_where(event)}  {_loss(event)}", soft_wrap=True)
        elif line := told(event):
            self._console.print(line, soft_wrap=True)


def told(event: dict[str, Any]) -> str | None:
    """An event other than a loss in one line; None for what only machines want."""
    if event["type"] == "metrics":
        found = f"AP {precision(event['map'])}, AP50 {precision(event['map50'])}"
        return f"{event['split']} at step {event['step']}: {found}"
    if event["type"] == "log":
        return str(event.get("message", ""))
    return None


def _where(event: dict[str, Any]) -> str:
    steps, epochs = event.get("steps"), event.get("epochs")
    step = f"step {event['step']}" + (f"/{steps}" if steps else "")
    return f"{step}, epoch {event['epoch']}" + (f"/{epochs}" if epochs else "")


def _loss(event: dict[str, Any]) -> str:
    terms = " + ".join(f"{name} {term['value']:.3f}" for name, term in event["terms"].items())
    rate, positive = event["images_per_second"], event["counts"]["positive"]
    return f"{event['total']:.3f} = {terms}; {positive} positive; {rate:.0f} images/s"
