"""The model repository: a folder laid out as Triton's, so that Triton can be pointed at it.

    <models>/<name>/config.pbtxt, labels.txt
    <models>/<name>/<version>/model.onnx, posneg.json

The folder is the truth; there is no table beside it. A version appears whole, by one rename, and its file
never changes. Files that others put there are left alone.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posneg.service.errors import InvalidRequest, NotFound
from posneg.service.model_config import config_text, tensors_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MODEL_FILE = "model.onnx"
DETAILS_FILE = "posneg.json"
CONFIG_FILE = "config.pbtxt"
LABELS_FILE = "labels.txt"
NEXT_FILE = ".next-version"  # so that the number of a version removed by hand is not given again
INCOMING = ".incoming-"
UPLOAD, DELETED = ".upload-", ".deleted-"  # folders beside the repository, on the same disk
LEFT_S = 86400.0


@dataclass(frozen=True, slots=True)
class Published:
    """Where a file ended up; `created` is false where the same bytes were there already."""

    version: int
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One version as it lies in the folder. `details` is empty for one that others put there."""

    name: str
    version: int
    folder: Path
    details: Mapping[str, Any]

    @property
    def file(self) -> Path:
        """The ONNX file."""
        return self.folder / MODEL_FILE

    @property
    def sha256(self) -> str:
        """Of the ONNX file."""
        return str(self.details.get("sha256") or _sha256(self.file))


def publish(models_folder: Path, name: str, file: Path, *, details: Mapping[str, Any]) -> Published:
    """Copy `file` in as the next version of `name`; the same bytes keep the version that they have.

    `details` is kept beside it: labels, layout, input_size (height, width), parity, job, dataset, metrics,
    inputs and outputs (`{"name", "datatype", "shape"}`, -1 where free; read from the file if not given).
    """
    checked_name(name)
    sha256 = _sha256(file)
    model = models_folder / name
    with _locked(models_folder):
        for version in versions(models_folder, name):
            if read(models_folder, name, version).sha256 == sha256:
                return Published(version, created=False)
        version = _next_version(model)
        kept = _complete(details, file, name=name, version=version, sha256=sha256)
        incoming = _incoming(model)
        shutil.copyfile(file, incoming / MODEL_FILE)
        _write(incoming / DETAILS_FILE, _json(kept))
        _write_config(model, kept)
        _write(model / NEXT_FILE, f"{version + 1}\n")
        os.rename(incoming, model / str(version))
    return Published(version, created=True)


def checked_name(name: str) -> str:
    """The name, or `InvalidRequest` where it could not be a folder and a part of an address."""
    if not NAME.fullmatch(name):
        raise InvalidRequest.at(
            "",
            f"{name!r} is no model name: 1 to 128 letters, digits, '.', '_', '-', beginning with one of the "
            "former two",
            "invalid_name",
        )
    return name


def names(models_folder: Path) -> list[str]:
    """Every model with at least one version, sorted."""
    try:
        entries = sorted(entry.name for entry in os.scandir(models_folder) if entry.is_dir())
    except FileNotFoundError:
        return []
    return [name for name in entries if NAME.fullmatch(name) and versions(models_folder, name)]


