"""The Open Inference Protocol, version 2, with Triton's extensions: what its own clients call."""

import zlib
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Request, Response

from posneg.service.errors import BadRequest, NotSupported, TooLarge, UnsupportedMediaType
from posneg.service.routes.dependencies import ServedDep, SettingsDep
from posneg.service.schemas.models import INFER_BODY, INFERRED_EXAMPLE, OPTIONAL_OBJECT, answered

router = APIRouter(tags=["inference protocol"])
JSON, BINARY = "application/json", "application/octet-stream"
HEADER_LENGTH = "Inference-Header-Content-Length"
EXTENSIONS = (
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "statistics",
)
WINDOWS = {"gzip": 31, "deflate": 15}
"""zlib's numbers for the two wrappers; `deflate` is the zlib one."""
COMPRESSION_LEVEL = 1

Json = dict[str, Any]
Version = Annotated[int, Path(ge=1, le=10**15)]


# Routes are tried in their order, so the one that matters most comes first.
@router.post("/v2/models/{name}/infer", responses=answered(INFERRED_EXAMPLE), openapi_extra=INFER_BODY)
async def infer(name: str, request: Request, served: ServedDep, settings: SettingsDep) -> Response:
    """Tensors in, tensors out: JSON, binary or both."""
    return await _infer(name, None, request, served, settings)


@router.post(
    "/v2/models/{name}/versions/{version}/infer",
    responses=answered(INFERRED_EXAMPLE),
    openapi_extra=INFER_BODY,
)
async def infer_version(
    name: str, version: Version, request: Request, served: ServedDep, settings: SettingsDep
) -> Response:
    """The same with one version."""
    return await _infer(name, version, request, served, settings)


@router.get("/v2")
async def read_server_metadata(request: Request) -> Json:
    """Name, version and extensions of this server."""
    return {"name": "posneg", "version": request.app.version, "extensions": list(EXTENSIONS)}


@router.get("/v2/health/live")
async def read_server_live() -> Json:
    """The process answers."""
    return {"live": True}


@router.get("/v2/health/ready")
async def read_server_ready() -> Json:
    """Requests are taken; each model has a readiness of its own."""
    return {"ready": True}


@router.get("/v2/models/stats")
async def list_statistics(served: ServedDep) -> Json:
    """Counters of every version in the repository."""
    return {"model_stats": served.statistics()}


@router.get("/v2/models/{name}/stats")
async def read_statistics(name: str, served: ServedDep) -> Json:
    """Counters of a model's versions."""
    return {"model_stats": served.statistics(name)}


@router.get("/v2/models/{name}/versions/{version}/stats")
async def read_version_statistics(name: str, version: Version, served: ServedDep) -> Json:
    """Counters of one version."""
    return {"model_stats": served.statistics(name, version)}


@router.get("/v2/models/{name}")
async def read_model_metadata(name: str, served: ServedDep) -> Json:
    """Tensors of the version that answers where none is named."""
    return await served.metadata(name)


@router.get("/v2/models/{name}/versions/{version}")
async def read_version_metadata(name: str, version: Version, served: ServedDep) -> Json:
    """Tensors of one version."""
    return await served.metadata(name, version)


@router.get("/v2/models/{name}/ready")
async def read_model_ready(name: str, served: ServedDep) -> Json:
    """The model is in memory and answers; it is loaded first where it is not."""
    await served.loader.get(name)
    return {"name": name, "ready": True}


@router.get("/v2/models/{name}/versions/{version}/ready")
async def read_version_ready(name: str, version: Version, served: ServedDep) -> Json:
    """The version is in memory and answers; it is loaded first where it is not."""
    await served.loader.get(name, version)
    return {"name": name, "ready": True}


@router.get("/v2/models/{name}/config")
async def read_model_config(name: str, served: ServedDep) -> Json:
    """Triton's ModelConfig of the model."""
    return await served.config(name)


@router.get("/v2/models/{name}/versions/{version}/config")
async def read_version_config(name: str, version: Version, served: ServedDep) -> Json:
    """Triton's ModelConfig of one version."""
    return await served.config(name, version)


