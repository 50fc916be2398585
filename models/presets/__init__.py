"""Published recipes, one file each, and what becomes of one when a caller changes it.

A new preset is a new file `<name>.py` with one function `<name>` under `@preset`, from the names of the
columns that the predictions have (`dfl`, `ltrb`, `deltas`, ...) to a `Recipe`; its docstring names the
source.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from posneg.models.assigners import assigner as assigners
from posneg.models.losses import kind_of, losses
from posneg.models.negatives import negatives
from posneg.models.normalizers import normalizer as normalizers
from posneg.models.recipe import Recipe, TermRecipe
from posneg.models.registry import (
    InvalidOptions,
    OptionError,
    Registry,
    check,
    defaults_of,
    fitted,
    options_of,
)

Options = Mapping[str, Any]
preset: Registry[Callable[..., Recipe]] = Registry("preset", __name__)

TERM_OPTIONS = ("weight", "normalizer", "scope")
CLASSIFICATION_OPTIONS = ("negative_weight", "class_weights", "target")
KINDS_OF_TERM = {
    "classification": ("classification", "softmax"),
    "dfl": ("distribution",),
    "objectness": ("logit",),
    "centerness": ("logit",),
}


def resolve(
    name: str,
    *,
    assigner: Options | None = None,
    loss: Mapping[str, Options] | None = None,
    columns: frozenset[str] = frozenset({"dfl"}),
    head: str | None = None,
) -> Recipe:
    """The recipe of a preset with changes, every option filled in.

    `assigner` and `loss` override the preset field by field; another assigner or loss `name` starts from
    its own defaults. `columns` are the head outputs at hand, `sampled` among them where a sampler's draw
    is; `head` is the one of several that they come from. Raises `InvalidOptions` with a path for each that
    does not fit.
    """
    recipe = _published(name, columns, head)
    problems: list[OptionError] = []
    chosen, options = _assigner(recipe, assigner or {}, problems)
    terms = dict(recipe.terms)
    if "sampled" in columns:
        terms[recipe.sampled_term] = replace(terms[recipe.sampled_term], negatives={"name": "given"})
    for term, changes in (loss or {}).items():
        if term not in terms:
            known = f"{name} has {', '.join(terms)}"
            problems.append(OptionError(f"no term {term!r}; {known}", ("loss", term)))
        else:
            terms[term] = _changed(term, terms[term], changes, recipe, problems)
    if terms[recipe.sampled_term].negatives["name"] == "given" and "sampled" not in columns:
        detail = "no predictions say what was `sampled`"
        problems.append(OptionError(detail, ("loss", recipe.sampled_term, "negatives")))
    if problems:
        raise InvalidOptions(problems)
    filled = {t: _filled(value) for t, value in terms.items() if value.weight or not value.may_be_left_out}
    return replace(recipe, assigner=chosen, assigner_options=options, terms=filled)


def _published(name: str, columns: frozenset[str], head: str | None) -> Recipe:
    """The preset as its upstream has it."""
    if name not in preset:
        raise InvalidOptions([OptionError(f"no preset {name!r}; known: {', '.join(preset)}", ("preset",))])
    function = preset[name]
    options = {} if head is None else {"head": head}
    if head is not None and "head" not in options_of(function):
        raise InvalidOptions([OptionError(f"{name} has one head; leave `head` out", ("head",))])
    if problems := list(check(function, options)):
        raise InvalidOptions(problems)
    return function(columns, **options)


def _assigner(recipe: Recipe, changes: Options, problems: list[OptionError]) -> tuple[str, dict[str, Any]]:
    """The assigner's name and all of its options."""
    name, options = changes.get("name", recipe.assigner), {k: v for k, v in changes.items() if k != "name"}
    if not isinstance(name, str) or name not in assigners:
        known = f"no assigner {name!r}; known: {', '.join(assigners)}"
        problems.append(OptionError(known, ("assigner", "name")))
        return recipe.assigner, {}
    function = assigners[name]
    wrong = list(_under(check(function, options), "assigner"))
    problems.extend(wrong)
    own = recipe.assigner_options if name == recipe.assigner else {}
    return name, {**defaults_of(function), **own, **({} if wrong else fitted(function, options))}


