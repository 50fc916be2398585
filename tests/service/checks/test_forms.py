"""JUnit XML of a report."""

from xml.etree import ElementTree

from posneg.service.checks.report import Report, as_junit
from tests.service.checks.runs import prediction, put
from tests.service.checks.test_report import FOUND, LOST, case


def junit(*cases, stale=()):
    """The report, read back."""
    return ElementTree.fromstring(as_junit(Report(cases=cases, stale=stale)))


def test_a_suite_a_case_and_a_test_a_term():
    """The verdict has its own, since a case may move while no term does."""
    root = junit(case(put("terms.box.value", 55.0), LOST), case())

    moved, same = root.findall("testsuite")
    assert [test.get("name") for test in moved] == ["verdict", "box", "classification"]
    assert [test.find("failure") is not None for test in moved] == [True, True, False]
    assert "54 → 55" in moved[1].findtext("failure")
    assert "RANK_OUT_OF_TOPK" in moved[0].findtext("failure")
    assert [suite.get("failures") for suite in (root, moved, same)] == ["2", "2", "0"]
    assert root.get("tests") == "6"


def test_a_flip_alone_fails_the_verdict():
    """No term has moved."""
    (suite,) = junit(case(LOST))

    assert [test.get("name") for test in suite if test.find("failure") is not None] == ["verdict"]


def test_what_was_not_compared_is_an_error():
    """Missing, incompatible and stale baselines, with the reason."""
    root = junit(FOUND[3], FOUND[4], stale=("baselines/old.json",))

    assert [e.get("type") for e in root.iter("error")] == ["inconclusive", "incompatible", "stale"]
    assert root.get("errors") == "3"
    assert next(root.iter("error")).text == "why"


def test_what_xml_cannot_hold_is_replaced():
    """An id with control characters or markup gives a file that can be read."""
    odd = put("images.0.id", "<a>\x00\x1b\ufffe&")

    assert junit(case(prediction(0), odd)).get("failures") == "1"
