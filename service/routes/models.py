"""Models: kept as ONNX files in versions, and used on images."""

import time
from typing import Annotated, Any

import anyio
import orjson
from fastapi import APIRouter, Query, Request, Response
from starlette.datastructures import UploadFile
from starlette.responses import FileResponse

from posneg.service import repository
from posneg.service.errors import Fault, InvalidRequest, NotFound, UnsupportedMediaType
from posneg.service.routes.conditional import entity_tag, not_modified, require_match
from posneg.service.routes.dependencies import ServedDep, SettingsDep, WindowDep
from posneg.service.routes.uploads import received
from posneg.service.schemas.models import (
    BINARY,
    COCO_EXAMPLE,
    MODEL_EXAMPLE,
    PREDICT_BODY,
    PREDICTION_EXAMPLE,
    PUT_BODY,
    VERSION_EXAMPLE,
    answered,
)
from posneg.service.schemas.pages import page_of_sorted
from posneg.service.serving import views
from posneg.service.serving.models import Image, ServedModels
from posneg.service.serving.uploads import MAX_IMAGES, counted, from_json
from posneg.service.serving.wishes import Wishes, read_input_size, read_labels
from posneg.service.settings import Settings

router = APIRouter(tags=["models"])
IMAGES = ("image/jpeg", "image/jpg", "image/png", "image/webp")
JSON, FORM, COCO = "application/json", "multipart/form-data", "application/vnd.coco+json"
BUFFER_BYTES = 4 * 2**20

VersionQuery = Annotated[int | None, Query(ge=1, le=10**15, description="Default: the newest that loads.")]
Share = Annotated[float, Query(ge=0, le=1)]
LayoutQuery = Annotated[str | None, Query(description="What the outputs are; else their shapes say it.")]
LabelsQuery = Annotated[list[str] | None, Query(description="Class names, comma-separated or a JSON list.")]
SizeQuery = Annotated[str | None, Query(description="`640`, or height and width: `480,640`.")]


@router.get("/v1/models", responses=answered({"data": [MODEL_EXAMPLE], "has_more": False, "next": None}))
def list_models(window: WindowDep, settings: SettingsDep) -> dict[str, Any]:
    """Every model by name, with its newest version."""
    folder = settings.models_folder

    def show(name: str) -> dict[str, Any]:
        found = repository.read(folder, name)
        known = [repository.read(folder, name, number) for number in repository.versions(folder, name)]
        return views.model(views.version(found, found.details), known)

    return page_of_sorted(repository.names(folder), window, name=lambda name: name, show=show)


@router.get("/v1/models/{name}", responses=answered(MODEL_EXAMPLE))
async def read_model(name: str, request: Request, served: ServedDep, settings: SettingsDep) -> Response:
    """A model: its newest version (labels, inputs, outputs, parity, job, data set), and all versions."""
    return _conditional(request, await _model(name, served, settings))


@router.put(
    "/v1/models/{name}",
    status_code=201,
    responses=answered(VERSION_EXAMPLE, status=201) | answered(VERSION_EXAMPLE),
    openapi_extra=PUT_BODY,
)
async def put_model(
    name: str,
    request: Request,
    response: Response,
    served: ServedDep,
    settings: SettingsDep,
    layout: LayoutQuery = None,
    labels: LabelsQuery = None,
    input_size: SizeQuery = None,
) -> dict[str, Any]:
    """Keep an ONNX file as the next version, once a process apart has tried it; the same bytes stay one."""
    repository.checked_name(name)
    wishes = Wishes(layout=layout, labels=read_labels(labels), input_size=read_input_size(input_size))
    require_match(request, await _current_tag(name, served, settings))
    async with received(request, settings.data) as file:
        published, found = await served.publish(name, file, wishes)
    body = views.version(found, await served.details(found))
    response.status_code = 201 if published.created else 200
    response.headers["Location"] = body["links"]["self"]
    response.headers["ETag"] = entity_tag(views.tag(body))
    return body


