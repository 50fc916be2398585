"""Name → function, one file each, found by file name and imported on first use.

A registry is a folder: `assigners/atss.py` defines and registers `atss`. Listing the names imports nothing,
so that the service starts without torch. Options are the keyword-only parameters of the function; their
annotations and defaults are the only place where they are written down.
"""

import inspect
import math
import pkgutil
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

import annotated_types

F = TypeVar("F", bound=Callable[..., Any])
RESERVED = {"trace"}  # keyword-only, but not the caller's to choose


class OptionError(ValueError):
    """An option that cannot be used; `path` leads to it from the options' own object."""

    def __init__(self, message: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.path = path


class InvalidOptions(ValueError):
    """Every option that cannot be used, at once."""

    def __init__(self, problems: "list[OptionError]") -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, p.path))}: {p}" for p in problems))
        self.problems = problems


class Registry(Generic[F]):
    """The functions of one folder by name; as a decorator it adds the one that its file is named after."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._functions: dict[str, F] = {}

    def __call__(self, function: F) -> F:
        """Register `function` under its own name; two of one name are a mistake."""
        name = function.__name__
        if self._functions.setdefault(name, function) is not function:
            raise ValueError(
                f"{function.__module__} and {self._functions[name].__module__} both define {name}"
            )
        return function

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __getitem__(self, name: str) -> F:
        if name not in self:
            raise OptionError(f"no {self.kind} {name!r}; known: {', '.join(self.names())}", ("name",))
        if name not in self._functions:
            import_module(f"{self.package}.{name}")
        return self._functions[name]

    @cache  # noqa: B019 - a registry lives as long as the process
    def names(self) -> tuple[str, ...]:
        """Every name, sorted, without importing anything."""
        folder = Path(__file__).parent / self.package.rsplit(".", 1)[-1]
        return tuple(
            sorted(m.name for m in pkgutil.iter_modules([str(folder)]) if not m.name.startswith("_"))
        )

    def bind(self, name: str, options: Mapping[str, object]) -> "partial[Any]":
        """The function with its options checked and fixed; raises `OptionError` for one that does not fit."""
        function = self[name]
        if problems := list(check(function, options)):
            raise problems[0]
        return partial(function, **fitted(function, options))


def options_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of `function`, in order."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in RESERVED}


def defaults_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Option name → default."""
    return {name: parameter.default for name, parameter in options_of(function).items()}


def check(function: Callable[..., Any], options: Mapping[str, object]) -> Iterator[OptionError]:
    """What is wrong with `options`: unknown names, wrong types, values out of bounds."""
    known = options_of(function)
    hints = typing.get_type_hints(function, include_extras=True)
    for name, value in options.items():
        if name not in known:
            yield OptionError(
                f"no option {name!r}; {function.__name__} has {', '.join(known) or 'none'}", (name,)
            )
        elif wrong := mismatch(value, hints[name]):
            yield OptionError(f"{value!r} {wrong}", (name,))


def fitted(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as the function's annotations want them: whole numbers as floats, lists as tuples."""
    hints = typing.get_type_hints(function, include_extras=True)
    return {name: _fit(value, hints[name]) for name, value in options.items()}


def _fit(value: Any, hint: Any) -> Any:  # noqa: ANN401 - any option, any annotation
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _fit(value, arguments[0])
    if origin is typing.Union or type(hint).__name__ == "UnionType":
        return _fit(value, next(a for a in arguments if mismatch(value, a) is None))
    if origin is tuple:
        element = arguments[:1] * len(value) if Ellipsis in arguments else arguments
        return tuple(_fit(v, h) for v, h in zip(value, element, strict=True))
    return float(value) if hint is float else value


def mismatch(value: object, hint: Any) -> str | None:  # noqa: ANN401 - a type hint
    """Why `value` does not fit the annotation `hint`; None if it does."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return mismatch(value, arguments[0]) or _out_of_bounds(value, arguments[1:])
    if origin is typing.Literal:
        return None if value in arguments else f"is none of {', '.join(map(repr, arguments))}"
    if origin is typing.Union or type(hint).__name__ == "UnionType":
        reasons = [mismatch(value, argument) for argument in arguments]
        return None if None in reasons else " and ".join(r for r in reasons if r)
    if origin in (list, tuple):
        return _sequence_mismatch(value, origin, arguments)
    return _scalar_mismatch(value, hint)


def _sequence_mismatch(value: object, origin: type, arguments: tuple[Any, ...]) -> str | None:
    if not isinstance(value, list | tuple):
        return "is not a list"
    if origin is tuple and Ellipsis not in arguments and len(value) != len(arguments):
        return f"has {len(value)} elements, not {len(arguments)}"
    element = arguments[:1] * len(value) if origin is list or Ellipsis in arguments else arguments
    return next((wrong for v, hint in zip(value, element, strict=True) if (wrong := mismatch(v, hint))), None)


def _scalar_mismatch(value: object, hint: Any) -> str | None:  # noqa: ANN401 - a type hint
    if hint is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return None if number and math.isfinite(value) else "is not a finite number"  # type: ignore[arg-type]
    if hint is int:
        return None if isinstance(value, int) and not isinstance(value, bool) else "is not a whole number"
    names = {bool: "true or false", str: "a string", type(None): "null"}
    return None if isinstance(value, hint) else f"is not {names.get(hint, hint.__name__)}"


def _out_of_bounds(value: Any, bounds: tuple[object, ...]) -> str | None:  # noqa: ANN401 - any number
    if not isinstance(value, int | float):
        return None
    for bound in bounds:
        match bound:
            case annotated_types.Ge(ge=low) if value < low:  # type: ignore[operator]
                return f"is below {low}"
            case annotated_types.Gt(gt=low) if value <= low:  # type: ignore[operator]
                return f"is not above {low}"
            case annotated_types.Le(le=high) if value > high:  # type: ignore[operator]
                return f"is above {high}"
    return None
