"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]
Url = Annotated[str, typer.Option(help="Ask the service at this URL instead of computing here.")]
ApiKey = Annotated[
    str, typer.Option(envvar="POSNEG_API_KEY", show_envvar=True, help="Key for --url.", show_default=False)
]
Data = Annotated[
    Path | None, typer.Option(help="Folder of everything that is kept [env: POSNEG_DATA; posneg-data].")
]
Database = Annotated[
    str | None, typer.Option(help="SQLAlchemy URL [env: POSNEG_DATABASE; SQLite in the data folder].")
]
Store = Annotated[
    str | None, typer.Option(help="Where bytes are kept [env: POSNEG_STORE; a folder in the data folder].")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda:0, ... [env: POSNEG_DEVICE; auto].")]
