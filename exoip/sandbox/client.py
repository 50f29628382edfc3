"""A client of the control interface, for `exoip-sandbox` and tests on several hosts."""

from __future__ import annotations

from typing import Any

import requests

from exoip.errors import ApiInvalid, ApiUnreachable

TIMEOUT = 5.0  # seconds; the control interface never waits


class ControlClient:
    """Sends requests to the sandbox at `url` (`http://127.0.0.1:8080`); see `control.py`.

    Raises ApiUnreachable if there is no sandbox, ApiInvalid with its message if it rejects a
    request.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between a test and its sandbox

    def close(self) -> None:
        self._session.close()

    def state(self) -> dict[str, Any]:
        return self._call("GET", "state")

    def record(self, since: int = 0) -> dict[str, Any]:
        return self._call("GET", "record", params={"since": str(since)})

    def fault(self, kind: str, **fields: Any) -> int:
        """Add a fault; return its number."""
        return int(self._call("POST", "fault", {"kind": kind, **fields})["fault"])

    def clear(self, number: int | None = None) -> None:
        """Remove one fault, or all."""
        self._call("DELETE", "fault", params={} if number is None else {"fault": str(number)})

    def latency(self, seconds: float, key: str = "") -> None:
        self._call("POST", "latency", {"seconds": seconds, "key": key})

    def instance(self, do: str, **fields: Any) -> str:
        """Change an instance; return its id."""
        return str(self._call("POST", "instance", {"do": do, **fields})["instance"])

    def key(self, name: str, secret: str, refused: tuple[str, ...] = ()) -> None:
        self._call("POST", "key", {"name": name, "secret": secret, "refused": list(refused)})

    def settings(self, **values: Any) -> None:
        self._call("POST", "settings", values)

    def _call(
        self, method: str, what: str, data: dict[str, Any] | None = None, params: dict[str, str] | None = None
    ) -> dict[str, Any]:
        url = f"{self.url}/sandbox/{what}"
        try:
            response = self._session.request(method, url, json=data, params=params, timeout=TIMEOUT)
            answer = response.json()
        except ValueError as error:
            raise ApiInvalid(f"{self.url} is not answered by a sandbox: {error}") from error
        except requests.RequestException as error:
            raise ApiUnreachable(
                f"no sandbox at {self.url}: start one with `exoip-sandbox zone`, or use --url ({error})"
            ) from error
        if not response.ok or not isinstance(answer, dict):
            raise ApiInvalid(
                f"the sandbox rejects this: {answer.get('message') if isinstance(answer, dict) else answer}"
            )
        return answer
