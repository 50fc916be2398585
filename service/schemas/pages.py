"""Pages of a list: `?limit&after` → `{"data", "has_more", "next"}`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list is asked for."""

    limit: int
    after: str | None = None
    """Cursor of the last row that the caller has; rows are taken strictly after it in the list's order."""


def page(
    rows: Sequence[T], window: Window, *, cursor: Callable[[T], str], show: Callable[[T], Any]
) -> dict[str, Any]:
    """The page of `rows`: at most `limit + 1` of them, already cut to those after the cursor.

    The cursor must be a value that the list is ordered by and that never changes (a name, a sequence
    number), not an offset: only then do rows inserted meanwhile neither repeat nor hide others.
    """
    shown = rows[: window.limit]
    has_more = len(rows) > window.limit
    return {
        "data": [show(row) for row in shown],
        "has_more": has_more,
        "next": cursor(shown[-1]) if has_more else None,
    }


def page_of_sorted(
    items: Sequence[T], window: Window, *, name: Callable[[T], str], show: Callable[[T], Any]
) -> dict[str, Any]:
    """The page of a list that is in memory and sorted by `name`, which is unique and serves as the cursor."""
    rest = [item for item in items if window.after is None or name(item) > window.after]
    return page(rest[: window.limit + 1], window, cursor=name, show=show)
