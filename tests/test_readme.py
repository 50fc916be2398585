"""What the README shows is what the service answers."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from posneg.service.engine import answer
from posneg.service.schemas.losses import parse

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def shown_in(whole: Any, part: Any, path: str = "") -> None:
    """Every value of the shortened answer stands in the whole one, at its place."""
    if isinstance(part, dict):
        for key, value in part.items():
            shown_in(whole[key], value, f"{path}/{key}")
    elif isinstance(part, list):
        for index, value in enumerate(part):
            shown_in(whole[index], value, f"{path}/{index}")
    elif isinstance(part, float):
        assert whole == pytest.approx(part, rel=1e-12), path
    else:
        assert whole == part, path


def test_the_example_is_answered_as_shown() -> None:
    """The request in the curl command gives the figures of the answer below it."""
    request = re.search(r"/v1/losses .*? -d '(.*?)'\n", README, re.DOTALL)
    shown = re.search(r"```json\n(.*?)```", README, re.DOTALL)
    assert request is not None
    assert shown is not None

    shown_in(answer(parse(request[1].encode()), loss=True), json.loads(shown[1]))


def test_pages_that_are_linked_exist() -> None:
    """No link of the README leads nowhere."""
    links = re.findall(r"\]\(([^)#:]+)\)", README)

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
