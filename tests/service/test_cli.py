"""The command line: real processes for what only a process shows, the rest in this one."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from posneg.service import engine
from posneg.service.cli import processes, program
from posneg.service.errors import Fault, InvalidRequest
from posneg.service.schemas import losses
from posneg.service.settings import Settings
from tests.conftest import Server
from tests.service import onnx_models

ARTICLE: dict[str, Any] = {
    "images": [
        {
            "id": "street-1",
            "size": [480, 640],
            "ground_truth": [
                {"id": "GT1", "label": "car", "box": [100, 50, 210, 150]},
                {"id": "GT2", "label": "person", "box": [300, 50, 370, 250]},
            ],
            "predictions": [
                {"id": "A", "box": [127.5, 50, 237.5, 150], "label": "car", "score": 0.9},
                {"id": "B", "box": [330, 50, 400, 250], "label": "person", "score": 0.3},
                {"id": "C", "box": [10, 50, 120, 150], "scores": {"car": 0.2, "person": 0.0}},
            ],
        }
    ],
    "classes": ["car", "person"],
    "preset": "textbook",
}
PROGRAM = Path(sys.executable).with_name("posneg")
COMMANDS = sorted(typer.main.get_command(program.app).commands)  # type: ignore[attr-defined]


def process(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """The program as a user runs it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POSNEG_")}
    return subprocess.run(
        [PROGRAM, *arguments],
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def run(*arguments: str | Path, **options: Any) -> Result:
    """The same in this process, which has torch already."""
    return CliRunner().invoke(program.app, [str(argument) for argument in arguments], **options)


@pytest.fixture
def article(tmp_path: Path) -> Path:
    """The article's example as a file."""
    file = tmp_path / "article.json"
    file.write_text(json.dumps(ARTICLE))
    return file


def answered(**changes: Any) -> dict[str, Any]:
    """The engine's answer to the article's example."""
    return engine.answer(losses.parse(json.dumps(ARTICLE | changes).encode()), loss=True)


def test_json_is_the_answer_of_the_api_byte_for_byte(article: Path, server: Server) -> None:
    """A process computes what the service answers, and `--url` prints just that."""
    own = process("loss", article, "--json")
    asked = process("loss", article, "--json", "--url", server.url)

    assert (own.returncode, asked.returncode) == (0, 0), own.stderr + asked.stderr
    assert own.stdout == asked.stdout
    assert own.stdout.encode() == orjson.dumps(answered()) + b"\n"
    assert own.stderr == ""


def test_check_by_a_service_is_the_same_check(article: Path, server: Server) -> None:
    """Recorded here, checked there: exit code 0, and 1 once a box has moved."""
    config = article.with_name("posneg.yaml")
    config.write_text("cases: [{name: article, request: article.json}]")
    assert run("record", "--config", config).exit_code == 0

    same = process("check", "--config", config, "--url", server.url)
    article.write_text(article.read_text().replace("127.5", "126.5"))
    moved = process("check", "--config", config, "--url", server.url)

    assert (same.returncode, moved.returncode) == (0, 1), same.stderr + moved.stderr
    assert "inputs changed: predictions" in moved.stdout


def test_flips_are_told_on_stdout(article: Path) -> None:
    """Whatever reports are written: prediction, both sides, reason."""
    folder = article.parent
    config = article.with_name("posneg.yaml")
    config.write_text("cases: [{name: article, request: article.json}]")
    run("record", "--config", config)
    article.write_text(article.read_text().replace("127.5", "160.5").replace("237.5", "270.5"))

    result = run("check", "--config", config, "--report", "md,json", "--output", folder / "reports")

    assert result.exit_code == 1
    assert "flip: image 'street-1', prediction 'A': positive" in result.stdout
    assert "BELOW_THRESHOLD" in result.stdout
    assert "BELOW_THRESHOLD" in (folder / "reports" / "posneg-check.md").read_text()
    assert json.loads((folder / "reports" / "posneg-check.json").read_text())["verdict"] == "moved"


@pytest.mark.parametrize(
    ("yaml", "options", "code"),
    [
        ("cases: [{name: article, request: article.json}]", [], 3),
        ("cases: []", [], 6),
        ("cases: [{name: article, requests: article.json}]", [], 2),
        ("cases: []", ["--report", "pdf"], 2),
        ("cases: [{name: article, request: article.json}]", ["--url", "http://127.0.0.1:9"], 5),
    ],
)
def test_exit_codes_of_check(yaml: str, options: list[str], code: int, article: Path) -> None:
    """A missing baseline, no cases, a misspelt key, an unknown report, nobody at the URL."""
    config = article.with_name("posneg.yaml")
    config.write_text(yaml)

    assert run("check", "--config", config, *options).exit_code == code


def test_check_as_json(article: Path) -> None:
    """One JSON document on stdout, and nothing else."""
    config = article.with_name("posneg.yaml")
    config.write_text("cases: [{name: article, request: article.json}]")
    run("record", "--config", config)

    result = run("check", "--config", config, "--json")

    assert (result.exit_code, json.loads(result.stdout)["verdict"]) == (0, "same")


def test_bad_input_is_told_with_pointers(article: Path) -> None:
    """Exit code 2, each bad element on stderr, and an empty stdout."""
    article.write_text(article.read_text().replace('"car"', '"cart"', 1).replace("0.3", '"x"'))

    result = process("loss", article, "--json")

    assert (result.returncode, result.stdout) == (2, "")
    assert "  /images/0/ground_truth/0/label: 'cart'" in result.stderr
    assert "  /images/0/predictions/1/score: 'x'" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a request FILE"),
        (["-", "--coco", "a.json", "b.json"], "give either a request FILE"),
        (["missing.json"], "cannot read missing.json: No such file or directory"),
        (["-"], "not JSON"),
        (["-", "--assigner", "[]"], "--assigner takes a JSON object"),
        (["-", "--assigner", "{"], "--assigner is not JSON"),
        (["--coco", "a.json", "b.json"], "cannot read a.json"),
        (["-", "--url", "localhost:1"], "is no URL"),
    ],
)
def test_usage_is_told(arguments: list[str], message: str) -> None:
    """What was wrong with the call, in one line."""
    result = run("loss", *arguments, input="{")

    assert result.exit_code == 2
    assert message in result.stderr