async def _infer(
    name: str, version: int | None, request: Request, served: ServedDep, settings: SettingsDep
) -> Response:
    body = _inflated(await request.body(), request, settings.max_body_mib * 2**20)
    answer = await served.infer(name, version, body, request.headers.get(HEADER_LENGTH))
    headers = {} if answer.json_length is None else {HEADER_LENGTH: str(answer.json_length)}
    content, encoding = _deflated(answer.content, request)
    if encoding is not None:
        headers["Content-Encoding"] = encoding
    return Response(content, headers=headers, media_type=JSON if answer.json_length is None else BINARY)


@router.post("/v2/repository/index", openapi_extra=OPTIONAL_OBJECT)
async def list_repository(request: Request, served: ServedDep) -> list[Json]:
    """Every version in the repository and its state; `{"ready": true}` leaves out those that are not."""
    ready = _object(await request.body()).get("ready", False)
    if not isinstance(ready, bool):
        raise BadRequest("'ready' is true or false")
    states = [state for state in served.loader.states() if state.state == "READY" or not ready]
    return [{"name": s.name, "version": str(s.version), "state": s.state, "reason": s.reason} for s in states]


@router.post("/v2/repository/models/{name}/load", openapi_extra=OPTIONAL_OBJECT)
async def load_model(name: str, request: Request, served: ServedDep) -> Response:
    """Load the newest version in the repository; answers once it is ready."""
    if _object(await request.body()).get("parameters"):
        raise NotSupported(
            "a model is loaded as it lies in the repository; PUT /v1/models/{name} takes a file, "
            "and 'config' and 'file:...' are not taken here"
        )
    await served.loader.load(name)
    return Response()


@router.post("/v2/repository/models/{name}/unload", openapi_extra=OPTIONAL_OBJECT)
async def unload_model(name: str, request: Request, served: ServedDep) -> Response:
    """Serve the model no more until it is loaded; requests under way end as they would."""
    _object(await request.body())  # `unload_dependents` has no meaning where models have none
    served.loader.unload(name)
    return Response()


@router.get("/v2/systemsharedmemory/{rest:path}", include_in_schema=False)
@router.get("/v2/cudasharedmemory/{rest:path}", include_in_schema=False, name="read_cuda_shared_memory")
@router.post("/v2/systemsharedmemory/{rest:path}", include_in_schema=False, name="use_shared_memory")
@router.post("/v2/cudasharedmemory/{rest:path}", include_in_schema=False, name="use_cuda_shared_memory")
async def refuse_shared_memory(rest: str) -> Response:
    """Shared memory is not offered."""
    raise NotSupported(f"shared memory is not offered ({rest}); send tensors in the request")


def _object(body: bytes) -> Json:
    """The JSON object of a request that may as well be empty."""
    if not body:
        return {}
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise BadRequest("the body is no JSON object")
    return message


def _inflated(body: bytes, request: Request, limit: int) -> bytes:
    """The body without its `Content-Encoding`, at most `limit` bytes."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        return body
    if encoding not in WINDOWS:
        raise UnsupportedMediaType(f"Content-Encoding {encoding[:60]!r} is neither gzip nor deflate")
    inflater = zlib.decompressobj(wbits=WINDOWS[encoding])
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise BadRequest(f"the body is not {encoding}: {error}") from error
    if len(inflated) > limit:
        raise TooLarge(f"the inflated body is larger than max_body_mib = {limit / 2**20:g} MiB")
    if not inflater.eof:
        raise BadRequest(f"the {encoding} body ends too early")
    return inflated


def _deflated(content: bytes, request: Request) -> tuple[bytes, str | None]:
    """The content as `Accept-Encoding` has it, and the encoding; the first one named that is known."""
    parts = [part.replace(" ", "").lower() for part in request.headers.get("accept-encoding", "").split(",")]
    accepted = [part.partition(";")[0] for part in parts if not part.endswith((";q=0", ";q=0.0"))]
    encoding = next((name for name in accepted if name in WINDOWS), None)
    if encoding is None:
        return content, None
    deflater = zlib.compressobj(COMPRESSION_LEVEL, wbits=WINDOWS[encoding])
    return deflater.compress(content) + deflater.flush(), encoding
