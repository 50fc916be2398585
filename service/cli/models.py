"""`posneg predict`: a model on images, served from a file, from the data folder, or by a service."""

import asyncio
import base64
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posneg.service.cli.options import ApiKey, Data, Json, Url
from posneg.service.cli.processes import settings

if TYPE_CHECKING:
    from posneg.service.serving.models import Image, Prediction
    from posneg.service.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(predict)


def predict(
    model: Annotated[str, typer.Argument(help="An ONNX file, or the name of a model in the data folder.")],
    images: Annotated[list[Path], typer.Argument(help="JPEG, PNG or WebP files.")],
    score: Annotated[float, typer.Option(min=0, max=1, help="Lowest score to show.")] = 0.25,
    iou: Annotated[float, typer.Option(min=0, max=1, help="Overlap above which the lower score goes.")] = 0.7,
    version: Annotated[int | None, typer.Option(min=1, help="Of the model; the newest by default.")] = None,
    data: Data = None,
    json: Json = False,
    url: Url = "",
    api_key: ApiKey = "",
) -> None:
    """Detect objects in images; boxes are in pixels of the image as it is."""
    if url:
        found = _remote(url, api_key, model, images, score=score, iou=iou, version=version)
    else:
        found = _local(settings(data=data), model, images, score=score, iou=iou, version=version)
    from posneg.service.cli import tables

    if json:
        tables.print_json(found)
    else:
        tables.print_detections(found)


def _remote(
    url: str, api_key: str, model: str, images: list[Path], **query: float | int | None
) -> dict[str, Any]:
    import orjson

    from posneg.service.checks.documents import read_bytes
    from posneg.service.client import Client

    sent = [{"id": str(file), "data": base64.b64encode(read_bytes(file)).decode()} for file in images]
    chosen = {name: value for name, value in query.items() if value is not None}
    with Client(url, api_key) as client:
        answer: dict[str, Any] = client.post(
            f"/v1/models/{model}/predict", orjson.dumps({"images": sent}), **chosen
        )
    return answer


def _local(
    kept: "Settings", model: str, images: list[Path], *, score: float, iou: float, version: int | None
) -> dict[str, Any]:
    from posneg.service import logs
    from posneg.service.checks.documents import read_bytes
    from posneg.service.serving import views
    from posneg.service.serving.models import Image

    logs.configure("error")  # what goes wrong is told by the command itself
    started = time.perf_counter_ns()
    sent = [Image(read_bytes(file), f"/images/{n}", str(file)) for n, file in enumerate(images)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(model) if model.endswith(".onnx") or Path(model).is_file() else None
        if file is not None:
            read_bytes(file)
            kept = kept.model_copy(update={"data": Path(folder)})
        found = asyncio.run(_predict(kept, model, file, sent, score=score, iou=iou, version=version))
    return views.prediction(found, sent, total_ns=time.perf_counter_ns() - started)


async def _predict(
    kept: "Settings",
    name: str,
    file: Path | None,
    images: "list[Image]",
    *,
    score: float,
    iou: float,
    version: int | None,
) -> "Prediction":
    """The same road that a request takes; a file is first published into a repository of its own."""
    from dataclasses import replace

    from posneg.service.serving.models import ServedModels
    from posneg.service.serving.wishes import Wishes

    served = ServedModels(kept)
    try:
        if file is not None:
            await served.publish("file", file, Wishes())
        found = await served.predict("file" if file else name, version, images, score=score, iou=iou)
        return replace(found, model=name)
    finally:
        await served.close()
