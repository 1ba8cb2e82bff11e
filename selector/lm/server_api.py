"""HTTP to an OpenAI-compatible server: requests with retries, and named errors for all that can go wrong.

Failures that pass are tried again with growing pauses, as the server's Retry-After asks. This module knows addresses,
JSON and status codes; what is asked and what the answer means is the business of `selector.lm.server`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from selector.errors import ServerError, UsageError

PASSING = (408, 409, 425, 429, 500, 502, 503, 504)  # status codes that another try may mend


class ServerApi:
    """Asks one server.

    Args:
        address: Up to and with "/v1".
        key_variable: The environment variable that holds the API key; empty sends none.
        tries: How often a passing failure is tried again.
        pause: Seconds before the second try; doubles with each one.
        timeout: Seconds without an answer.

    Raises:
        UsageError: When the address is no HTTP address or the variable is not set.
    """

    def __init__(
        self, address: str, *, key_variable: str = "", tries: int = 6, pause: float = 0.5, timeout: float = 300.0
    ) -> None:
        if not address.startswith(("http://", "https://")):
            raise UsageError(
                f"[lm] server is {address!r}", expected="http://HOST:PORT/v1", remedy="Write the whole address."
            )
        if key_variable and key_variable not in os.environ:
            raise UsageError(
                f"the environment variable {key_variable} is not set",
                expected="the API key of the server in it",
                remedy=f"Set {key_variable}, or remove api_key_variable from [lm].",
            )
        self.address = address.rstrip("/")
        self._key_variable = key_variable
        self._timeout = timeout
        self._retry = Retry(
            total=tries,
            backoff_factor=pause,
            status_forcelist=PASSING,
            allowed_methods=None,  # scoring changes nothing, so a POST may be sent again
            raise_on_status=False,
        )
        self._threads = threading.local()  # sessions are not meant to be shared by threads

    def get(self, path: str) -> Any:
        """Asks for a resource.

        Args:
            path: Behind the address, or behind the host where it starts with "/".

        Returns:
            The JSON of the answer.

        Raises:
            ServerError: When the server cannot be reached, refuses or answers with something else.
        """
        return self._ask("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Sends a request.

        Args:
            path: Behind the address, or behind the host where it starts with "/".
            body: The JSON of the request.

        Returns:
            The JSON of the answer.

        Raises:
            ServerError: When the server cannot be reached, refuses or answers with something else.
        """
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        host = self.address.removesuffix("/v1")
        url = host + path if path.startswith("/") else f"{self.address}/{path}"
        try:
            response = self._session().request(method, url, json=body, timeout=self._timeout)
            if response.ok:
                return response.json()
        except requests.JSONDecodeError as error:
            raise ServerError(
                f"{url} did not answer with JSON", expected="an OpenAI-compatible server", remedy="Check the address."
            ) from error
        except requests.RequestException as error:
            raise ServerError(
                f"{url} cannot be reached ({type(error).__name__})",
                expected="a running server",
                remedy="Start it, or correct [lm] server; what was scored so far is kept.",
            ) from error
        raise ServerError(
            f"{url} answered {response.status_code} ({_said(response)})",
            expected="200",
            remedy="See the server's log; what was scored so far is kept.",
        )

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._threads, "session", None)
        if session is None:
            session = self._threads.session = requests.Session()
            adapter = HTTPAdapter(max_retries=self._retry)
            session.mount("http://", adapter)
            session.mount("https://", adapter)
            if self._key_variable:
                session.headers["Authorization"] = f"Bearer {os.environ[self._key_variable]}"
        return session


def _said(response: requests.Response) -> str:
    """The server's own words, on one line and short."""
    return " ".join(response.text.split())[:200] or response.reason
