"""Files that a check reads: JSON as users write it, and YAML of which every element knows its line."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from posneg.service.errors import BadRequest


def read_bytes(file: Path) -> bytes:
    """The file's bytes; raises `BadRequest` that names the file and the reason."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadRequest(f"cannot read {file}: {error.strerror}") from error


def read_json(file: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """The JSON document in `file`; NaN and Infinity are read, since they are data to diagnose."""
    return parse_json(read_bytes(file), str(file))


def parse_json(data: bytes, name: str) -> Any:  # noqa: ANN401 - whatever the bytes hold
    """A JSON document; `name` is what the message calls it."""
    try:
        return json.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except json.JSONDecodeError as error:
        raise BadRequest(
            f"{name} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from error
    except UnicodeDecodeError as error:
        raise BadRequest(f"{name} is not JSON: not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise BadRequest(f"{name} is nested too deeply") from error


def read_yaml(file: Path) -> tuple[Any, dict[str, int]]:
    """The YAML document in `file`, and for the JSON pointer of each of its elements the line it stands on."""
    lines: dict[str, int] = {}
    try:
        loader = _Loader(read_bytes(file))
        node = loader.get_single_node()
        if node is None:
            return None, lines
        _note_lines(node, "", lines)
        return loader.construct_document(node), lines
    except RecursionError as error:
        raise BadRequest(f"{file} is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:
        raise BadRequest(f"{file} is not YAML: {error}") from error


def _note_lines(node: yaml.Node, pointer: str, lines: dict[str, int]) -> None:
    lines.setdefault(pointer, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, element in enumerate(node.value):
            _note_lines(element, f"{pointer}/{index}", lines)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = f"{pointer}/{escape(str(key.value))}"
            lines[below] = key.start_mark.line + 1
            _note_lines(value, below, lines)


def escape(key: str) -> str:
    """One reference token of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but `1e-9` is a number as in YAML 1.2, and a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping; two equal keys would silently drop the first."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    "while reading a mapping", node.start_mark, f"found {key.value!r} twice", key.start_mark
                )
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
