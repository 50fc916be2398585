"""What several tests share: a real server, and a throwaway Postgres."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import settings as hypothesis_settings

hypothesis_settings.register_profile("posneg", deadline=None, derandomize=True)
hypothesis_settings.load_profile("posneg")

START_S = 120
STOP_S = 60
SERVE = [str(Path(sys.executable).with_name("posneg")), "serve"]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device here")


@dataclass
class Server:
    """A service in a process of its own, on a real socket."""

    process: subprocess.Popen[str]
    data: Path
    url: str = ""
    pump: threading.Thread | None = None

    @property
    def log(self) -> str:
        """What it wrote to standard error so far, JSON lines."""
        return (self.data / "server.log").read_text()

    def stop(self) -> int:
        """End it as an operator would; its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(STOP_S)
        finally:
            self.process.kill()  # nothing where it has ended
            self.process.wait()
            assert self.pump is not None
            self.pump.join()


def launch(data: Path, **settings: Any) -> Server:
    """Start the service with `settings` (names of `Settings`) and wait until it answers."""
    told = {"data": data, "port": 0, "worker": False, **settings}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("POSNEG_")}
    environment |= {f"POSNEG_{k.upper()}": str(v) for k, v in told.items()}
    data.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(SERVE, env=environment, stderr=subprocess.PIPE, text=True)
    server = Server(process, data)
    listening = threading.Event()

    def pump() -> None:
        assert process.stderr is not None
        with process.stderr, (data / "server.log").open("a") as log:
            for line in process.stderr:
                log.write(line)
                log.flush()
                if '"listening"' in line:
                    server.url = json.loads(line)["url"]
                    listening.set()
        listening.set()

    server.pump = threading.Thread(target=pump, daemon=True)
    server.pump.start()
    listening.wait(START_S)
    if not server.url:
        process.kill()
        process.wait()
        server.pump.join()
        raise RuntimeError(f"the service did not start:\n{server.log}")
    return server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One service for every test that leaves it as it was; without a worker."""
    running = launch(tmp_path_factory.mktemp("server"))
    yield running
    running.stop()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """A factory of services with settings of their own: `start_server(worker=True, max_body_mib=1)`.

    Each gets its own data folder unless one is given as `data=`.
    """
    with ExitStack() as stack:
        number = count()

        def start(**settings: Any) -> Server:
            data = Path(settings.pop("data", tmp_path / f"server-{next(number)}"))
            running = launch(data, **settings)
            stack.callback(running.stop)
            return running

        yield start


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Path]:
    """A Postgres server of our own, reached by the socket in the folder; skips where there is no Postgres."""
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("no Postgres here: initdb is neither on PATH nor below /usr/lib/postgresql")
    folder = Path(tempfile.mkdtemp(prefix="posneg-postgres-"))  # a socket's path must be short
    user: dict[str, Any] = {}
    if os.getuid() == 0:  # Postgres refuses to run as root
        user = {"user": "nobody"}
        shutil.chown(folder, "nobody")
    data = folder / "data"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "check": True, "cwd": folder, **user}
    initdb = [programs / "initdb", "-D", data, "-U", "posneg", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(initdb, **quiet)
    options = f"-k {folder} -c listen_addresses= -c fsync=off -c max_connections=200"
    control = [programs / "pg_ctl", "-D", data, "-l", folder / "log"]
    subprocess.run([*control, "-w", "-o", options, "start"], **quiet)
    yield folder
    subprocess.run([*control, "-w", "-m", "immediate", "stop"], **quiet)
    shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres_cluster: Path) -> Iterator[str]:
    """The URL of an empty Postgres database of the test's own."""
    name = f"test_{next(_databases)}"
    admin = f"postgresql://posneg@/postgres?host={postgres_cluster}"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield f"postgresql://posneg@/{name}?host={postgres_cluster}"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


_databases = count()


def _postgres_programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`: on PATH, or where Debian hides them; None where there are none."""
    found = shutil.which("pg_ctl")
    hidden = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    return Path(found).resolve().parent if found else hidden[-1].parent if hidden else None