@router.delete("/v1/models/{name}", status_code=204)
async def delete_model(name: str, request: Request, served: ServedDep, settings: SettingsDep) -> None:
    """Remove a model with all its versions."""
    require_match(request, await _current_tag(name, served, settings))
    await served.delete(name)


@router.get("/v1/models/{name}/versions/{version}", responses=answered(VERSION_EXAMPLE))
async def read_model_version(
    name: str, version: int, request: Request, served: ServedDep, settings: SettingsDep
) -> Response:
    """One version."""
    found = repository.read(settings.models_folder, name, version)
    return _conditional(request, views.version(found, await served.details(found)))


@router.get(
    "/v1/models/{name}/versions/{version}/files/model.onnx",
    responses={200: {"content": {"application/octet-stream": BINARY}}},
    response_class=FileResponse,
)
def download_model(name: str, version: int, request: Request, settings: SettingsDep) -> Response:
    """The ONNX file; ranges are answered."""
    found = repository.read(settings.models_folder, name, version)
    headers = {"ETag": entity_tag(found.sha256)}
    return not_modified(request, found.sha256) or FileResponse(
        found.file,
        media_type="application/octet-stream",
        filename=f"{name}-{version}.onnx",
        headers=headers,
    )


@router.post(
    "/v1/models/{name}/predict",
    responses={
        200: {"content": {JSON: {"example": PREDICTION_EXAMPLE}, COCO: {"example": COCO_EXAMPLE}}},
    },
    openapi_extra=PREDICT_BODY,
)
async def predict(
    name: str,
    request: Request,
    served: ServedDep,
    version: VersionQuery = None,
    score: Share = 0.25,
    iou: Share = 0.7,
) -> Response:
    """Detections in one image or several, in pixels of the image as it was sent."""
    started = time.perf_counter_ns()
    images = await _images(request)
    answer = await served.predict(name, version, images, score=score, iou=iou)
    if COCO in request.headers.get("accept", ""):
        return Response(orjson.dumps(views.coco_results(answer, images)), media_type=COCO)
    total_ns = time.perf_counter_ns() - started
    return Response(orjson.dumps(views.prediction(answer, images, total_ns=total_ns)), media_type=JSON)


async def _images(request: Request) -> list[Image]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in IMAGES:
        return [Image(await request.body(), "")]
    if kind == JSON:
        return await anyio.to_thread.run_sync(from_json, await request.body())
    if kind == FORM:
        return await _images_of_form(request)
    raise UnsupportedMediaType(
        f"Content-Type {kind[:60]!r} is none of image/jpeg, image/png, image/webp, {FORM}, {JSON}"
    )


async def _images_of_form(request: Request) -> list[Image]:
    """Every file of a form, in its order."""
    read: list[Image] = []
    faults: list[Fault] = []
    async with request.form(max_files=MAX_IMAGES, max_fields=MAX_IMAGES) as form:
        for index, (field, part) in enumerate(form.multi_items()):
            pointer = f"/images/{index}"
            if isinstance(part, UploadFile):
                read.append(Image(await part.read(), pointer, part.filename or field))
            else:
                detail = f"part {field!r} is no file: give it a filename, as curl -F {field}=@image.jpg does"
                faults.append(Fault(pointer, detail, "not_a_file"))
    if faults:
        raise InvalidRequest(faults[0].detail, faults=faults)
    counted(read)
    return read


async def _model(name: str, served: ServedModels, settings: Settings) -> dict[str, Any]:
    newest = repository.read(settings.models_folder, name)
    numbers = repository.versions(settings.models_folder, name)
    known = [repository.read(settings.models_folder, name, number) for number in numbers]
    return views.model(views.version(newest, await served.details(newest)), known)


async def _current_tag(name: str, served: ServedModels, settings: Settings) -> str | None:
    """What `GET /v1/models/{name}` is tagged with; None where there is no such model."""
    try:
        return views.tag(await _model(name, served, settings))
    except NotFound:
        return None


def _conditional(request: Request, body: dict[str, Any]) -> Response:
    tag = views.tag(body)
    return not_modified(request, tag) or Response(
        orjson.dumps(body), media_type=JSON, headers={"ETag": entity_tag(tag)}
    )
