"""What every request passes before it is read: token, host, size, time, room. It knows ASGI and nothing of answers.

Bodies are read here, so that one without Content-Length, or with a false one, is cut off at the limit. Only JSON is
taken, which a page of another site cannot send without being asked first; a service on loopback answers to loopback
names and addresses alone, so that a foreign name that resolves here cannot read it.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from selector.errors import UsageError
from selector.service.limits import ServiceLimits
from selector.service.metrics import ServiceMetrics
from selector.service.refusals import RETRY_SECONDS, error_body

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS: Final = ("/", "/healthz")  # need no token: they tell nothing
WHILE_STOPPING: Final = ("/metrics",)
EVEN_IF_BUSY: Final = ("/healthz", "/metrics")  # of these not even a body is read
HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


@dataclass
class ServiceState:
    """How a service stands.

    Attributes:
        stopping: Whether new requests are refused.
        running: Requests that have no reply yet.
    """

    stopping: bool = False
    running: int = 0


def check_token(token: str) -> None:
    """Makes sure that a client can show a token.

    Args:
        token: The token; empty for none.

    Raises:
        UsageError: When it holds what a header cannot.
    """
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise UsageError(
            "the token holds characters that a header cannot", expected="ASCII without spaces", remedy="Change it."
        )


def is_loopback(host: str) -> bool:
    """Tells whether only this machine can reach an address.

    Args:
        host: A name or an address.

    Returns:
        Whether it is a loopback address; of names, only localhost.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _RefusedError(Exception):
    def __init__(self, status: int, found: str, *, expected: str, remedy: str) -> None:
        super().__init__(found)
        self.status = status
        self.body = error_body(found, expected=expected, remedy=remedy)


class Guard:
    """Stands before an application.

    Args:
        app: The application.
        state: Shared with whoever stops the service.
        limits: What is taken.
        metrics: Told of every request.
        paths: Of the application, by which requests are counted that are refused here.
        token: What clients must show; empty for none.
        loopback_only: Whether the service answers to loopback names alone.
    """

    def __init__(
        self,
        app: App,
        *,
        state: ServiceState,
        limits: ServiceLimits,
        metrics: ServiceMetrics,
        paths: Collection[str] = (),
        token: str = "",
        loopback_only: bool = True,
    ) -> None:
        self._app = app
        self.state = state
        self._limits = limits
        self._metrics = metrics
        self._paths = frozenset(paths)
        self._token = token.encode()
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it; see ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *HEADERS]
                if self.state.stopping:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        self.state.running += 1
        try:
            try:
                self._check(scope)
                body = b"" if scope["path"] in EVEN_IF_BUSY else await self._body(scope, receive)
            except _RefusedError as refusal:
                await _refuse(refusal, noted)
                return
            await self._app(scope, _replayed(body, receive), noted)
        finally:
            self.state.running -= 1
            known = scope["path"] if scope["path"] in self._paths else "other"
            path = str(getattr(scope.get("route"), "path", known))
            self._metrics.answered(path, status, time.perf_counter() - started)

    def _check(self, scope: Scope) -> None:
        path, headers = scope["path"], dict(scope["headers"])
        if self.state.stopping and path not in WHILE_STOPPING:
            raise _RefusedError(
                503, "the service is stopping", expected="a running service", remedy="Ask again when it is back."
            )
        self._check_host(headers.get(b"host", b""))
        if self._token and path not in OPEN_PATHS:
            self._check_token(headers.get(b"authorization", b""))
        if self.state.running > self._limits.connections and path not in EVEN_IF_BUSY:
            raise _RefusedError(
                429,
                f"{self.state.running - 1} requests are running already",
                expected="fewer requests at once",
                remedy="Ask again after the time that Retry-After names.",
            )
        if scope["method"] == "POST":
            self._check_form(headers)

    def _check_form(self, headers: dict[bytes, bytes]) -> None:
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":
            raise _RefusedError(
                415,
                f"the body's type is {kind.decode('latin-1')!r}",
                expected="'application/json'",
                remedy="Set Content-Type.",
            )
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and len(length) < 20 and int(length) > self._limits.body:
            raise self._too_large()

    def _check_host(self, host: bytes) -> None:
        name = host.decode("latin-1").lower()
        name = name.partition("]")[0].removeprefix("[") if name.startswith("[") else name.partition(":")[0]
        if self._loopback_only and not is_loopback(name):
            raise _RefusedError(
                421,
                f"the request is for the host {name[:100]!r}",
                expected="localhost or a loopback address such as 127.0.0.1: the service listens on loopback",
                remedy="Use that address, or start the service with --host.",
            )

    def _check_token(self, authorization: bytes) -> None:
        scheme, _, shown = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(shown.strip(), self._token):
            raise _RefusedError(
                401,
                "the request has no token, or a wrong one",
                expected="the header 'Authorization: Bearer TOKEN'",
                remedy="Ask whoever runs the service for the token.",
            )

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """Reads the whole body, or refuses it at the first byte too many."""
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise self._cut_off()
                    body += message.get("body", b"")
                    if len(body) > self._limits.body:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError as error:
            raise _RefusedError(
                408,
                f"the body of {scope['method']} has not arrived",
                expected=f"all of it within {self._limits.body_seconds:g} s",
                remedy="Send it again, faster.",
            ) from error

    def _cut_off(self) -> _RefusedError:
        return _RefusedError(400, "the body ends too early", expected="all of it", remedy="Send it again.")

    def _too_large(self) -> _RefusedError:
        return _RefusedError(
            413,
            f"the body is longer than {self._limits.body} bytes",
            expected="a shorter one",
            remedy="Send fewer queries at once.",
        )


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(refusal: _RefusedError, send: Send) -> None:
    content = json.dumps(refusal.body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    if refusal.status in (429, 503):
        headers.append((b"retry-after", RETRY_SECONDS.encode()))
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.status in (408, 413, 429):
        headers.append((b"connection", b"close"))  # the rest of a body is not read
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
