"""Images and categories of COCO files: found by id however it is written, or joined by name across files."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from posneg.service.schemas.elements import ID_BITS, Elements, is_id, objects
from posneg.service.schemas.faults import Faults, shown
from posneg.service.schemas.loss_input import Notice

Id = str | int
LISTED = 5


@dataclass(slots=True)
class Tally:
    """Occurrences of one kind: how many, where the first was, and a few of the values."""

    count: int = 0
    pointer: str = ""
    values: tuple[Any, ...] = ()

    def add(self, pointer: str, value: object) -> None:
        """One more."""
        self.count += 1
        self.pointer = self.pointer or pointer
        if len(self.values) < LISTED and value not in self.values:
            self.values += (value,)

    @property
    def listed(self) -> str:
        """The first few values, as a message shows them."""
        return ", ".join(shown(value) for value in self.values)


class Table:
    """Rows by id. A string and the whole number that it spells are one id, unless the table has both."""

    def __init__(self, ids: Sequence[Id | None]) -> None:
        self._exact: dict[Id, int] = {}
        self._spelled: dict[str, int] = {}
        self.reconciled = Tally()
        for row, value in enumerate(ids):
            if value is not None:
                self._exact.setdefault(value, row)
                self._spelled.setdefault(_spelling(value), row)

    def find(self, value: Id, pointer: str) -> int | None:
        """The row of an id that stands at `pointer`."""
        row = self._exact.get(value)
        if row is None:
            row = self._spelled.get(_spelling(value))
            if row is not None:
                self.reconciled.add(pointer, value)
        return row


@dataclass(frozen=True, slots=True)
class Entries:
    """The images or the categories of one file: ids, and the names that another file may know them by.

    `whole` says that no entry was at fault, so that an id that is not among them is unknown indeed.
    """

    pointer: str
    kind: str
    elements: Elements
    ids: list[Id | None]
    names: list[str | None]
    whole: bool

    @classmethod
    def images(cls, dataset: dict[str, Any], pointer: str, faults: Faults) -> Self:
        """The images of a data set, which may have a `file_name`."""
        return cls._read(dataset, "images", "image", "file_name", pointer, faults)

    @classmethod
    def categories(cls, dataset: dict[str, Any], pointer: str, faults: Faults) -> Self:
        """The categories of a data set, which may have a `name`."""
        return cls._read(dataset, "categories", "category", "name", pointer, faults)

    @classmethod
    def _read(
        cls, dataset: dict[str, Any], member: str, kind: str, name: str, pointer: str, faults: Faults
    ) -> Self:
        before, here = faults.total, f"{pointer}/{member}"
        elements = objects(dataset.get(member), here, None, faults)
        ids = [read_id(element, "id", at, faults) for at, element in elements]
        whole = faults.total == before
        first: dict[Id, str] = {}
        for (at, _), value in zip(elements, ids, strict=True):
            if value is not None and first.setdefault(value, at) is not at:
                detail = f"{shown(value)} is the id of {first[value]} too"
                faults.add(f"{at}/id", detail, "duplicate_id")
        names = [_name(element.get(name)) for _, element in elements]
        return cls(here, kind, elements, ids, names, whole)

    @property
    def named(self) -> bool:
        """Every entry has a name of its own."""
        return bool(self.names) and all(self.names) and len(set(self.names)) == len(self.names)


class Lookup:
    """From an id as results or annotations write it to a row of the ground truth's table."""

    def __init__(self, truth: Entries, own: Entries | None = None) -> None:
        """`own` are the results' own entries: used where both sides have names to join on."""
        self.kind = truth.kind
        self.whole = truth.whole
        self.joined = own is not None and own.named and truth.named
        self.own = own if own is not None and self.joined else truth
        self.table = Table(self.own.ids)
        self.targets: list[int | None] | None = None
        self.renumbered = 0
        if own is not None and self.joined:
            rows = {name: row for row, name in enumerate(truth.names)}
            self.targets = [rows.get(name) for name in own.names]
            pairs = zip(own.ids, self.targets, strict=True)
            self.renumbered = sum(row is not None and truth.ids[row] != value for value, row in pairs)

    def find(self, value: Id, pointer: str) -> int | None:
        """The row that the id stands for; None where there is none."""
        row = self.table.find(value, pointer)
        return row if row is None or self.targets is None else self.targets[row]

    def called(self, value: Id) -> str:
        """What a message calls an id: its name where names are what was joined on."""
        if not self.joined or value not in self.own.ids:
            return shown(value)
        return shown(self.own.names[self.own.ids.index(value)])

    def notices(self, pointer: str) -> list[Notice]:
        """What was done so that the two sides fit."""
        found = []
        if self.renumbered:
            by = "file name" if self.kind == "image" else "name"
            detail = f"{self.renumbered} {self.kind} ids differ between the files; joined by {by}"
            found.append(Notice(code="JOINED_BY_NAME", detail=detail, pointer=pointer))
        tally = self.table.reconciled
        if tally.count:
            detail = (
                f"{tally.count} {self.kind} ids are strings on one side and numbers on the other"
                f" ({tally.listed}); taken as the same"
            )
            found.append(Notice(code="ID_TYPE_MISMATCH", detail=detail, pointer=tally.pointer))
        return found


def read_id(element: dict[str, Any], name: str, pointer: str, faults: Faults) -> Id | None:
    """An id: a string or a whole number, be it written with a decimal point; None where it is at fault."""
    value = element.get(name)
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if is_id(value):
        return value
    if value is None:
        faults.missing(f"{pointer}/{name}", f"no {name}")
    else:
        faults.wrong_type(f"{pointer}/{name}", value, f"a string or a whole number of {ID_BITS + 1} bits")
    return None


def distinct_names(categories: Entries) -> tuple[list[str], list[Notice]]:
    """A class name for each category: its own, with the id where several share it or there is none."""
    shared = {name for name, times in Counter(categories.names).items() if name is not None and times > 1}
    names: list[str] = []
    for value, name in zip(categories.ids, categories.names, strict=True):
        names.append(str(value) if name is None else f"{name} ({value})" if name in shared else name)
    if not shared:
        return names, []
    detail = f"several categories are called {', '.join(shown(name) for name in sorted(shared)[:LISTED])}"
    return names, [
        Notice(
            code="DUPLICATE_CATEGORY_NAME", detail=f"{detail}; told apart by id", pointer=categories.pointer
        )
    ]


def _name(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _spelling(value: Id) -> str:
    if type(value) is str and value.isascii() and value.isdecimal() and len(value) <= 18:
        return str(int(value))
    return str(value)