def test_options_are_laid_over_the_request(article: Path) -> None:
    """Recipe, dtype and detail from the command line, field by field."""
    options = ["--assigner", '{"topk": 1}', "--loss", '{"box": {"weight": 2}}', "--detail", "summary"]

    result = run("loss", article, *options, "--dtype", "float32", "--json")

    assert json.loads(result.stdout) == answered(
        assigner={"topk": 1}, loss={"box": {"weight": 2}}, detail="summary", dtype="float32"
    )


def test_coco_pair(tmp_path: Path) -> None:
    """Two files as COCO tools write them, NaN included, give what the API answers to the pair."""
    truth = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": 10, "width": 10}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 4], "iscrowd": 0}],
    }
    found = [
        {"image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 5], "score": 0.5},
        {"image_id": 1, "category_id": 3, "bbox": [float("nan"), 1, 4, 5], "score": 0.5},
    ]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(found))
    body = {"coco": {"ground_truth": truth, "predictions": found}, "preset": "yolov8"}

    options = ["--coco", tmp_path / "truth.json", tmp_path / "found.json", "--preset", "yolov8", "--json"]
    result = run("loss", *options)

    expected = engine.answer(losses.parse(json.dumps(body).encode()), loss=True)
    assert json.loads(result.stdout) == json.loads(orjson.dumps(expected))
    assert json.loads(result.stdout)["verdict"] == "nonfinite"


@pytest.mark.parametrize("command", ["loss", "assign"])
def test_table_tells_what_was_found(command: str, article: Path) -> None:
    """Terms where a loss was asked for; images, states, reasons and margins always."""
    result = run(command, "-", input=article.read_text())

    assert result.exit_code == 0
    assert ("54.685179" in result.stdout) == (command == "loss")
    assert re.search(r"A +│ positive │ GT1 +│ TOP_K +│ 0\.6 │ 0\.166666667", result.stdout)
    assert re.search(r"C +│ negative │ - +│ BELOW_THRESHOLD", result.stdout)


def test_ids_are_shown_as_they_are(article: Path) -> None:
    """Neither markup nor an emoji's name in an id is anything but text."""
    article.write_text(article.read_text().replace('"A"', '"[bold]A[/red]:smile:"'))

    result = run("loss", article)

    assert result.exit_code == 0
    assert "[bold]A[/red]:smile:" in result.stdout


def test_long_tables_say_what_they_leave_out(article: Path) -> None:
    """`--rows` bounds the list, and the title counts."""
    result = run("loss", article, "--rows", "2")

    assert "Predictions (the first 2 of 3" in result.stdout
    assert "C  " not in result.stdout


def test_help_imports_nothing_heavy() -> None:
    """So that it answers at once: neither torch nor numpy, pydantic, FastAPI, httpx or SQLAlchemy."""
    heavy = ("torch", "numpy", "pydantic", "fastapi", "httpx", "sqlalchemy", "onnxruntime", "PIL", "yaml")
    code = f"import sys, posneg.service.cli; print([m for m in {heavy} if m in sys.modules])"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    """`--help` works and each option says what it does."""
    result = run(command, "--help", env={"COLUMNS": "200"})

    assert result.exit_code == 0
    for line in result.stdout.splitlines():
        assert not re.fullmatch(r"│\s+--[\w-]+\s+(<\w+>)?\s+│", line), line


def test_version() -> None:
    """The distribution's own."""
    from importlib.metadata import version

    assert run("--version").stdout == f"posneg {version('posneg')}\n"


@pytest.mark.parametrize("command", [processes.serve, processes.worker])
def test_options_of_processes_are_settings(command: Any) -> None:
    """Each is named as its environment variable, and unset ones leave the environment alone."""
    options = inspect.signature(command).parameters

    assert set(options) <= set(Settings.model_fields)
    assert all(option.default is None for option in options.values())


