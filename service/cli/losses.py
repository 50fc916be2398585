"""`posneg assign` and `posneg loss`: one request from a file, explained."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from posneg.service.cli.options import ApiKey, Json, Url
from posneg.service.errors import BadRequest

Answer = Callable[[bytes], dict[str, Any]]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("assign", help="Which ground truth each prediction gets, and why.")(_command(loss=False))
    app.command("loss", help="The loss of a request, term by term, and its assignment.")(_command(loss=True))


def _command(*, loss: bool) -> Callable[..., None]:
    """The command itself: both read the same request."""

    def run(
        file: Annotated[str, typer.Argument(help="A request as JSON; - reads it from stdin.")] = "",
        coco: Annotated[
            tuple[Path, Path] | None,
            typer.Option(help="A COCO ground truth and a results file.", metavar="GROUND_TRUTH RESULTS"),
        ] = None,
        preset: Annotated[str, typer.Option(help="Published recipe, such as yolov8.")] = "",
        assigner: Annotated[str, typer.Option(help="""Overrides as JSON: '{"topk": 9}'.""")] = "",
        terms: Annotated[str, typer.Option("--loss", help="Overrides of the loss terms as JSON.")] = "",
        dtype: Annotated[str, typer.Option(help="float64, float32, float16 or bfloat16.")] = "",
        detail: Annotated[str, typer.Option(help="full, positives or summary.")] = "",
        gradients: Annotated[bool, typer.Option("--gradients", help="Gradients too, with --json.")] = False,
        rows: Annotated[int, typer.Option(min=0, help="Most images and predictions to list.")] = 40,
        json: Json = False,
        url: Url = "",
        api_key: ApiKey = "",
    ) -> None:
        chosen = {"preset": preset, "dtype": dtype, "detail": detail, "gradients": gradients}
        overrides = {name: value for name, value in chosen.items() if value}
        overrides |= {
            n: json_object(n, text) for n, text in (("assigner", assigner), ("loss", terms)) if text
        }
        found = answerer(url, api_key, loss=loss)(_body(file, coco, overrides))
        from posneg.service.cli import tables

        if json:
            tables.print_json(found)
        else:
            tables.print_losses(found, rows=rows)

    return run


def answerer(url: str, api_key: str, *, loss: bool) -> Answer:
    """What turns a body into its answer: the service at `url`, or the same code here."""
    if not url:
        return _local_loss if loss else _local_assignment
    from posneg.service.client import Client

    client = Client(url, api_key)
    return lambda body: client.post("/v1/losses" if loss else "/v1/assignments", body)


def _local_loss(body: bytes) -> dict[str, Any]:
    return _local(body, loss=True)


def _local_assignment(body: bytes) -> dict[str, Any]:
    return _local(body, loss=False)


def _local(body: bytes, *, loss: bool) -> dict[str, Any]:
    from posneg.service.schemas import losses

    request = losses.parse(body)  # first, since bad input must not wait for torch
    from posneg.service import engine

    return engine.answer(request, loss=loss)


def _body(file: str, coco: tuple[Path, Path] | None, overrides: dict[str, Any]) -> bytes:
    from posneg.service.checks import documents, requests

    if (not file) == (coco is None):
        raise BadRequest("give either a request FILE (or -) or --coco GROUND_TRUTH RESULTS")
    if coco:
        return requests.coco_request(*coco, overrides)
    data = sys.stdin.buffer.read() if file == "-" else documents.read_bytes(Path(file))
    name = "stdin" if file == "-" else file
    # Untouched where nothing is laid over it, so that pointers and messages are those of the file.
    return requests.file_request(name, documents.parse_json(data, name), overrides) if overrides else data


def json_object(name: str, text: str) -> dict[str, Any]:
    """An option that holds a JSON object."""
    from posneg.service.checks import documents

    value = documents.parse_json(text.encode(), f"--{name}")
    if not isinstance(value, dict):
        raise BadRequest(f"--{name} takes a JSON object, not {text}")
    return value
