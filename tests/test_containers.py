"""The files that containers are made from, and, where there is podman, the containers themselves."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from posneg.service.settings import Settings

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE_FILE = (ROOT / "docker-compose.yml").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
OURS = ("api", "worker", "worker-cpu")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of the compose file, anchors resolved."""
    read: dict[str, Any] = yaml.safe_load(COMPOSE_FILE)["services"]
    return read


def stages() -> dict[str, list[str]]:
    """Each stage of the Dockerfile by name: its instructions after those of the stage that it builds on."""
    found: dict[str, list[str]] = {}
    joined = re.sub(r"\\\n", " ", DOCKERFILE)
    for line in joined.splitlines():
        if match := re.match(r"FROM (\S+) AS (\S+)", line):
            name = match[2]
            found[name] = [*found.get(match[1], [line])]
        elif line and not line.startswith("#"):
            found[name].append(line)
    return found


def last(stage: str, instruction: str) -> str:
    """What an instruction says where it stands last, which is what counts."""
    return [line for line in stages()[stage] if line.startswith(f"{instruction} ")][-1].partition(" ")[2]


@pytest.mark.parametrize("text", [DOCKERFILE, COMPOSE_FILE, EXAMPLE], ids=["Dockerfile", "compose", ".env"])
def test_every_variable_is_a_setting(text: str) -> None:
    """A variable that the service does not know would be set in vain."""
    told = set(re.findall(r"\bPOSNEG_([A-Z_]+)", text))
    assert told <= {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("target", ["api", "worker"])
def test_targets_are_confined_and_take_signals(target: str) -> None:
    """Each target has a fixed user that is not root, and `posneg` itself as its first process."""
    assert last(target, "USER") == "10001:10001"
    assert last(target, "ENTRYPOINT") == '["posneg"]'
    assert last(target, "CMD").startswith('["')


def test_every_service_is_hardened(services: dict[str, Any]) -> None:
    """Read-only roots and no privileges, to begin with or to be had; Postgres keeps what its start needs."""
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges"], name
        assert "privileged" not in service, name
        assert ("cap_add" in service) == (name == "postgres"), name
        assert service.get("user", "") not in ("root", "0"), name


def test_no_secret_has_a_default(services: dict[str, Any]) -> None:
    """Keys and passwords come from outside, and nothing starts without them."""
    secrets = re.findall(r"\$\{(\w*(?:KEY|PASSWORD|SECRET)\w*)(\W*)", COMPOSE_FILE)
    assert {name for name, _ in secrets} == {"POSNEG_API_KEYS", "POSTGRES_PASSWORD"}
    assert {how for _, how in secrets} == {":?"}
    assert re.findall(r"^\w*(?:KEY|PASSWORD)\w*=.+", EXAMPLE, re.MULTILINE) == []
    for name, service in services.items():
        for variable, value in service["environment"].items():
            if re.search("KEY|PASSWORD", variable):
                assert value.startswith("${"), (name, variable)


def test_images_and_targets_belong_together(services: dict[str, Any]) -> None:
    """Each image is built from a target that is there, by arguments that it takes, and named after both."""
    arguments = {
        line.split()[1].partition("=")[0] for line in stages()["dependencies"] if line.startswith("ARG")
    }
    for name in OURS:
        build = services[name]["build"]
        assert build["target"] in stages()
        assert build["args"].keys() == arguments
        assert services[name]["image"] == f"posneg-{build['target']}:{build['args']['DEVICE']}"


def test_workers_differ_by_device_alone(services: dict[str, Any]) -> None:
    """One profile each; what is not about the device is the same."""
    gpu, cpu = services["worker"], services["worker-cpu"]
    about_the_device = {"profiles", "image", "build", "deploy"}
    assert {k: v for k, v in gpu.items() if k not in about_the_device} == {
        k: v for k, v in cpu.items() if k not in about_the_device
    }
    assert (gpu["profiles"], cpu["profiles"]) == (["gpu"], ["cpu"])
    assert (gpu["build"]["args"]["DEVICE"], cpu["build"]["args"]["DEVICE"]) == ("cuda", "cpu")


def test_api_and_workers_share_data_and_database(services: dict[str, Any]) -> None:
    """One volume, one URL: what a worker makes, the api serves."""
    for name in OURS:
        assert services[name]["volumes"] == ["data:/data"]
        assert services[name]["environment"]["POSNEG_DATABASE"] == "postgresql://posneg@postgres/posneg"


def test_what_is_copied_is_not_ignored() -> None:
    """Whatever the Dockerfile takes from the folder is let through by .dockerignore."""
    copied = [
        word
        for instructions in stages().values()
        for line in instructions
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    let_through = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert set(copied) == set(let_through)


@pytest.mark.containers
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_whole_road_in_containers() -> None:
    """The acceptance run: built, asked, trained across the containers, and everything kept over a restart."""
    for variable, default in (
        ("POSNEG_BUILD_COMMAND", "podman build"),
        ("POSNEG_COMPOSE_COMMAND", "podman-compose"),
    ):
        program = shlex.split(os.environ.get(variable, default))[0]
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}; {variable} may name another")
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.acceptance.containers"], cwd=ROOT, capture_output=True, text=True
    )

    assert run.returncode == 0, run.stdout + run.stderr
