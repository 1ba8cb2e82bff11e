"""Requests that wait together are answered together, on one thread.

While a batch is with the models, the requests that arrive wait; those that ask for the same are the next batch. Nothing
waits for company. A piece of work that stands alone is a barrier: what came before it is done before it, what came
after it, after it. This module knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from selector.errors import ServiceBusyError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class _Job:
    key: Hashable | None  # None stands alone
    items: Sequence[Any]
    run: Callable[[Sequence[Any]], Sequence[Any]]
    done: asyncio.Future[Sequence[Any]]


class Batcher:
    """Collects work for one thread.

    Args:
        capacity: Pieces of work that may wait.
        most: Items of one batch; one piece of work may be more.
        batched: Told the number of items of every batch.
    """

    def __init__(self, *, capacity: int, most: int, batched: Callable[[int], None] = lambda _: None) -> None:
        self._capacity = capacity
        self._most = most
        self._batched = batched
        self._waiting: deque[_Job] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shotsmith-service")
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Pieces of work that nobody has begun."""
        return len(self._waiting)

    async def together(
        self, key: Hashable, items: Sequence[Item], run: Callable[[Sequence[Item]], Sequence[Result]]
    ) -> Sequence[Result]:
        """Has work done, with other work of the same key where there is some.

        Args:
            key: Says what is asked; whatever has the same key must be answered by the same `run`.
            items: N items.
            run: From items to as many results, in their order; called on the thread.

        Returns:
            The N results.

        Raises:
            ServiceBusyError: When too much is waiting.
            Exception: When the work fails; the work of others in the batch does not.
        """
        return await self._submit(key, items, run)

    async def alone(self, run: Callable[[], Result]) -> Result:
        """Has work done by itself, in its turn.

        Args:
            run: The work; called on the thread.

        Returns:
            Its result.

        Raises:
            ServiceBusyError: When too much is waiting.
            Exception: When the work fails.
        """
        results: Sequence[Result] = await self._submit(None, (None,), lambda _: [run()])
        return results[0]

    def close(self) -> None:
        """Waits for the batch that is running and lets the thread go."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _submit(
        self, key: Hashable | None, items: Sequence[Any], run: Callable[[Sequence[Any]], Sequence[Any]]
    ) -> Sequence[Any]:
        if len(self._waiting) >= self._capacity:
            raise ServiceBusyError(len(self._waiting))
        job = _Job(key, items, run, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await job.done

    async def _work(self) -> None:
        while self._waiting:
            await self._answer(self._next())

    def _next(self) -> list[_Job]:
        """The oldest work, and all that goes with it up to the next that stands alone."""
        first = self._waiting.popleft()
        if first.key is None:
            return [first]
        taken, count, passed = [first], len(first.items), []
        while self._waiting and self._waiting[0].key is not None:
            job = self._waiting.popleft()
            if job.key == first.key and count + len(job.items) <= self._most:
                taken.append(job)
                count += len(job.items)
            else:
                passed.append(job)
        self._waiting.extendleft(reversed(passed))
        return taken

    async def _answer(self, jobs: list[_Job]) -> None:
        jobs = [job for job in jobs if not job.done.cancelled()]
        if not jobs:
            return
        items = [item for job in jobs for item in job.items]
        running = asyncio.get_running_loop().run_in_executor(self._thread, jobs[0].run, items)
        await asyncio.wait([running])
        error = running.exception()
        if isinstance(error, Exception) and len(jobs) > 1:
            for job in jobs:  # so that only whose request it is gets the error
                await self._answer([job])
            return
        self._batched(len(items))
        results = iter(running.result() if error is None else ())
        for job in jobs:
            own = [next(results) for _ in job.items] if error is None else []
            if job.done.cancelled():
                continue
            if error is None:
                job.done.set_result(own)
            else:
                job.done.set_exception(error)
