"""Tests of what stands before the service: size, time, token, host and stopping."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from selector.errors import UsageError
from selector.service.guard import is_loopback
from selector.service.limits import ServiceLimits
from selector.service.server import listening_socket

TOKEN = "correct-horse-battery"


@pytest.mark.parametrize("told", [True, False])
def test_a_long_body_is_cut_off(make_service, ask, told: bool) -> None:
    """Guards against a body limit that believes Content-Length, and one that reads to the end before it counts."""
    service = make_service(with_lm=False, limits=ServiceLimits(body=1000))
    read = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield b" " * 100

    headers = {"content-type": "application/json"} | ({"content-length": "100000"} if told else {})
    reply = ask.raw(service, "POST", "/select", content=chunks(), headers=headers)
    assert reply.status_code == 413
    assert "1000 bytes" in ask.error(reply)["found"]
    assert read <= (0 if told else 11)
    fits = ask.raw(service, "POST", "/select", content=json.dumps(ask.selection()).ljust(1000), headers=headers_of())
    assert fits.status_code == 200


def headers_of() -> dict[str, str]:
    return {"content-type": "application/json"}


def test_a_body_that_never_comes_is_given_up(make_service, ask) -> None:
    """Guards against connections that hold a place for ever."""
    service = make_service(with_lm=False, limits=ServiceLimits(body_seconds=0.05))

    async def chunks() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(20)

    reply = ask.raw(service, "POST", "/select", content=chunks(), headers=headers_of())
    assert reply.status_code == 408
    ask.error(reply)
    assert service.state.running == 0


def test_a_body_that_is_cut_off_is_not_acted_upon(make_service) -> None:
    """Guards against an edit that is made although its client hung up in the middle of the body."""
    service = make_service(with_lm=False)
    whole = json.dumps({"fields": {"text": "planted"}, "label": "fresh"}).encode()
    messages = iter([{"type": "http.request", "body": whole, "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/pool/examples"}
    scope["headers"] = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    asyncio.run(service(scope, receive, send))
    assert sent[0]["status"] == 400
    assert len(service.answerer.pool) == 38


def test_bodies_in_memory_are_bounded(make_service, ask) -> None:
    """Guards against memory that grows with the number of clients that send slowly, and a health check that fails then.

    A container whose health check fails is started anew, although it is only busy.
    """
    service = make_service(with_lm=False, limits=ServiceLimits(queue=1))

    async def send() -> list[httpx.Response]:
        go = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield b"{"
            await go.wait()

        async with ask.client(service) as client:
            most = service.limits.connections
            held = [
                asyncio.create_task(client.post("/select", content=slow(), headers=headers_of())) for _ in range(most)
            ]
            while service.state.running < most:
                await asyncio.sleep(0.001)
            refused = await client.post("/select", json=ask.selection())
            outlook = [await client.request("GET", path, content=slow()) for path in ("/healthz", "/metrics")]
            go.set()
            return [refused, *outlook, *(await asyncio.gather(*held))]

    refused, health, metrics, *rest = asyncio.run(send())
    assert (health.status_code, metrics.status_code) == (200, 200)
    assert refused.status_code == 429
    assert refused.headers["retry-after"]
    assert {reply.status_code for reply in rest} == {422}


def test_a_token_is_asked_for(make_service, ask, caplog) -> None:
    """Guards against a path that forgets the token, one that is compared in part, and one that stands in a log."""
    caplog.set_level(logging.DEBUG)
    service = make_service(with_lm=False, token=TOKEN)
    paths = ("/about", "/metrics", "/openapi.json", "/pool/examples", "/select", "/nothing")
    wrong = [{}, *({"authorization": value} for value in ("", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", TOKEN))]
    wrong += [{"authorization": f"Bearer {TOKEN}x"}, {"authorization": f"Basic {TOKEN}"}]
    for headers in wrong:
        for path in paths:
            reply = ask.one(service, "GET", path, headers=headers)
            assert reply.status_code == 401, (headers, path)
            assert reply.headers["www-authenticate"] == "Bearer"
            assert TOKEN not in str(ask.error(reply))
    right = {"authorization": f"bearer {TOKEN}"}
    assert ask.one(service, "GET", "/about", headers=right).status_code == 200
    assert ask.one(service, "POST", "/select", ask.selection(), headers=right).status_code == 200
    assert [ask.one(service, "GET", path).status_code for path in ("/", "/healthz")] == [200, 200]
    assert TOKEN not in caplog.text
    assert TOKEN not in ask.one(service, "GET", "/metrics", headers=right).text


@pytest.mark.parametrize("token", ["two words", "ümlaut", "line\n"])
def test_a_token_that_no_header_holds_is_refused(make_service, token: str) -> None:
    """Guards against a service that nobody can reach."""
    with pytest.raises(UsageError, match="token"):
        make_service(with_lm=False, token=token)


def test_a_foreign_name_or_site_is_refused(make_service, ask) -> None:
    """Guards a service on loopback against other sites: a name that resolves here, a form, plain text."""
    service = make_service(with_lm=False)
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::2]"):
        reply = ask.one(service, "GET", "/about", headers={"host": host})
        assert reply.status_code == 421, host
        ask.error(reply)
    for host in ("127.0.0.1:8000", "LOCALHOST", "[::1]:8000", "127.0.0.2:8000"):
        assert ask.one(service, "GET", "/about", headers={"host": host}).status_code == 200, host
    body = json.dumps({"fields": {"text": "planted"}, "label": "fresh"})
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        reply = ask.raw(service, "POST", "/pool/examples", content=body, headers={"content-type": kind})
        assert reply.status_code == 415
    assert "access-control-allow-origin" not in ask.one(service, "OPTIONS", "/pool/examples").headers
    assert len(service.answerer.pool) == 38
    open_to_all = make_service(with_lm=False, token=TOKEN, loopback_only=False)
    headers = {"host": "shots.example", "authorization": f"Bearer {TOKEN}"}
    assert ask.one(open_to_all, "GET", "/about", headers=headers).status_code == 200


def test_replies_are_not_kept_or_guessed_at(make_service, ask) -> None:
    """Guards against a cache that keeps the pool, a browser that runs JSON, and a page with a loose policy."""
    service = make_service(with_lm=False)
    for path in ("/", "/about", "/nothing"):
        headers = ask.one(service, "GET", path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
    policy = ask.one(service, "GET", "/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


def test_a_service_that_stops_answers_what_runs_and_refuses_what_is_new(make_service, ask, held, served) -> None:
    """Guards against requests that are cut by a stop, ones that are begun after it, and one that never ends."""
    service = make_service(with_lm=False)
    selector = held(service)
    url, server = served(service)
    answered: list[Any] = []
    with httpx.Client(base_url=url, timeout=20) as client, httpx.Client(base_url=url, timeout=20) as kept:
        assert kept.get("/healthz").status_code == 200
        first = threading.Thread(target=lambda: answered.append(client.post("/select", json=ask.selection())))
        first.start()
        assert selector.entered.wait(20)
        server.stop()
        for path in ("/healthz", "/about"):
            refused = kept.get(path)
            assert refused.status_code == 503
            assert "stopping" in ask.error(refused)["found"]
            assert refused.headers["connection"] == "close"
        ticks: list[int] = []
        tick = server.on_tick

        async def counted(counter: int) -> bool:
            ticks.append(counter)
            return await tick(counter)

        server.on_tick = counted
        ask.until(lambda: len(ticks) > 2)  # it goes on as long as somebody waits
        assert server.servers[0].is_serving()
        selector.opened.set()
        first.join(20)
    assert ask.uids(answered[0])
    ask.until(lambda: not server.servers[0].is_serving())
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_replies_are_sent_at_once() -> None:
    """Guards against a reply whose end waits 40 ms until the client has acknowledged its beginning."""

    async def option() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        class Waiting(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                own = transport.get_extra_info("socket")
                found.set_result(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        listener = listening_socket("127.0.0.1", 0)
        async with await asyncio.get_running_loop().create_server(Waiting, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.close()
            return await asyncio.wait_for(found, 30)

    assert asyncio.run(option())


def test_a_port_in_use_is_told() -> None:
    """Guards against a traceback, or an exit without a word, where another service runs."""
    with listening_socket("127.0.0.1", 0) as taken, pytest.raises(UsageError, match="cannot be listened on"):
        listening_socket("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize("host", ["x" * 64, "..", "nul\0"])
def test_a_host_that_cannot_be_is_told(host: str) -> None:
    """Guards against a traceback of what turns names into bytes."""
    with pytest.raises(UsageError, match="cannot be listened on"):
        listening_socket(host, 0)


def test_loopback_is_recognised() -> None:
    """Guards against 0.0.0.0, or a name, that is taken for loopback and served without a token."""
    assert [is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [True] * 4
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "localhost.evil.example", ""))
