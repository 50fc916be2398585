"""What can be chosen in a request: assigners, losses and presets with their options, formulas and sources."""

from typing import Any

from fastapi import APIRouter

from posneg.service.catalog import catalog
from posneg.service.routes.dependencies import WindowDep
from posneg.service.schemas.loss_function import evaluation
from posneg.service.schemas.pages import Window, page_of_sorted

router = APIRouter(tags=["losses"])


@router.get("/v1/assigners")
async def list_assigners(window: WindowDep) -> dict[str, Any]:
    """Every assigner: its options as JSON schema, their defaults, the flavors and where it is published."""
    return _page("assigners", window)


@router.get("/v1/loss-functions")
async def list_loss_functions(window: WindowDep) -> dict[str, Any]:
    """Every loss function, and what a term takes beside the function's own options.

    `evaluation` says what `POST /v1/loss-functions/{name}` takes: its inputs, each with the names that it may
    have, and parameters beside the function's own.
    """
    page = _page("loss_functions", window)
    page["data"] = [item | {"evaluation": evaluation(item["kind"])} for item in page["data"]]
    return page | {kind: catalog()[kind] for kind in ("term", "normalizers", "negatives")}


@router.get("/v1/presets")
async def list_presets(window: WindowDep) -> dict[str, Any]:
    """Every preset, spelled out as the assigner and the terms that a request would send."""
    return _page("presets", window)


def _page(kind: str, window: Window) -> dict[str, Any]:
    items: list[dict[str, Any]] = catalog()[kind]
    return page_of_sorted(items, window, name=lambda item: item["name"], show=lambda item: item)
