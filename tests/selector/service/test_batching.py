"""Tests of batches: who shares one, what stands alone, who is refused, and that company changes no answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from selector.errors import ServiceBusyError, UsageError
from selector.service.batching import Batcher
from selector.service.limits import ServiceLimits


@pytest.mark.parametrize("served", ["policy", "nearest", "random", "mmr"])
def test_company_changes_no_answer(make_service, ask, planted_policy, served: str) -> None:
    """Guards against choices that depend on who else asks at that moment."""
    service = make_service(planted_policy if served == "policy" else served, with_lm=False)
    requests = [("POST", "/select", ask.selection(number, number + 3, shots=3)) for number in range(8)]
    requests += [("POST", "/select", ask.selection(number, shots=2, orderer="nearest-first")) for number in range(4)]
    alone = [ask.uids(ask.one(service, *request)) for request in requests]
    sizes: list[int] = []
    service.batcher._batched = sizes.append
    together = [ask.uids(reply) for reply in ask.at_once(service, *requests)]
    assert together == alone
    assert max(sizes) >= 8, "nothing was batched"
    assert len({str(own) for own in alone}) > 6, "the answers do not tell requests apart"


def test_requests_that_wait_are_one_batch(make_service, ask, held) -> None:
    """Guards against concurrent requests that are answered one by one."""
    service = make_service(with_lm=False)
    selector = held(service)

    async def send() -> list[int]:
        async with ask.client(service) as client:
            first = asyncio.create_task(client.post("/select", json=ask.selection()))
            await asyncio.to_thread(selector.entered.wait, 20)
            others = [asyncio.create_task(client.post("/select", json=ask.selection(0, 1))) for _ in range(5)]
            while service.batcher.waiting < 5:
                await asyncio.sleep(0.001)
            selector.opened.set()
            return [reply.status_code for reply in await asyncio.gather(first, *others)]

    assert asyncio.run(send()) == [200] * 6
    assert selector.sizes == [1, 10]


def test_a_full_queue_refuses_at_once_and_recovers(make_service, ask, held) -> None:
    """Guards against a queue without end, a 429 without Retry-After, and a service that stays busy."""
    service = make_service(with_lm=False, limits=ServiceLimits(queue=2))
    selector = held(service)

    async def send() -> tuple[list[int], list[object]]:
        async with ask.client(service) as client:
            first = asyncio.create_task(client.post("/select", json=ask.selection()))
            await asyncio.to_thread(selector.entered.wait, 20)
            waiting = [asyncio.create_task(client.post("/select", json=ask.selection())) for _ in range(2)]
            while service.batcher.waiting < 2:
                await asyncio.sleep(0.001)
            refused = await asyncio.gather(*(client.post("/select", json=ask.selection()) for _ in range(9)))
            selector.opened.set()
            answered = await asyncio.gather(first, *waiting)
            return [reply.status_code for reply in answered], refused

    answered, refused = asyncio.run(send())
    assert answered == [200] * 3
    for reply in refused:
        assert reply.status_code == 429
        assert int(reply.headers["retry-after"]) >= 1
        ask.error(reply)
    assert ask.one(service, "POST", "/select", ask.selection()).status_code == 200


def test_only_the_one_at_fault_gets_the_error(make_service, ask) -> None:
    """Guards against a batch in which one impossible request spoils those of others."""
    service = make_service(with_lm=False)
    row = dict(service.answerer.pool[0].fields)
    fine = ("POST", "/select", ask.selection(shots=38))
    wrong = ("POST", "/select", {"queries": [{"fields": row}], "shots": 38})  # 37 are left beside itself
    replies = ask.at_once(service, fine, fine, wrong, fine)
    assert [reply.status_code for reply in replies] == [200, 200, 422, 200]
    assert "37 demonstrations" in ask.error(replies[2])["found"]


def test_what_stands_alone_is_a_barrier() -> None:
    """Guards against a selection that was asked before an edit and sees the pool after it, or the other way round."""
    seen: list[object] = []
    ready = threading.Event()

    def run(items: Sequence[int]) -> Sequence[int]:
        ready.wait(20)
        seen.append(list(items))
        return items

    async def send() -> None:
        batcher = Batcher(capacity=10, most=3)
        work = [asyncio.create_task(batcher.together("a", [number], run)) for number in (1, 2)]
        work.append(asyncio.create_task(batcher.together("b", [3], run)))
        work.append(asyncio.create_task(batcher.together("a", [4, 5], run)))  # one too many for the batch
        work.append(asyncio.create_task(batcher.alone(lambda: seen.append("edit"))))
        work.append(asyncio.create_task(batcher.together("a", [6], run)))
        await asyncio.sleep(0.05)
        ready.set()
        results = await asyncio.gather(*work)
        assert results == [[1], [2], [3], [4, 5], None, [6]]
        batcher.close()

    asyncio.run(send())
    assert seen == [[1, 2], [3], [4, 5], "edit", [6]]


@pytest.mark.parametrize("error", [UsageError("two", expected="another", remedy="None."), ValueError("two")])
def test_errors_and_results_find_their_owner(error: Exception) -> None:
    """Guards against a result that goes to the wrong request, or none, after an error in its batch, foreseen or not."""

    def run(items: Sequence[int]) -> Sequence[int]:
        if 2 in items:
            raise error
        return [10 * item for item in items]

    async def send() -> None:
        batcher = Batcher(capacity=2, most=9)
        work = [asyncio.create_task(batcher.together("a", [number, number + 10], run)) for number in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(ServiceBusyError):
            await batcher.together("a", [9], run)
        first, second = await asyncio.gather(*work, return_exceptions=True)
        assert first == [10, 110]
        assert second is error
        batcher.close()

    asyncio.run(send())
