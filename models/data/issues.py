"""What is wrong with a data set, and what was done about each: never silently."""

from typing import Literal, TypedDict

Action = Literal["dropped", "clipped", "scaled", "turned", "merged", "kept", "treated as crowd", "split"]
Id = int | str | None
MAX_ID = 2**53  # beyond it JSON readers disagree
MAX_TEXT = 500  # characters
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Issue(TypedDict):
    """One finding. `pointer` is a JSON pointer into `file`; `id` is the annotation's or image's own."""

    code: str
    file: str
    pointer: str | None
    id: Id
    detail: str
    action: Action


def issue(
    code: str, action: Action, detail: str, *, file: str = "", pointer: str | None = None, id: object = None
) -> Issue:
    """A finding, its text made printable and short; an `id` that is no number or string is left out."""
    known: Id = None
    if isinstance(id, str):
        known = printable(id)
    elif isinstance(id, int) and not isinstance(id, bool) and abs(id) <= MAX_ID:
        known = id
    return Issue(code=code, file=file, pointer=pointer, id=known, detail=printable(detail), action=action)


def printable(text: str) -> str:
    """Text that any encoder, terminal and database takes: no control characters, no halves of surrogates."""
    return "".join(c if c.isprintable() else REPLACEMENT for c in text[:MAX_TEXT])


class LayoutError(ValueError):
    """A folder that no data set can be made of; `issues` are what was wrong on the way."""

    def __init__(self, code: str, message: str, issues: list[Issue]) -> None:
        super().__init__(message)
        self.code = code
        self.issues = issues
