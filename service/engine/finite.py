"""Strict JSON: a number that is not finite becomes null and is listed by its pointer."""

import math
from typing import Any

LISTED = 100


def strict(body: dict[str, Any]) -> dict[str, Any]:
    """The body without NaN and infinities; `nonfinite` points at each (the first hundred) and counts them."""
    pointers: list[str] = []
    clean = _clean(body, "", pointers)
    if pointers:
        clean["nonfinite"] = pointers[:LISTED]
        clean["nonfinite_total"] = len(pointers)
    result: dict[str, Any] = clean
    return result


def _clean(value: Any, pointer: str, pointers: list[str]) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        pointers.append(pointer)
        return None
    if isinstance(value, dict):
        return {k: _clean(v, f"{pointer}/{k}", pointers) for k, v in value.items()}
    if isinstance(value, list):
        return [_clean(v, f"{pointer}/{i}", pointers) for i, v in enumerate(value)]
    return value
