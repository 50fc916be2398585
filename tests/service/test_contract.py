"""The published contract against the service: whatever is sent, what comes back is what was promised."""

from collections.abc import Callable

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from tests.conftest import Server

CHECKS = [not_a_server_error, content_type_conformance, status_code_conformance]


@pytest.mark.slow
def test_no_request_breaks_the_contract(start_server: Callable[..., Server]) -> None:
    """No 500, no undocumented status or media type, for requests that fit the schema and that do not."""
    contract = schemathesis.openapi.from_url(start_server().url + "/openapi.json")
    tested = 0
    for result in contract.get_all_operations():
        attempt(result.ok())
        tested += 1
    assert tested > 40


def attempt(operation: schemathesis.APIOperation) -> None:
    """Send one operation what its schema allows."""

    @settings(max_examples=20, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def send(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    send()
