"""Every fault of one request, gathered before any is told."""

import difflib
from collections.abc import Collection, Iterable
from typing import Any

from posneg.service.errors import MAX_FAULTS, Fault, InvalidRequest

LONGEST_SHOWN = 60
LONGEST_TOKEN = 200
MOST_COMPARED = 2000
NAMES = {dict: "an object", list: "a list", type(None): "null"}


class Faults:
    """What is wrong with a request, in the order found: as many in words as a problem names, and how many."""

    def __init__(self) -> None:
        self.kept: list[Fault] = []
        self.total = 0

    @property
    def full(self) -> bool:
        """No further fault will be told in words, so that costly words can be spared."""
        return len(self.kept) >= MAX_FAULTS

    def add(self, pointer: str, detail: str, code: str) -> None:
        """One bad element."""
        self.total += 1
        if not self.full:
            self.kept.append(Fault(pointer, detail, code))

    def wrong_type(self, pointer: str, value: object, wanted: str) -> None:
        """One element of a type that is not read there."""
        detail = "" if self.full else f"{shown(value)} is not {wanted}"
        self.add(pointer, detail, "wrong_type")

    def missing(self, pointer: str, detail: str) -> None:
        """An element that has to be there and is not."""
        self.add(pointer, detail, "missing_field")

    def unknown_fields(self, pointer: str, element: Iterable[str], known: Collection[str]) -> None:
        """The fields of `element` that nothing reads, each with the known name that it comes nearest to."""
        for name in element:
            if name in known:
                continue
            detail = "" if self.full else f"no field {shown(name)} here; {suggestion(name, known)}"
            self.add(below(pointer, name), detail, "unknown_field")

    def raise_if_any(self) -> None:
        """Raise one `InvalidRequest` for all of them."""
        if not self.total:
            return
        first = self.kept[0]
        detail = f"{first.pointer or 'the request'}: {first.detail}"
        if self.total > 1:
            detail = f"{self.total} elements of the request are wrong; the first is {detail}"
        raise InvalidRequest(detail, faults=self.kept, faults_total=self.total)


def below(pointer: str, name: str) -> str:
    """The JSON pointer of a member that the caller named (RFC 6901, section 3); overlong names are cut."""
    return f"{pointer}/{name[:LONGEST_TOKEN].replace('~', '~0').replace('/', '~1')}"


def shown(value: object) -> str:
    """A value in a message: scalars as they are, cut where too long; containers by their kind alone."""
    if type(value) in NAMES:
        return NAMES[type(value)]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 128:
        return "a huge whole number"
    text = repr(value[:LONGEST_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


def suggestion(name: str, known: Collection[str]) -> str:
    """What the caller may have meant by `name`, or what there is where nothing comes near."""
    comparable = len(name) <= LONGEST_SHOWN and len(known) <= MOST_COMPARED
    near = difflib.get_close_matches(name, known, 1) if comparable else []
    if near:
        return f"did you mean {near[0]!r}?"
    listed = ", ".join(list(known)[:20])
    return f"known: {listed}{', …' if len(known) > 20 else ''}" if listed else "none is known"


def given(document: dict[str, Any], name: str, default: Any = None) -> Any:  # noqa: ANN401 - any JSON value
    """A member of an object; null stands for absent."""
    value = document.get(name)
    return default if value is None else value