def _changed(
    term: str, own_recipe: TermRecipe, changes: Options, recipe: Recipe, problems: list[OptionError]
) -> TermRecipe:
    """A term with a caller's changes, each checked."""
    name = changes.get("name", own_recipe.loss)
    if not isinstance(name, str) or name not in losses:
        known = f"no loss function {name!r}; known: {', '.join(losses)}"
        problems.append(OptionError(known, ("loss", term, "name")))
        return own_recipe
    kinds = KINDS_OF_TERM.get(term, ("overlap", "coordinates"))
    if kind_of(name) not in kinds:
        fitting = ", ".join(n for n in losses if kind_of(n) in kinds)
        detail = f"{name!r} does not give the term {term!r}; these do: {fitting}"
        problems.append(OptionError(detail, ("loss", term, "name")))
        return own_recipe
    own, options = _split(term, {k: v for k, v in changes.items() if k != "name"}, recipe)
    wrong = [
        *_under(_wrong_term_options(own), "loss", term),
        *_under(check(losses[name], options), "loss", term),
    ]
    problems.extend(wrong)
    if wrong:
        return own_recipe
    kept = dict(own_recipe.options) if name == own_recipe.loss else _house_flavor(name, recipe.flavor)
    changed = fitted(TermRecipe, own)
    return replace(own_recipe, **changed, loss=name, options={**kept, **fitted(losses[name], options)})


def _split(term: str, changes: Options, recipe: Recipe) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is the term's own, and what its loss function's; a normalizer may be `{"name", "scope"}`."""
    allowed = TERM_OPTIONS + (CLASSIFICATION_OPTIONS if term == "classification" else ())
    allowed += ("negatives",) if term == recipe.sampled_term else ()
    own = {k: v for k, v in changes.items() if k in allowed}
    if isinstance(own.get("normalizer"), Mapping):
        nested = dict(own.pop("normalizer"))
        own |= {"normalizer" if k == "name" else k: v for k, v in nested.items()}
    return own, {k: v for k, v in changes.items() if k not in allowed}


def _wrong_term_options(options: Options) -> Iterator[OptionError]:
    yield from check(TermRecipe, {k: v for k, v in options.items() if k != "negatives"})
    name = options.get("normalizer")
    if isinstance(name, str) and name not in normalizers:
        yield OptionError(f"no normalizer {name!r}; known: {', '.join(normalizers)}", ("normalizer",))
    if "negatives" in options:
        yield from _wrong_negatives(options["negatives"])


def _wrong_negatives(chosen: Any) -> Iterator[OptionError]:  # noqa: ANN401 - whatever was sent
    """What is wrong with a selection of negatives."""
    name = chosen.get("name") if isinstance(chosen, Mapping) else None
    if not isinstance(name, str) or name not in negatives:
        known = f"{chosen!r} is no selection of negatives; its `name` is one of {', '.join(negatives)}"
        yield OptionError(known, ("negatives",))
        return
    options = {k: v for k, v in chosen.items() if k != "name"}
    yield from _under(check(negatives[name], options), "negatives")


def _house_flavor(name: str, flavor: str | None) -> dict[str, Any]:
    """The recipe's own flavor of a loss, where it has one."""
    if flavor is None or list(check(losses[name], {"flavor": flavor})):
        return {}
    return {"flavor": flavor}


def _filled(term: TermRecipe) -> TermRecipe:
    chosen = negatives[term.negatives["name"]]
    return replace(
        term,
        options={**defaults_of(losses[term.loss]), **term.options},
        negatives={**defaults_of(chosen), **term.negatives},
    )


def _under(problems: Iterator[OptionError], *path: str) -> Iterator[OptionError]:
    for problem in problems:
        yield OptionError(str(problem), (*path, *problem.path))
