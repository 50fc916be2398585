"""What the service can be told, by `POSNEG_*` environment variables or the options of the same names."""

from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

UNITS = {"mib": "MiB", "mpx": "megapixels", "ms": "milliseconds", "s": "seconds"}


class Settings(BaseSettings):
    """Every setting. Units are in the names; a bad value stops the start."""

    model_config = SettingsConfigDict(
        env_prefix="POSNEG_", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback needs `api_keys`, or `insecure`."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one, which the log's line `listening` names."""
    data: Path = Path("posneg-data")
    """Folder of everything that is kept: database, store, model repository, runs."""
    database: str = ""
    """SQLAlchemy URL; empty: SQLite in the data folder. `postgresql://...` for several machines."""
    store: str = ""
    """URL of the place for bytes: `s3://`, `gs://`, `az://`, `file:///`; empty: a folder in `data`."""
    api_keys: SecretStr = SecretStr("")
    """Comma-separated keys that callers send as `Authorization: Bearer <key>`."""
    insecure: bool = False
    """Allow a start without keys on an address that is not loopback."""
    worker: bool = True
    """Start a worker process beside the api."""
    only: Literal["", "serving"] = ""
    """`serving`: models alone, without losses and jobs, and never torch."""
    device: str = "auto"
    """Device of the worker's jobs: `auto`, `cpu`, `cuda:0`, ..."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important lines of the log that are written; requests are `info`."""

    max_body_mib: int = Field(256, ge=1)
    """Largest body of a request, before and after it is unpacked; uploads have a limit of their own."""
    max_upload_mib: int = Field(4096, ge=1)
    """Largest body of `PUT /v1/datasets/...` and `PUT /v1/models/...`."""
    max_image_mpx: int = Field(100, ge=1)
    """Largest image, width times height, that is decoded."""
    max_dataset_files: int = Field(500_000, ge=1)
    """Largest number of files in a data set's archive."""
    max_dataset_mib: int = Field(16_384, ge=1)
    """Largest size of a data set once unpacked."""
    max_pairs: int = Field(20_000_000, ge=1)
    """Largest number of prediction and ground truth pairs that one request may weigh."""
    max_concurrent_losses: int = Field(4, ge=1)
    """Requests for a loss or an assignment that are worked on at once; others wait."""
    max_batch_size: int = Field(8, ge=1)
    """Largest number of images that one run of a served model takes."""
    max_batch_delay_ms: float = Field(0.0, ge=0)
    """Longest time that an image waits for others to share its run; at 0 only those that queue anyway do."""
    max_queue_size: int = Field(256, ge=1)
    """Images that may wait for a served model; more are refused with 429."""
    max_run_s: float = Field(60.0, gt=0)
    """Longest time of one run of a served model; it is then stopped."""
    max_loaded_models: int = Field(32, ge=1)
    """Model versions that are kept in memory; the one not used for longest makes room."""
    session_threads: int = Field(1, ge=1)
    """ONNX Runtime threads within one run."""
    lease_s: float = Field(15.0, gt=0)
    """A worker that has not been heard of for so long is taken for dead, and its jobs go to another."""

    @cached_property
    def database_url(self) -> str:
        """The database's URL with its driver named."""
        if not self.database:
            return f"sqlite:///{self.data.resolve() / 'posneg.sqlite'}"
        return self.database.replace("postgres://", "postgresql://").replace(
            "postgresql://", "postgresql+psycopg://"
        )

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The keys that callers may use."""
        return tuple(k.strip() for k in self.api_keys.get_secret_value().split(",") if k.strip())

    @property
    def models_folder(self) -> Path:
        """The model repository, laid out as Triton's."""
        return self.data / "models"

    @property
    def datasets_folder(self) -> Path:
        """Data sets as they were unpacked for use: a cache, which may be deleted while no job runs."""
        return self.data / "datasets"

    @property
    def runs_folder(self) -> Path:
        """One folder a job: checkpoint, log, events."""
        return self.data / "runs"


def unit_of(name: str) -> str:
    """The unit of a setting, which its name ends with; `count` where it is a plain number."""
    return UNITS.get(name.rsplit("_", 1)[-1], "count")
