"""Every other preset against its upstream: terms, and gradients of the columns sent."""

import pytest

from tests.models import goldens
from tests.service.engine.asking import ask
from tests.service.engine.recipes import FAMILIES


@pytest.mark.parametrize("name", goldens.names(*FAMILIES))
def test_recipe_is_the_upstreams(name: str) -> None:
    """Each term to 1e-5, each gradient to 1e-4."""
    convert = next(function for prefix, function in FAMILIES.items() if name.startswith(prefix))
    for case in convert(goldens.load(name)):
        result = ask(case.request)

        for term, value in case.terms.items():
            assert result["terms"][term]["value"] == pytest.approx(value, rel=1e-5, abs=1e-7), term
        assert set(result["terms"]) == set(case.terms)
        for column, wanted in case.gradients.items():
            for image, expected in zip(result["images"], wanted, strict=True):
                rows = goldens.tensor(expected, len(image["predictions"]), -1)
                scale = float(rows.abs().max()) if rows.numel() else 0.0
                for row, gradient in zip(image["predictions"], rows, strict=True):
                    got = goldens.tensor(row["gradient"][column], -1).tolist()
                    close = pytest.approx(gradient.tolist(), rel=1e-4, abs=1e-4 * scale + 1e-9)
                    assert got == close, f"{column} of {row['index']}"
