"""What Prometheus reads: requests, their time, batches, what waits. Each service has a registry of its own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ServiceMetrics:
    """Counts what a service does.

    Args:
        waiting: Gives the number of requests that wait.
        pool_size: Gives the size of the pool.
    """

    def __init__(self, *, waiting: Callable[[], int], pool_size: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "shotsmith_requests", "Requests by path and status.", ("path", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "shotsmith_request_seconds",
            "Time from headers to reply.",
            ("path",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._batches = Histogram(
            "shotsmith_batch_queries", "Queries of one batch.", buckets=SIZES, registry=self.registry
        )
        Gauge("shotsmith_waiting", "Requests that wait for the models.", registry=self.registry).set_function(waiting)
        Gauge("shotsmith_pool_size", "Examples in the pool.", registry=self.registry).set_function(pool_size)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Counts a request.

        Args:
            path: The path as the schema writes it: a client cannot make up new ones.
            status: Of the reply.
            seconds: How long it took.
        """
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def batched(self, queries: int) -> None:
        """Counts a batch.

        Args:
            queries: How many were in it.
        """
        self._batches.observe(queries)

    def text(self) -> bytes:
        """Writes everything in Prometheus' text form.

        Returns:
            The text.
        """
        return generate_latest(self.registry)
