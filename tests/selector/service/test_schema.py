"""Requests made up from the OpenAPI schema: none makes a server error, and every reply is as the schema says."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

from hypothesis import HealthCheck, Phase, given, settings

EXAMPLES = 6


@pytest.mark.parametrize("with_lm", [False, True], ids=["no-lm", "lm"])
@pytest.mark.parametrize("valid", [True, False], ids=["valid", "invalid"])
def test_no_made_up_request_makes_a_server_error(make_service: Callable[..., Any], valid: bool, with_lm: bool) -> None:
    """Guards against input that nobody thought of: a 500, or a reply of a status or form that the schema lacks."""
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    service = make_service(with_lm=with_lm)
    schema = schemathesis.openapi.from_dict(service.api.openapi())
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    mode = GenerationMode.POSITIVE if valid else GenerationMode.NEGATIVE
    seen: set[int] = set()
    for operation in schema.get_all_operations():
        endpoint = operation.ok()
        if not valid and not (endpoint.body or endpoint.query):
            continue  # there is nothing to get wrong

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=endpoint.as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            case.headers["host"] = "127.0.0.1"
            response = case.call(app=service, base_url="http://127.0.0.1")
            seen.add(response.status_code)
            case.validate_response(response, checks=checks)

        check()
    assert 200 in seen or not valid
    assert 422 in seen
