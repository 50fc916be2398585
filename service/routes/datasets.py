"""Data sets: put as zips, listed, deleted; `shapes` is always there."""

from functools import partial
from typing import Any

import anyio
import orjson
from anyio import to_thread
from fastapi import APIRouter, Request, Response

from posneg.service.datasets import catalog, opening
from posneg.service.datasets.intake import prepare
from posneg.service.records import Records
from posneg.service.routes.conditional import entity_tag, not_modified, require_match
from posneg.service.routes.dependencies import RecordsDep, SettingsDep, StoreDep, WindowDep
from posneg.service.routes.uploads import FORM, received
from posneg.service.schemas.datasets import Dataset, DatasetPage

router = APIRouter(tags=["data sets"])
JSON = "application/json"
# What browsers, scripts and curl call a zip; its content is looked at anyway.
ZIP = ("application/zip", "application/x-zip-compressed", "application/octet-stream")
FILE = {"schema": {"type": "string", "format": "binary"}}
FORM_OF_FILE = {
    "schema": {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "string", "format": "binary"}},
    }
}
BODY = {"requestBody": {"required": True, "content": {ZIP[0]: FILE, FORM: FORM_OF_FILE}}}
INTAKES = anyio.CapacityLimiter(2)  # archives that are unpacked and read at once


@router.get("/v1/datasets", response_model=DatasetPage)
def list_datasets(window: WindowDep, records: RecordsDep) -> dict[str, Any]:
    """Every data set by name, without its issues."""
    return catalog.page(records, window)


@router.get("/v1/datasets/{name}", response_model=Dataset)
def read_dataset(name: str, request: Request, records: RecordsDep) -> Response:
    """A data set: classes, splits, counts, and every broken annotation with what was done about it."""
    found = catalog.get(records, name)
    return not_modified(request, found["etag"]) or _answer(found, 200)


@router.put(
    "/v1/datasets/{name}",
    status_code=201,
    response_model=Dataset,
    responses={200: {"model": Dataset, "description": "The data set was there before."}},
    openapi_extra=BODY,
)
async def put_dataset(
    name: str, request: Request, records: RecordsDep, store: StoreDep, settings: SettingsDep
) -> Response:
    """Create or replace a data set with a zip in a COCO layout.

    Annotation files are found by their content, splits by file and folder names (train, val, test); a single
    split is cut in two. Broken annotations are dropped or mended and listed in `issues`.
    """
    catalog.writable_name(name)
    check = partial(require_match, request)
    await to_thread.run_sync(_check_now, records, name, check)
    async with received(request, settings.data, kinds=ZIP, forms=True) as file:
        folder = file.parent
        prepared = await to_thread.run_sync(prepare, file, folder, settings, limiter=INTAKES)
        kept = await to_thread.run_sync(catalog.put, records, store, name, prepared, check)
        if kept.gone is not None:
            await to_thread.run_sync(opening.forget, kept.gone, settings.datasets_folder)
    return _answer(kept.view, 201 if kept.created else 200)


@router.delete("/v1/datasets/{name}", status_code=204)
def delete_dataset(
    name: str, request: Request, records: RecordsDep, store: StoreDep, settings: SettingsDep
) -> None:
    """Forget a data set; 409 while a job uses it."""
    gone = catalog.delete(records, store, catalog.writable_name(name), partial(require_match, request))
    if gone is not None:
        opening.forget(gone, settings.datasets_folder)


def _check_now(records: Records, name: str, check: catalog.Check) -> None:
    """Before gigabytes are received for nothing; it is checked again when they are kept."""
    check(catalog.version(records, name))


def _answer(found: dict[str, Any], status: int) -> Response:
    headers = {"ETag": entity_tag(found["etag"])}
    if status == 201:
        headers["Location"] = found["links"]["self"]
    return Response(orjson.dumps(found), status, headers, media_type=JSON)
