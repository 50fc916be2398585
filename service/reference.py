"""The pages of the documentation that are written from the code: problem types and settings."""

from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from posneg.service.errors import kinds
from posneg.service.settings import Settings, unit_of

HEAD = "<!-- written by `make catalog` from the code; a test compares -->\n"
PROBLEMS = """# Problems

Every failure outside `/v2` is an RFC 9457 problem, `application/problem+json`: `type`, `title`, `status`,
`detail`, `code`, `request_id` and, where elements of the request are bad, `errors` with a JSON pointer to
each. The service answers `GET /problems/<code>` with what stands here. Below `/v2` the body is
`{"error": text}`, as clients of the Open Inference Protocol expect.
"""
SETTINGS = """# Settings

Each is an environment variable; `posneg serve` and `posneg worker` take the commonest as options of the same
name. A value that does not fit stops the start. Limits in force are also at `GET /v1/limits`.

| variable | default | unit | what it does |
|---|---|---|---|
"""


def problems_page() -> str:
    """Every problem type with its status and meaning, as Markdown."""
    sections = [
        f"\n## `{kind.code}`\n\n{kind.status} {kind.title}. {kind.meaning}\n" for kind in kinds().values()
    ]
    return HEAD + PROBLEMS + "".join(sections)


def settings_page() -> str:
    """Every setting with its variable, default and meaning, as Markdown."""
    rows = [
        f"| `POSNEG_{name.upper()}` | {_default(field)} | {_unit(name, field)} | {field.description} |\n"
        for name, field in Settings.model_fields.items()
    ]
    return HEAD + SETTINGS + "".join(rows)


def write(folder: Path) -> None:
    """Write both pages into `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / "problems.md").write_text(problems_page())
    (folder / "settings.md").write_text(settings_page())


def _default(field: FieldInfo) -> str:
    value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    if isinstance(value, bool):
        value = str(value).lower()
    return f"`{value}`" if value != "" else ""


def _unit(name: str, field: FieldInfo) -> str:
    return unit_of(name) if field.annotation in (int, float) and name != "port" else ""


if __name__ == "__main__":
    write(Path("docs"))
