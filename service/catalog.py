"""What can be chosen: assigners, losses, presets and normalizers, each with its options and its source.

The registries know, but asking them imports torch. So `make catalog` asks once and writes `catalog.json`,
which the service reads; a test compares the two.
"""

import inspect
import json
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what the service reads here must not import torch
    from posneg.models.recipe import TermRecipe

FILE = Path(__file__).parent / "catalog.json"
Json = dict[str, Any]
Options = Mapping[str, tuple[Any, Any]]
"""Option name → annotation, default."""


@cache
def catalog() -> Json:
    """What was written: `assigners`, `loss_functions`, `negatives`, `normalizers`, `presets` and `term`."""
    written: Json = json.loads(FILE.read_text())
    return written


def collected() -> Json:
    """The same afresh, from the registries; imports torch."""
    from posneg.models.assigners import assigner
    from posneg.models.losses import kind_of, losses
    from posneg.models.negatives import negatives
    from posneg.models.normalizers import normalizer
    from posneg.models.presets import preset

    return {
        "assigners": [_described(assigner[name]) for name in assigner],
        "loss_functions": [_described(losses[name]) | {"kind": kind_of(name)} for name in losses],
        "negatives": [_documented(negatives[name]) | _options(negatives[name]) for name in negatives],
        "normalizers": [_documented(normalizer[name]) for name in normalizer],
        "presets": [_documented(preset[name]) | _chosen(name) for name in preset],
        "term": _term(),
    }


def write() -> None:
    """Write the file anew."""
    FILE.write_text(json.dumps(collected(), indent=2, ensure_ascii=False) + "\n")


def _documented(function: Callable[..., Any]) -> Json:
    """Name, one line, the whole text, and the module's own text, which names the source."""
    text = inspect.getdoc(function) or ""
    return {
        "name": function.__name__,
        "summary": text.splitlines()[0],
        "description": text,
        "source": inspect.getdoc(sys.modules[function.__module__]) or "",
    }


def _described(function: Callable[..., Any]) -> Json:
    described = _documented(function) | _options(function)
    return {
        **described,
        "formula": described["summary"],
        "flavors": described["parameters"]["properties"].get("flavor", {}).get("enum", []),
        "semantics": sys.modules[function.__module__].SEMANTICS,
    }


def _options(function: Callable[..., Any]) -> Json:
    from posneg.models.registry import options_of

    hints = typing.get_type_hints(function, include_extras=True)
    options = {name: (hints[name], option.default) for name, option in options_of(function).items()}
    return {
        "parameters": _schema(options),
        "defaults": {name: default for name, (_, default) in options.items()},
    }


def _chosen(preset: str) -> Json:
    """What a preset stands for, in the form in which a request would send it."""
    from posneg.models.presets import resolve

    recipe = resolve(preset)
    return {
        "assigner": {"name": recipe.assigner, **recipe.assigner_options},
        "loss": {
            name: {"name": term.loss, **_common(term, name, recipe.sampled_term), **term.options}
            for name, term in recipe.terms.items()
        },
    }


def _common(term: "TermRecipe", name: str, sampled: str) -> Json:
    """What a term takes beside the options of its loss; the drawn term says which negatives count."""
    common = {option: getattr(term, option) for option in _common_options(name)}
    return common | ({"negatives": dict(term.negatives)} if name == sampled else {})


def _common_options(term: str) -> tuple[str, ...]:
    from posneg.models.presets import CLASSIFICATION_OPTIONS, TERM_OPTIONS

    return TERM_OPTIONS + (CLASSIFICATION_OPTIONS if term == "classification" else ())


def _term() -> Json:
    """The same as a schema: that of a classification term, which has them all."""
    from posneg.models.recipe import TermRecipe

    hints = typing.get_type_hints(TermRecipe, include_extras=True)
    options = {f.name: (hints[f.name], f.default) for f in fields(TermRecipe)}
    return {"parameters": _schema({name: options[name] for name in _common_options("classification")})}


def _schema(options: Options) -> Json:
    """JSON schema of an object of options; bounds and choices come from the annotations."""
    from pydantic import TypeAdapter

    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: {**TypeAdapter(hint).json_schema(), "default": default}
            for name, (hint, default) in options.items()
        },
    }


if __name__ == "__main__":
    write()
