"""Runs a service with uvicorn, and stops it so that whoever has asked is still answered."""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Final, NoReturn

import uvicorn

from selector.errors import UsageError
from selector.service.application import Service

BACKLOG = 512  # connections that the system keeps waiting
CUT_SHORT: Final = 3  # the exit code of a process that did not wait for the replies


def listening_socket(host: str, port: int) -> socket.socket:
    """Takes a port.

    Args:
        host: The address to listen on.
        port: The port; 0 takes a free one.

    Returns:
        The socket.

    Raises:
        UsageError: When it cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        made = socket.create_server((host, port), family=family, backlog=BACKLOG)
        # Named as TCP, its connections are told by asyncio to send at once; else the end of a reply waits 40 ms for the
        # client to acknowledge its beginning.
        return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=made.detach())
    except (OSError, OverflowError, ValueError) as error:  # ValueError: what no host name can hold
        raise UsageError(
            f"port {port} of {host} cannot be listened on ({error})",
            expected="an address of this machine with a free port",
            remedy="Choose another --port or --host.",
        ) from error


class ServiceServer(uvicorn.Server):
    """Serves until it is told to stop: running requests are answered, new ones get 503, then it ends.

    A second signal, or a request that takes longer than the limits allow, ends the process at once with `CUT_SHORT`.

    Args:
        service: What is served.
    """

    def __init__(self, service: Service) -> None:
        super().__init__(
            uvicorn.Config(
                service,
                log_level="warning",
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                ws="none",
                timeout_graceful_shutdown=int(service.limits.stop_seconds),
            )
        )
        self._service = service
        self._stopped_at = 0.0

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves; see `uvicorn.Server.serve`. What was loaded before is not looked through for garbage again."""
        gc.collect()
        gc.freeze()  # else a reply now and then waits half a second for millions of objects of the models' libraries
        try:
            await super().serve(sockets)
        finally:
            gc.unfreeze()

    def stop(self) -> None:
        """Stops gracefully; may be called from any thread."""
        if not self._service.state.stopping:
            self._stopped_at = time.monotonic()
            self._service.state.stopping = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stops at the first signal gracefully, at the second at once; see `uvicorn.Server.handle_exit`."""
        del sig, frame
        if self._service.state.stopping:
            self._end_process()
        self.stop()

    async def on_tick(self, counter: int) -> bool:
        """Ends when the service is stopping and nobody waits any more; see `uvicorn.Server.on_tick`."""
        ended, state = await super().on_tick(counter), self._service.state
        if not state.stopping or not state.running:
            return ended or state.stopping
        late = time.monotonic() - self._stopped_at > self._service.limits.stop_seconds
        if late and threading.current_thread() is threading.main_thread():  # else the process is somebody else's
            self._end_process()
        return ended or late

    def _end_process(self) -> NoReturn:
        """Python itself would wait for the thread that is with the models; edits are on the disk already."""
        with suppress(Exception):  # a signal may have come in the middle of a write, or to a closed stream
            sys.stderr.write(f"stopped at once; requests without a reply: {self._service.state.running}\n")
            sys.stderr.flush()
        os._exit(CUT_SHORT)
