"""The client of the demo: asks the Elastic IP's web server all the time, and notes who answered, or that nobody did."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

EVERY = 0.05  # seconds
TIMEOUT = 1.0
RUN = 5


@dataclass(frozen=True, slots=True)
class Request:
    """One request, over at monotonic second `at`; `answer` is the name that came back, "" for none: it is lost, and `why` says how."""

    at: float
    answer: str
    why: str = ""


class Change:
    """Tells when another one answers, or nobody: after RUN requests in a row with one outcome, so not while two share them."""

    def __init__(self) -> None:
        self._told: str | None = None
        self._last = ""
        self._run = 0

    def look(self, request: Request) -> str:
        """Take the next request; returns a sentence when something is different by now, else ""."""
        self._run = self._run + 1 if request.answer == self._last else 1
        self._last = request.answer
        if self._run < RUN or request.answer == self._told:
            return ""
        self._told = request.answer
        return f"{RUN} requests in a row {f'reach {request.answer}' if request.answer else f'are lost: {request.why}'}"


class Client:
    """Asks `http://address:port/` from a thread of its own, with a connection for each request, as long as the context lasts."""

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
        """All requests that are over, oldest first."""
        return self._requests[:]

    def lost(self, start: float = 0.0, end: float = float("inf")) -> int:
        """How many requests were lost from second `start` on and before `end`."""
        return sum(start <= one.at < end and not one.answer for one in self.requests)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(due - time.monotonic()):
            began = time.monotonic()
            answer, why = self._ask()
            self._requests.append(Request(time.monotonic(), answer, why))
            due = max(due + self._every, began)  # one that took long is not made up for by a burst

    def _ask(self) -> tuple[str, str]:
        with contextlib.closing(http.client.HTTPConnection(*self._address, timeout=self._timeout)) as connection:
            try:
                connection.request("GET", "/")
                return connection.getresponse().read().decode().strip(), ""
            except (OSError, http.client.HTTPException) as error:
                return "", getattr(error, "strerror", None) or str(error) or type(error).__name__
