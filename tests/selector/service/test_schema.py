"""Requests made up from the OpenAPI schema: none makes a server error, and every reply is as the schema says."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

from hypothesis import HealthCheck, Phase, given, settings

BASE = "http://127.0.0.1"


def statuses_of_made_up_requests(
    service: Any, *, valid: bool, examples: int, token: str = "", checks: Sequence[Any] = ()
) -> set[int]:
    """Sends requests to every path and checks the replies."""
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    schema = schemathesis.openapi.from_dict(service.api.openapi())
    schema.app = service
    every = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    every += checks
    mode = GenerationMode.POSITIVE if valid else GenerationMode.NEGATIVE
    headers = {"host": "127.0.0.1"} | ({"authorization": f"Bearer {token}"} if token else {})
    seen: set[int] = set()
    for operation in schema.get_all_operations():
        endpoint = operation.ok()
        if not valid and not (endpoint.body or endpoint.query):
            continue  # there is nothing to get wrong

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=endpoint.as_strategy(generation_mode=mode))
        def check(case: Any) -> None:
            case.headers["host"] = "127.0.0.1"
            response = case.call(base_url=BASE, headers=headers)
            seen.add(response.status_code)
            case.validate_response(response, checks=every, headers=headers, transport_kwargs={"base_url": BASE})

        check()
    return seen


@pytest.mark.parametrize("with_lm", [False, True], ids=["no-lm", "lm"])
@pytest.mark.parametrize("valid", [True, False], ids=["valid", "invalid"])
def test_no_made_up_request_makes_a_server_error(make_service: Callable[..., Any], valid: bool, with_lm: bool) -> None:
    """Guards against input that nobody thought of: a 500, or a reply of a status or form that the schema lacks."""
    seen = statuses_of_made_up_requests(make_service(with_lm=with_lm), valid=valid, examples=6)
    assert 200 in seen or not valid
    assert 422 in seen


def test_what_the_schema_says_of_the_token_is_true(make_service: Callable[..., Any]) -> None:
    """Guards against a path that says that it asks for the token and does not, and one that keeps silent about it."""
    from schemathesis.specs.openapi.checks import ignored_auth

    service = make_service(with_lm=False, token="correct-horse-battery")
    options = {"valid": True, "examples": 2}
    right = statuses_of_made_up_requests(service, **options, token="correct-horse-battery", checks=[ignored_auth])
    assert 200 in right
    assert 401 not in right
    assert statuses_of_made_up_requests(service, **options, checks=[ignored_auth]) >= {200, 401}
    schema = service.api.openapi()
    assert schema["security"] == [{"token": []}]
    silent = {path for path, own in schema["paths"].items() for one in own.values() if one.get("security") == []}
    assert silent == {"/", "/healthz"}
    assert {} in make_service(with_lm=False).api.openapi()["security"]
