"""From what went wrong to what a client is told: a status and one JSON shape, never a traceback or a path of ours."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from selector.errors import (
    ArtifactMismatchError,
    EmptyPoolError,
    LanguageModelAbsentError,
    PromptTooLongError,
    ServiceBusyError,
    ShotsmithError,
    UnknownExampleError,
    UsageError,
)

logger = logging.getLogger(__name__)

Refusal = tuple[int, dict[str, dict[str, str]]]
RETRY_SECONDS: Final = "1"
LONGEST: Final = 300  # characters of what a client sent that are sent back

STATUSES: Final[Mapping[type[ShotsmithError], int]] = {
    ServiceBusyError: 429,
    UnknownExampleError: 404,
    EmptyPoolError: 409,
    LanguageModelAbsentError: 409,
    ArtifactMismatchError: 409,
    PromptTooLongError: 422,
    UsageError: 422,
}
EXPECTED: Final[Mapping[int, tuple[str, str]]] = {
    404: ("a path of /openapi.json", "Correct the path."),
    405: ("a method of /openapi.json", "Use another HTTP method."),
    500: ("a request that can be answered", "Tell whoever runs the service; its log says more."),
}


def error_body(found: str, *, expected: str, remedy: str) -> dict[str, dict[str, str]]:
    """Makes the body of a refusal.

    Args:
        found: What was met.
        expected: What would have been right.
        remedy: What the client can do.

    Returns:
        The body; text that UTF-8 cannot hold is written as escapes.
    """
    parts = {"found": found, "expected": expected, "remedy": remedy}
    return {"error": {name: text.encode("utf-8", "backslashreplace").decode() for name, text in parts.items()}}


def refusal_of(error: ShotsmithError) -> Refusal:
    """Says what a client is told of an error.

    Args:
        error: The error.

    Returns:
        Status and body; an error that is no client's fault is logged, and told without details.
    """
    for kind, status in STATUSES.items():
        if isinstance(error, kind):
            found = error.found if len(error.found) <= 2 * LONGEST else error.found[: 2 * LONGEST] + "..."
            return status, error_body(found, expected=error.expected, remedy=error.remedy)
    logger.error("a request failed: %s", error)
    return 503, error_body(
        f"the service cannot answer this now ({type(error).__name__})",
        expected="a service whose models and files are in order",
        remedy="Ask again later, or tell whoever runs the service: its log says more.",
    )


def refusal_of_content(errors: Sequence[Mapping[str, Any]]) -> Refusal:
    """Says what is wrong with a request's content.

    Args:
        errors: Of pydantic.

    Returns:
        Status 422 and the body, which names the first mistake.
    """
    first = errors[0]
    if first["type"] == "json_invalid":
        return 422, error_body(
            f"the body is no JSON from its character {first['loc'][-1]} on", expected="JSON", remedy="Correct it."
        )
    place = ".".join(str(part) for part in first["loc"]) or "body"
    given = ascii(first.get("input"))[:LONGEST]
    return 422, error_body(
        f"{place[:LONGEST]} is {given}",
        expected=str(first["msg"])[:LONGEST],
        remedy=f"Correct it; {len(errors)} mistake{'s' if len(errors) > 1 else ''} in all. See /openapi.json.",
    )


def refusal_of_status(status: int, detail: str) -> Refusal:
    """Says what the framework refused.

    Args:
        status: Its status.
        detail: Its words.

    Returns:
        Status and body.
    """
    expected, remedy = EXPECTED.get(status, ("a request as in /openapi.json", "Correct the request."))
    return status, error_body(f"the request is refused ({detail})", expected=expected, remedy=remedy)
