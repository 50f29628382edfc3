"""The demo's client: sends requests to the Elastic IP's web server and notes who answered."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

EVERY = 0.05  # seconds between two requests
TIMEOUT = 1.0  # seconds for each
RUN = 5  # requests with one outcome that make a change


@dataclass(frozen=True, slots=True)
class Request:
    """A request that ended at monotonic second `at`.

    `answer`: the name of the node, "" if it was lost, for `why`.
    """

    at: float
    answer: str
    why: str = ""


class Change:
    """Notices when another node answers, or none: after RUN requests with one outcome, so not while
    two share them.
    """

    def __init__(self) -> None:
        self._outcome: str | None = None
        self._last = ""
        self._run = 0

    def after(self, request: Request) -> str:
        """Return a sentence if the outcome has changed with this request, else ""."""
        self._run = self._run + 1 if request.answer == self._last else 1
        self._last = request.answer
        if self._run < RUN or request.answer == self._outcome:
            return ""
        self._outcome = request.answer
        return f"{RUN} requests in a row {f'reach {request.answer}' if request.answer else f'are lost: {request.why}'}"


class Client:
    """Sends requests to `http://address:port/` from a thread, each on a new connection, while the
    context lasts.
    """

    def __init__(self, address: tuple[str, int], every: float = EVERY, timeout: float = TIMEOUT) -> None:
        self._address = address
        self._every = every
        self._timeout = timeout
        self._requests: list[Request] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-client")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def requests(self) -> list[Request]:
        """All requests that ended, oldest first."""
        return self._requests[:]

    def lost(self, start: float = 0.0, end: float = float("inf")) -> int:
        """Return how many requests were lost from second `start` on and before `end`."""
        return sum(start <= one.at < end and not one.answer for one in self.requests)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(due - time.monotonic()):
            began = time.monotonic()
            answer, why = self._ask()
            self._requests.append(Request(time.monotonic(), answer, why))
            due = max(due + self._every, began)  # no burst after one that took long

    def _ask(self) -> tuple[str, str]:
        with contextlib.closing(http.client.HTTPConnection(*self._address, timeout=self._timeout)) as connection:
            try:
                connection.request("GET", "/")
                return connection.getresponse().read().decode().strip(), ""
            except (OSError, http.client.HTTPException) as error:
                return "", getattr(error, "strerror", None) or str(error) or type(error).__name__
