"""Services over the planted task with a toy language model, asked without a network; and one on a real port."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")
pytest.importorskip("prometheus_client", reason="the extra 'serve' is not installed")

from selector.inference.engine import InferenceEngine
from selector.retrieval.encoder import SentenceEncoder
from selector.service.answering import Answerer
from selector.service.application import Service
from selector.service.server import ServiceServer, listening_socket
from selector.testing import ToyLanguageModel, planted_examples
from selector.workspace import Workspace

BASE = "http://127.0.0.1"
MakeService = Callable[..., Service]


class Asking:
    """Sends requests to a service, and reads replies."""

    def query(self, number: int = 0) -> dict[str, Any]:
        return {"fields": dict(planted_examples(number + 1, seed=5, prefix="asked")[number].fields)}

    def selection(self, *numbers: int, **options: Any) -> dict[str, Any]:
        return {"queries": [self.query(number) for number in numbers or (0,)], **options}

    def at_once(self, service: Any, *requests: tuple[Any, ...], **options: Any) -> list[httpx.Response]:
        """Sends requests together: each a method, a path and a JSON body."""

        async def send() -> list[httpx.Response]:
            async with self.client(service, **options) as client:
                bodies = [{"json": own[2]} if len(own) > 2 else {} for own in requests]
                sent = (client.request(*own[:2], **body) for own, body in zip(requests, bodies, strict=True))
                return list(await asyncio.gather(*sent))

        return asyncio.run(send())

    def one(self, service: Any, *request: Any, **options: Any) -> httpx.Response:
        return self.at_once(service, request, **options)[0]

    def raw(self, service: Any, method: str, path: str, **options: Any) -> httpx.Response:
        """Sends a request as httpx is told to."""

        async def send() -> httpx.Response:
            async with self.client(service) as client:
                return await client.request(method, path, **options)

        return asyncio.run(send())

    def client(self, service: Any, **options: Any) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=service, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=BASE, **options)

    def uids(self, reply: httpx.Response) -> list[list[str]]:
        assert reply.status_code == 200, reply.text
        return [[shown["uid"] for shown in own["demonstrations"]] for own in reply.json()["selections"]]

    def error(self, reply: httpx.Response) -> dict[str, str]:
        """The error of a refusal, which has one shape."""
        body = reply.json()
        assert set(body) == {"error"}
        assert set(body["error"]) == {"found", "expected", "remedy"}
        assert all(body["error"].values())
        assert "Traceback" not in reply.text
        found: dict[str, str] = body["error"]
        return found

    def until(self, condition: Callable[[], bool], *, most: float = 20.0) -> None:
        """Waits; a test that would wait for ever fails instead."""
        end = time.monotonic() + most
        while not condition():
            assert time.monotonic() < end, "waited too long"
            time.sleep(0.005)


@pytest.fixture
def ask() -> Asking:
    return Asking()


class Held:
    """A selector that lets nothing through until it is opened; tells when it was entered."""

    def __init__(self, selector: Any) -> None:
        self._selector = selector
        self.entered, self.opened = threading.Event(), threading.Event()
        self.sizes: list[int] = []

    def select(self, queries: Sequence[Any], k: int) -> Any:
        self.sizes.append(len(queries))
        self.entered.set()
        assert self.opened.wait(20)
        return self._selector.select(queries, k)


@pytest.fixture
def held() -> Iterator[Callable[[Service], Held]]:
    """Holds the method nearest of a service back."""
    made: list[Held] = []

    def hold(service: Service) -> Held:
        made.append(Held(service.answerer.selector("nearest")))
        service.answerer._selectors["nearest"] = made[-1]
        return made[-1]

    yield hold
    for own in made:
        own.opened.set()


@pytest.fixture(scope="session")
def shared_encoder(tiny_encoder: Path) -> SentenceEncoder:
    return SentenceEncoder.load(tiny_encoder)


@pytest.fixture
def make_workspace(planted_task: Path, shared_encoder: SentenceEncoder) -> Callable[[], Workspace]:
    def make() -> Workspace:
        workspace = Workspace.open(planted_task, use_store=False)
        task = workspace.task
        workspace.__dict__["encoder"] = shared_encoder
        workspace.__dict__["engine"] = InferenceEngine(ToyLanguageModel(), task.template, task.pool)
        return workspace

    return make


@pytest.fixture
def make_service(make_workspace: Callable[[], Workspace]) -> Iterator[MakeService]:
    """Makes a service and closes it afterwards."""
    with ExitStack() as made:

        def make(
            served: Path | str = "nearest", *, workspace: Workspace | None = None, with_lm: bool = True, **rest: Any
        ) -> Service:
            options = {name: rest.pop(name) for name in ("journal", "force", "seed") if name in rest}
            answerer = Answerer(workspace or make_workspace(), served, with_lm=with_lm, **options)
            service = Service(answerer, **rest)
            made.callback(service.close)
            return service

        yield make


@pytest.fixture
def served() -> Iterator[Callable[[Service], tuple[str, ServiceServer]]]:
    """Runs a service on a free port; gives its address and what stops it."""
    with ExitStack() as running:

        def run(service: Service) -> tuple[str, ServiceServer]:
            listener = listening_socket("127.0.0.1", 0)
            server = ServiceServer(service)
            thread = threading.Thread(target=lambda: server.run(sockets=[listener]), daemon=True)
            thread.start()
            running.callback(listener.close)
            running.callback(thread.join, 20)
            running.callback(server.stop)
            Asking().until(lambda: server.started)
            return f"http://127.0.0.1:{listener.getsockname()[1]}", server

        yield run
