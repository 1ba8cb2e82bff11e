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

from selector.errors import ServerError, ServerUnavailableError, UsageError

PASSING = (408, 409, 425, 429, 500, 502, 503, 504)  # status codes that another try may mend
BROKEN = 500  # the one of them that may also mean "I cannot do that"
FEW = 2  # further tries of a question that the server may be unable to answer


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
        # By whether there is patience.
        self._retries = {patient: _retries(tries if patient else min(tries, FEW), pause) for patient in (True, False)}
        self._threads = threading.local()  # sessions are not meant to be shared by threads

    def get(self, path: str) -> Any:
        """Asks for a resource.

        Args:
            path: Behind the address, or behind the host where it starts with "/".

        Returns:
            The JSON of the answer.

        Raises:
            ServerUnavailableError: When the server cannot be reached or stays too busy.
            ServerError: When it refuses or answers with something else.
        """
        return self._ask("GET", path, None, patient=True)

    def post(self, path: str, body: Mapping[str, Any], *, patient: bool = True) -> Any:
        """Sends a request.

        Args:
            path: Behind the address, or behind the host where it starts with "/".
            body: The JSON of the request.
            patient: Whether passing failures are tried again as often as was said, or at most twice.

        Returns:
            The JSON of the answer.

        Raises:
            ServerUnavailableError: When the server cannot be reached or stays too busy.
            ServerError: When it refuses or answers with something else.
        """
        return self._ask("POST", path, body, patient=patient)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, *, patient: bool) -> Any:
        host = self.address.removesuffix("/v1")
        url = host + path if path.startswith("/") else f"{self.address}/{path}"
        try:
            response = self._session(patient).request(method, url, json=body, timeout=self._timeout)
            if response.ok:
                return response.json()
        except requests.JSONDecodeError as error:
            raise ServerError(
                f"{url} did not answer with JSON", expected="an OpenAI-compatible server", remedy="Check the address."
            ) from error
        except requests.RequestException as error:
            raise ServerUnavailableError(
                f"{url} cannot be reached ({type(error).__name__})",
                expected="a running server",
                remedy="Start it, or correct [lm] server; what was scored so far is kept.",
            ) from error
        passes = response.status_code in PASSING and response.status_code != BROKEN
        raise (ServerUnavailableError if passes else ServerError)(
            f"{url} answered {response.status_code} ({_said(response)})",
            expected="200",
            remedy="See the server's log; what was scored so far is kept.",
        )

    def _session(self, patient: bool) -> requests.Session:
        name = "patient" if patient else "impatient"
        session: requests.Session | None = getattr(self._threads, name, None)
        if session is None:
            session = requests.Session()
            setattr(self._threads, name, session)
            adapter = HTTPAdapter(max_retries=self._retries[patient])
            session.mount("http://", adapter)
            session.mount("https://", adapter)
            if self._key_variable:
                session.headers["Authorization"] = f"Bearer {os.environ[self._key_variable]}"
        return session


def _retries(tries: int, pause: float) -> Retry:
    return Retry(
        total=tries,
        backoff_factor=pause,
        status_forcelist=PASSING,
        allowed_methods=None,  # scoring changes nothing, so a POST may be sent again
        raise_on_status=False,
    )


def _said(response: requests.Response) -> str:
    """The server's own words, on one line and short."""
    return " ".join(response.text.split())[:200] or response.reason
