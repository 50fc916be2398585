"""Pages of a list: complete, in order, and stable while rows are added."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from posneg.service.schemas.pages import Window, page, page_of_sorted

names = st.lists(st.text("abc", min_size=1, max_size=3), unique=True).map(sorted)


def shown(items: list[str], window: Window) -> dict[str, Any]:
    """A page of names."""
    return page_of_sorted(items, window, name=lambda item: item, show=str.upper)


@given(items=names, limit=st.integers(1, 5), added=st.lists(st.text("abc", min_size=1, max_size=3)))
def test_pages_list_each_row_once_whatever_is_added(items: list[str], limit: int, added: list[str]) -> None:
    """Rows that were there from the start appear exactly once and in order."""
    seen: list[str] = []
    window, extra = Window(limit), iter(added)
    kept = list(items)
    while True:
        told = shown(kept, window)
        assert len(told["data"]) <= limit
        seen += told["data"]
        assert told["has_more"] == (told["next"] is not None)
        if not told["has_more"]:
            break
        window = Window(limit, told["next"])
        kept = sorted({*kept, *([new] if (new := next(extra, None)) else [])})
    assert [name for name in seen if name.lower() in items] == [item.upper() for item in items]
    assert seen == sorted(set(seen))


def test_an_empty_list_is_one_page() -> None:
    """Nothing, and no more."""
    assert shown([], Window(3)) == {"data": [], "has_more": False, "next": None}


def test_a_cursor_of_something_deleted_still_leads_on() -> None:
    """The rest of the list does not depend on the row that the cursor came from."""
    assert shown(["a", "c"], Window(3, "b"))["data"] == ["C"]


def test_a_page_shows_the_limit_of_what_was_fetched() -> None:
    """One row more than the limit is how a query tells that there is more."""
    told = page([3, 2, 1], Window(2), cursor=str, show=lambda row: row)
    assert told == {"data": [3, 2], "has_more": True, "next": "2"}
