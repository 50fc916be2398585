"""Class names to indices: as the request lists them, or gathered in the order of their first use."""

import re
from typing import Any, Literal

from posneg.service.schemas.faults import Faults, below, shown, suggestion

MAX_CLASSES = 100_000
WHOLE_NUMBER = re.compile("0|[1-9][0-9]{0,8}")


class Labels:
    """The classes of one request.

    Without a list, the first label seen decides whether labels are names, which get their numbers in order of
    first use, or numbers, which are then their own names. A list that was itself wrong accepts any label, so
    that one mistake is told once.
    """

    def __init__(self, names: list[str] | None, faults: Faults, *, broken: bool = False) -> None:
        self.names = list(names or [])
        self.listed = names is not None
        self.faults = faults
        self.broken = broken
        self.mode: Literal["names", "numbers"] | None = None
        self.count = len(self.names)
        self._index = {name: number for number, name in enumerate(self.names)}

    @classmethod
    def read(cls, value: Any, faults: Faults) -> "Labels":  # noqa: ANN401 - any JSON value
        """From the request's `classes`."""
        if value is None:
            return cls(None, faults)
        before = faults.total
        if type(value) is not list:
            faults.wrong_type("/classes", value, "a list of class names")
            return cls([], faults, broken=True)
        first: dict[str, int] = {}
        for number, name in enumerate(value):
            if type(name) is not str:
                faults.wrong_type(f"/classes/{number}", name, "a class name")
            elif first.setdefault(name, number) != number:
                faults.add(
                    f"/classes/{number}", f"{shown(name)} is class {first[name]} too", "duplicate_class"
                )
        if len(value) > MAX_CLASSES:
            faults.add("/classes", f"{len(value)} classes; at most {MAX_CLASSES}", "too_many")
        return cls(list(first), faults, broken=faults.total > before)

    def expect(self, label: Any) -> None:  # noqa: ANN401 - any JSON value
        """Settle what labels are by the first one of a request, before keys that could be either are read."""
        if not self.listed:
            self.mode = "numbers" if type(label) is int else "names"

    def number(self, label: Any, pointer: str) -> int:  # noqa: ANN401 - any JSON value
        """The index of a label, a name or a number; 0 where it is at fault."""
        if type(label) is str:
            return self._of_name(label, pointer)
        if type(label) is int:
            return self._of_number(label, pointer)
        self.faults.wrong_type(pointer, label, "a class name or index")
        return 0

    def find(self, name: str) -> int | None:
        """The index of a class name that may be none."""
        return self._index.get(name)

    def key(self, name: str, pointer: str) -> int:
        """The index of a class that is the key of an object, where numbers are strings; 0 if at fault."""
        if self.mode == "numbers" and WHOLE_NUMBER.fullmatch(name):
            return self._of_number(int(name), below(pointer, name))
        return self._of_name(name, below(pointer, name))

    def widen(self, columns: int) -> None:
        """Take the classes of dense columns that no label names: numbers stand for them."""
        self.count = max(self.count, columns)
        self.names += [str(number) for number in range(len(self.names), self.count)]

    def finish(self) -> list[str]:
        """The names of all classes, in order."""
        self.widen(self.count)
        return self.names

    def _of_name(self, name: str, pointer: str) -> int:
        number = self._index.get(name)
        if number is not None:
            return number
        if self.listed:
            if not self.broken:
                hint = "" if self.faults.full else f"; {suggestion(name, self.names)}"
                self.faults.add(pointer, f"{shown(name)} is not in `classes`{hint}", "unknown_class")
            return 0
        if not self._settle("names", name, pointer):
            return 0
        number = self._index[name] = self.count
        self.names.append(name)
        self.count += 1
        if self.count == MAX_CLASSES + 1:
            self.faults.add(pointer, f"more than {MAX_CLASSES} classes", "too_many")
        return number

    def _of_number(self, number: int, pointer: str) -> int:
        if not self.listed and not self._settle("numbers", number, pointer):
            return 0
        highest = self.count - 1 if self.listed else MAX_CLASSES - 1
        if not 0 <= number <= highest:
            if not self.broken:
                allowed = f"0 to {highest}" if highest >= 0 else "none: `classes` is empty"
                detail = f"{shown(number)} is no class index; allowed: {allowed}"
                self.faults.add(pointer, detail, "label_out_of_range")
            return 0
        self.count = max(self.count, number + 1)
        return number

    def _settle(self, mode: Literal["names", "numbers"], label: str | int, pointer: str) -> bool:
        """Whether labels are of this mode, which the first one decides."""
        self.mode = self.mode or mode
        if self.mode != mode:
            detail = f"{shown(label)} among labels that are {self.mode}; send `classes` to use both"
            self.faults.add(pointer, detail, "mixed_labels")
        return self.mode == mode
