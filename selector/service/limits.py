"""How much a client may ask for. Those of a single message are fixed and stand in the OpenAPI schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_QUERIES: Final = 256  # in one request
MOST_SHOTS: Final = 64
MOST_EXPLAINED: Final = 16  # demonstrations of one explanation, of which each is left out once
MOST_TEXT: Final = 20_000  # characters of one field
MOST_FIELDS: Final = 32
MOST_NAME: Final = 200  # characters of a uid, label, field, method or orderer
MOST_LISTED: Final = 200  # examples of one page of the pool
MIB: Final = 1024 * 1024


@dataclass(frozen=True)
class ServiceLimits:
    """What a service takes before it refuses.

    Attributes:
        queue: Requests that wait for the models; one more is refused with 429.
        batch: Queries that are given to the models at once.
        body: Length of a request's body, bytes.
        body_seconds: How long a body may take to arrive.
        stop_seconds: How long running requests may take after the service was told to stop.
    """

    queue: int = 256
    batch: int = 256
    body: int = MIB
    body_seconds: float = 30.0
    stop_seconds: float = 60.0

    @property
    def connections(self) -> int:
        """Requests whose body is held in memory at once; one more is refused before its body is read."""
        return 2 * self.queue + 16


DEFAULT_LIMITS: Final = ServiceLimits()
