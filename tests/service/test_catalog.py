"""The catalog of what can be chosen."""

from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from posneg.models.assigners import assigner
from posneg.models.losses import losses
from posneg.models.presets import preset, resolve
from posneg.models.registry import check
from posneg.service.catalog import catalog, collected
from tests.conftest import Server

ROUTES = {"/v1/assigners": assigner, "/v1/loss-functions": losses, "/v1/presets": preset}


def test_the_file_is_what_the_code_says() -> None:
    """`make catalog` was run after the last change of an option, a default or a docstring."""
    import json

    assert catalog() == json.loads(json.dumps(collected())), "run `make catalog`"


@pytest.mark.parametrize("path", ROUTES)
def test_every_name_is_listed_with_its_source(server: Server, path: str) -> None:
    """Each registry's names, in order, with text and default values."""
    listed = httpx.get(server.url + path, params={"limit": 1000}).json()
    assert [item["name"] for item in listed["data"]] == list(ROUTES[path])
    assert (listed["has_more"], listed["next"]) == (False, None)
    assert all(item["summary"] and item["description"] and item["source"] for item in listed["data"])


def test_the_list_has_pages(server: Server) -> None:
    """One at a time, each once."""
    names, after = [], None
    while True:
        params = {"limit": 1} | ({"after": after} if after else {})
        listed = httpx.get(f"{server.url}/v1/presets", params=params).json()
        names += [item["name"] for item in listed["data"]]
        after = listed["next"]
        if not listed["has_more"]:
            break
    assert names == list(preset)


@pytest.mark.parametrize("kind", ["assigners", "loss_functions"])
def test_defaults_fit_their_schema(kind: str) -> None:
    """What is published as a default is an option that is taken."""
    registry: Any = {"assigners": assigner, "loss_functions": losses}[kind]
    for item in catalog()[kind]:
        assert list(item["parameters"]["properties"]) == list(item["defaults"])
        assert list(check(registry[item["name"]], item["defaults"])) == []
        TypeAdapter(dict[str, Any]).validate_python(item["parameters"])


@pytest.mark.parametrize("name", list(preset))
def test_a_preset_can_be_sent_as_it_is_listed(name: str) -> None:
    """Its spelled-out form resolves to the preset itself."""
    listed = next(item for item in catalog()["presets"] if item["name"] == name)
    assert resolve(name, assigner=listed["assigner"], loss=listed["loss"]) == resolve(name)