def test_options_override_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option, else its variable, else the default; a bad value names where it came from."""
    monkeypatch.setenv("POSNEG_PORT", "1234")
    monkeypatch.setenv("POSNEG_HOST", "127.0.0.2")
    chosen = processes.settings(port=4321, host=None)
    assert (chosen.port, chosen.host) == (4321, "127.0.0.2")

    monkeypatch.setenv("POSNEG_LEASE_S", "-1")
    with pytest.raises(InvalidRequest) as caught:
        processes.settings(port=99999)
    assert {fault.pointer for fault in caught.value.faults} == {"--port", "POSNEG_LEASE_S"}


def test_faults_beyond_a_screen_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Twenty are told, the rest are counted, those included that nobody kept."""
    faults = [Fault(f"/images/{n}", "bad", "bad") for n in range(30)]

    program.tell(InvalidRequest("all bad", faults=faults, faults_total=50))

    told = capsys.readouterr().err.splitlines()
    assert (len(told), told[0], told[-1]) == (22, "error: all bad", "  and 30 more")


def test_closed_pipe_is_not_a_move(tmp_path: Path) -> None:
    """A reader that left early ends the program as a closed pipe ends any, never with 1."""
    (tmp_path / "posneg.yaml").write_text("cases: []")
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        command = [PROGRAM, "check", "--config", tmp_path / "posneg.yaml"]
        result = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)

    assert (result.returncode, result.stderr) == (141, "")


def test_crash_is_not_a_move() -> None:
    """A mistake of ours exits with 70 and its traceback, since 1 means that a loss moved."""
    code = "import sys; sys.modules['posneg.service.checks'] = None; import posneg.service.cli as c; c.main()"

    result = subprocess.run(
        [sys.executable, "-c", code, "check"], capture_output=True, text=True, check=False
    )

    assert result.returncode == 70
    assert "Traceback" in result.stderr


def test_service_stops_when_interrupted(tmp_path: Path) -> None:
    """`posneg serve` announces where it listens, and Ctrl-C ends it in order."""
    command = [PROGRAM, "serve", "--port", "0", "--data", tmp_path, "--no-worker"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as serving:
        assert serving.stderr is not None
        for line in serving.stderr:
            if '"event":"listening"' in line.replace(" ", ""):
                serving.send_signal(signal.SIGINT)
        assert serving.wait(30) == 0


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """A white picture and a black one, in which the test's detector finds nothing."""
    files = [tmp_path / "white.png", tmp_path / "black.jpg"]
    for file, color in zip(files, ("white", "black"), strict=True):
        Image.new("RGB", (200, 100), color).save(file)
    return files


def test_predict_with_a_file(tmp_path: Path, pictures: list[Path]) -> None:
    """Detections by image in a table and, with `--json`, as the API answers them."""
    model = onnx_models.detector(tmp_path / "model.onnx")

    table = process("predict", model, *pictures)
    answer = json.loads(process("predict", model, *pictures, "--json").stdout)

    assert table.returncode == 0, table.stderr
    assert "nothing found in 1 of 2 images" in table.stdout
    assert answer["model"] == str(model)
    assert [(image["id"], image["size"]) for image in answer["images"]] == [
        (str(p), [100, 200]) for p in pictures
    ]
    assert [len(image["detections"]) for image in answer["images"]] == [4, 0]


def test_predict_by_a_service(server: Server, tmp_path: Path, pictures: list[Path]) -> None:
    """The same detections from a model that a service keeps."""
    import httpx

    model = onnx_models.detector(tmp_path / "model.onnx")
    httpx.put(f"{server.url}/v1/models/cli-test", content=model.read_bytes()).raise_for_status()

    here = json.loads(process("predict", model, *pictures, "--json").stdout)
    there = json.loads(process("predict", "cli-test", *pictures, "--json", "--url", server.url).stdout)

    assert there["images"] == here["images"]
    assert (there["model"], there["version"]) == ("cli-test", 1)


@pytest.mark.parametrize("model", ["missing", "missing.onnx", "white.png"])
def test_predict_without_a_model(model: str, tmp_path: Path, pictures: list[Path]) -> None:
    """A name or a file that is no model is told, with exit code 2."""
    name = tmp_path / model if "." in model else model

    result = process("predict", name, pictures[0], "--data", tmp_path)

    assert result.returncode == 2
    assert "missing" in result.stderr or "not an ONNX file" in result.stderr


def test_predict_names_the_image_that_is_none(tmp_path: Path, pictures: list[Path]) -> None:
    """One bad file of several is named."""
    broken = tmp_path / "broken.png"
    broken.write_bytes(pictures[0].read_bytes()[:50])

    result = process("predict", onnx_models.detector(tmp_path / "model.onnx"), pictures[0], broken)

    assert result.returncode == 2
    assert f"{broken}: " in result.stderr
