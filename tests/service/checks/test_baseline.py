"""The baseline file: what it keeps, how it is laid out, what it refuses to read."""

import json
from pathlib import Path

import pytest

from posneg.service.checks.baseline import dumps, load
from posneg.service.checks.compare import compare
from posneg.service.checks.config import Tolerances
from posneg.service.errors import BadRequest, BaselineIncompatible
from tests.service.checks.runs import drop, nameless, prediction, put, run
from tests.service.checks.test_compare import TABLE


def test_file_is_one_row_a_line(tmp_path: Path) -> None:
    """Keys are sorted, each row has its own line, the last line ends: git merges and shows it well."""
    text = dumps(run(prediction(1, margin=-1e-6)))

    assert list(json.loads(text)) == sorted(json.loads(text))
    assert '\n["street-1", "A", "GT1", 1.0, 0.16666666666666666, "TOP_K", 0, 0]\n' in text
    assert '\n["street-1", "B", -1e-06, "BELOW_THRESHOLD", 1]\n' in text
    assert '"box": {"negative": 0.0, "normalizer": {"name": "none", "used": 1.0}, "positive": 54.0' in text
    assert text.endswith("\n}\n")


def test_clear_negatives_are_not_kept() -> None:
    """Positives, ignored ones and near misses are: the rest is only counted."""
    ignored = prediction(2, state="ignored", ground_truth=None, nearest="GT2", reason="IGNORED_BY_REGION")

    document = json.loads(dumps(run(ignored)))

    assert [row[1] for row in document["positive"]] == ["A"]
    assert [row[:3] for row in document["ignored"]] == [["street-1", "C", "GT2"]]
    assert document["near"] == []
    assert document["images"] == [["street-1", 2, "id", 3, "id"]]


def test_file_is_the_same_in_whatever_order_images_come() -> None:
    """Rows are sorted by image, numbers before names."""

    def several(*ids: str | int) -> str:
        def edit(document: dict) -> None:
            (image,) = document["images"]
            document["images"] = [image | {"id": identity} for identity in ids]

        return dumps(run(edit))

    assert several(10, 9, "b", "a") == several("a", 9, "b", 10)


@pytest.mark.parametrize("name", [name for name in TABLE if "NaN" not in name and "infinite" not in name])
def test_reading_back_loses_nothing_that_decides(name: str, tmp_path: Path) -> None:
    """A run compared with its own file is the same, and every row of the comparison's table still holds."""
    before, now, tolerance, expected = TABLE[name]
    file = tmp_path / "article.json"
    file.write_text(dumps(run(*before)))

    found = compare(load(file), run(*now), Tolerances.model_validate(tolerance))

    assert (found.moved, found.differs) == expected
    assert dumps(load(file)) == file.read_text()


def test_ids_are_used_where_every_element_has_one() -> None:
    """One prediction without an id, and the image's predictions are told apart by index."""
    document = json.loads(dumps(run(prediction(1, id=None))))

    assert document["images"] == [["street-1", 2, "id", 3, "index"]]
    assert document["positive"][0][1:3] == [0, "GT1"]
    assert json.loads(dumps(run(nameless)))["positive"][0][1:3] == [0, 0]


@pytest.mark.parametrize("text", ['{"format": 2}', '{"name": "x"}', "[]", '{"format": "1"}'])
def test_unknown_format_is_incompatible(text: str, tmp_path: Path) -> None:
    """A format that this version does not write is not guessed at."""
    file = tmp_path / "x.json"
    file.write_text(text)

    with pytest.raises(BaselineIncompatible, match="baseline format"):
        load(file)


def test_damaged_file_is_unreadable(tmp_path: Path) -> None:
    """A half-resolved merge, a missing part, a row with a wrong type: each is named."""
    file = tmp_path / "x.json"
    text = dumps(run())
    for damaged, message in (
        ("<<<<<<< HEAD\n" + text, "is not JSON"),
        (text.replace('"counts"', '"count"'), "/counts"),
        (text.replace('1.0, 0.16666666666666666, "TOP_K"', '"1", 0.1, "TOP_K"'), "/positive/0/3"),
    ):
        file.write_text(damaged)
        with pytest.raises(BadRequest, match=message):
            load(file)


def test_missing_fields_of_a_term_are_null() -> None:
    """A term that the input cannot give has no raw value, and says that it is not available."""
    gone = run(put("terms.box.raw", None), put("terms.box.available", False), drop("terms.box.normalizer"))

    assert '"available": false' in dumps(gone)
