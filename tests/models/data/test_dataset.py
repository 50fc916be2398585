"""The folder form of a data set."""

from pathlib import Path

import pytest

from posneg.models.data import shapes
from posneg.models.data.dataset import INDEX, read_index


def test_an_index_of_another_format_is_refused(tmp_path: Path) -> None:
    """The message names both formats; nothing is guessed."""
    shapes.generate(tmp_path, images={"val": 1})
    index = tmp_path / INDEX
    index.write_text(index.read_text().replace('"format":1', '"format":2'))

    with pytest.raises(ValueError, match="has format 2; this release reads 1"):
        read_index(tmp_path, name="shapes")