def versions(models_folder: Path, name: str) -> list[int]:
    """The versions of a model, rising; none where there is no such model."""
    if not NAME.fullmatch(name):
        return []
    try:
        entries = [entry.name for entry in os.scandir(models_folder / name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    numbers = [int(entry) for entry in entries if re.fullmatch(r"[1-9][0-9]{0,17}", entry)]
    return sorted(n for n in numbers if (models_folder / name / str(n) / MODEL_FILE).is_file())


def read(models_folder: Path, name: str, version: int | None = None) -> ModelVersion:
    """One version, the highest where none is named; raises `NotFound`."""
    known = versions(models_folder, name)
    if not known:
        raise NotFound(f"there is no model {name!r}; GET /v1/models lists them")
    wanted = known[-1] if version is None else version
    if wanted not in known:
        raise NotFound(f"model {name!r} has no version {wanted}; it has {', '.join(map(str, known))}")
    folder = models_folder / name / str(wanted)
    return ModelVersion(name=name, version=wanted, folder=folder, details=_details(folder))


def stamp(models_folder: Path, name: str, version: int) -> tuple[int, int]:
    """What changes when a version's file or details do: cheap enough to look at on every request."""
    folder = f"{models_folder}/{name}/{version}/"
    return _modified(folder + MODEL_FILE), _modified(folder + DETAILS_FILE)


def _modified(file: str) -> int:
    try:
        return os.stat(file).st_mtime_ns
    except FileNotFoundError:
        return 0


def amend(models_folder: Path, name: str, version: int, changes: Mapping[str, Any]) -> ModelVersion:
    """Change some details of a version, as when its owner names the labels later; the file stays as it is."""
    with _locked(models_folder):
        found = read(models_folder, name, version)
        details = {**found.details, **changes}
        _write(found.folder / DETAILS_FILE, _json(details))
        if version == versions(models_folder, name)[-1]:
            _write_config(models_folder / name, details)
    return read(models_folder, name, version)


def delete(models_folder: Path, name: str) -> None:
    """Remove a model with all its versions; raises `NotFound`. A later one of that name begins at 1."""
    with _locked(models_folder):
        read(models_folder, name)
        with tempfile.TemporaryDirectory(dir=models_folder.parent, prefix=DELETED) as bin_folder:
            os.rename(models_folder / name, Path(bin_folder) / name)


def sweep(folder: Path) -> None:
    """Remove what a process that died left beside the models: uploads and deletions older than a day."""
    for pattern in (f"{UPLOAD}*", f"{DELETED}*"):
        for left in folder.glob(pattern):
            if time.time() - left.stat().st_mtime > LEFT_S:
                shutil.rmtree(left, ignore_errors=True)  # another process may be sweeping too


def _details(folder: Path) -> dict[str, Any]:
    """What is kept beside a version; nothing where it is missing or not ours."""
    try:
        details = json.loads((folder / DETAILS_FILE).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return details if isinstance(details, dict) else {}


def _complete(
    details: Mapping[str, Any], file: Path, *, name: str, version: int, sha256: str
) -> dict[str, Any]:
    inputs, outputs = details.get("inputs"), details.get("outputs")
    if inputs is None or outputs is None:
        inputs, outputs = tensors_of(file)
    empty = {"labels": None, "layout": None, "input_size": None, "parity": None, "job": None, "dataset": None}
    given = {**empty, "metrics": None, **details, "inputs": inputs, "outputs": outputs}
    own = {"format": 1, "name": name, "version": version, "sha256": sha256}
    return {**given, **own, "size_bytes": file.stat().st_size, "created_at": time.time()}


def _write_config(model: Path, details: Mapping[str, Any]) -> None:
    """What Triton reads beside the versions; it describes the newest, which is the one that Triton serves."""
    labels = details["labels"] or ()
    _write(model / LABELS_FILE, "".join(f"{' '.join(label.split())}\n" for label in labels))
    _write(model / CONFIG_FILE, config_text(details))


def _json(details: Mapping[str, Any]) -> str:
    return json.dumps(details, ensure_ascii=False, indent=1) + "\n"


def _next_version(model: Path) -> int:
    """One above every version that the model has or had."""
    taken = versions(model.parent, model.name)
    try:
        reserved = int((model / NEXT_FILE).read_text())
    except (FileNotFoundError, ValueError):
        reserved = 1
    following = max(reserved, taken[-1] + 1 if taken else 1)
    while (model / str(following)).exists():  # a foreign folder without a model in it
        following += 1
    return following


def _incoming(model: Path) -> Path:
    """A fresh folder beside the versions; what a publisher that died has left is cleared away."""
    model.mkdir(parents=True, exist_ok=True)
    for left in model.glob(f"{INCOMING}*"):
        shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(dir=model, prefix=INCOMING))
    folder.chmod(0o755)  # mkdtemp's 0700 would lock out a Triton that runs as another user
    return folder


def _write(file: Path, text: str) -> None:
    """Replace a file's text at once, for whoever reads at the same time."""
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, file)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _locked(models_folder: Path) -> Iterator[None]:
    """Only one publisher or deleter at a time, in any process; the lock dies with its holder."""
    models_folder.mkdir(parents=True, exist_ok=True)
    with (models_folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
