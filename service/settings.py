"""What the service can be told, by `POSNEG_*` environment variables or the options of the same names."""

from functools import cached_property
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Every setting. Units are in the names; a bad value stops the start."""

    model_config = SettingsConfigDict(env_prefix="POSNEG_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    data: Path = Path("posneg-data")
    """Folder of everything that is kept: database, store, model repository, runs."""
    database: str = ""
    """SQLAlchemy URL; empty: SQLite in the data folder. `postgresql://...` for several machines."""
    store: str = ""
    """Where bytes are kept, as an obstore URL; empty: a folder in the data folder."""
    api_keys: SecretStr = SecretStr("")
    """Comma-separated keys that callers send as `Authorization: Bearer <key>`."""
    insecure: bool = False
    """Allow a start without keys on an address that is not loopback."""
    worker: bool = True
    """Start a worker process beside the api."""
    only: str = ""
    """`serving`: models alone, without losses and jobs, and never torch."""
    device: str = "auto"
    """Device of the worker's jobs: `auto`, `cpu`, `cuda:0`, ..."""

    max_body_mib: int = Field(256, ge=1)
    max_upload_mib: int = Field(4096, ge=1)
    max_image_mpx: int = Field(100, ge=1)
    max_dataset_files: int = Field(500_000, ge=1)
    max_dataset_mib: int = Field(16_384, ge=1)
    """Largest size of a data set once unpacked."""
    max_pairs: int = Field(20_000_000, ge=1)
    """Largest number of prediction and ground truth pairs that one request may weigh."""
    max_concurrent_losses: int = Field(4, ge=1)
    session_threads: int = Field(1, ge=1)
    """ONNX Runtime threads within one run."""
    max_batch_size: int = Field(8, ge=1)
    max_batch_delay_ms: float = Field(2.0, ge=0)
    max_queue_size: int = Field(256, ge=1)
    lease_s: float = Field(15.0, gt=0)
    """A worker that has not been heard of for so long is taken for dead, and its jobs go to another."""
    log_level: str = "info"

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
    def runs_folder(self) -> Path:
        """One folder a job: checkpoint, log, events."""
        return self.data / "runs"
