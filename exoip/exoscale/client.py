"""The client of the Exoscale API v2: nine calls, typed answers, and no exception but those of `errors.py`.

    client = Client("https://api-ch-gva-2.exoscale.com/v2", key, secret)
    operation = client.attach(eip_id, instance_id)      # 0.25 s later
    operation = client.operation(operation.id)

Every call has a time-out for all of it (read: 2 s, attach and detach: 10 s) and runs on one kept-alive connection,
which `ping` opens and keeps open; see `transport.py`. All calls are idempotent. A mutation that ends in ApiTimeout may
still take effect, and so may one that ends in ApiUnreachable or ApiUnavailable: read back. No proxy is used, no .netrc.

A Client is not thread-safe: each thread owns one.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import requests

from exoip import __version__
from exoip.errors import ApiError, ApiTimeout, ApiUnavailable, ApiUnreachable, ConfigError, OperationFailed
from exoip.exoscale.error_mapping import from_exception, from_response
from exoip.exoscale.models import ElasticIp, InstanceRecord, OperationRecord, SecurityGroup, Zone, items, one_line, uuid
from exoip.exoscale.signing import authorization
from exoip.exoscale.transport import new_session

__all__ = ["Client", "ElasticIp", "InstanceRecord", "OperationRecord", "SecurityGroup", "Zone"]

SIGNATURE_LIFETIME = 600  # seconds, as the official clients
FIRST_POLL, LONGEST_POLL = 0.25, 3.0  # seconds between two looks at an operation

_URL = re.compile(r"https?://[\w.:\[\]-]+(/[\w.~/-]*)?", re.ASCII)
_Answer = TypeVar("_Answer")
_Found = TypeVar("_Found", InstanceRecord, OperationRecord)


@dataclass(frozen=True, slots=True)
class _ApiCall:
    """One call; `permission`: its name in the API's description and in the rules of a key's role."""

    permission: str
    method: str
    path: str  # with {} for each id
    signed: bool = True

    @property
    def label(self) -> str:
        return f"{self.method} {self.path.replace('{}', '…')}"


_ZONES = _ApiCall("list-zones", "GET", "/zone", signed=False)
_ELASTIC_IPS = _ApiCall("list-elastic-ips", "GET", "/elastic-ip")
_INSTANCES = _ApiCall("list-instances", "GET", "/instance")
_INSTANCE = _ApiCall("get-instance", "GET", "/instance/{}")
_SECURITY_GROUPS = _ApiCall("list-security-groups", "GET", "/security-group")
_ATTACH = _ApiCall("attach-instance-to-elastic-ip", "PUT", "/elastic-ip/{}:attach")
_DETACH = _ApiCall("detach-instance-from-elastic-ip", "PUT", "/elastic-ip/{}:detach")
_OPERATION = _ApiCall("get-operation", "GET", "/operation/{}")


class Client:
    """The API of one zone. `endpoint`: its URL with `/v2`; time-outs in seconds; `wall_clock`: Unix time in seconds.

    Raises ConfigError for a malformed endpoint or key. Its methods raise ApiError, and ValueError for an id that is no
    UUID: such a one is never sent.
    """

    def __init__(
        self,
        endpoint: str,
        key: str,
        secret: str,
        *,
        read_timeout: float = 2.0,
        mutation_timeout: float = 10.0,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self._key, self._secret = key, secret
        self._timeouts = {"GET": read_timeout, "PUT": mutation_timeout}
        self._wall_clock = wall_clock
        self._session = new_session()
        if not re.fullmatch(r"[!-+\--~]+", key) or not secret:  # it goes into a header, before a comma
            raise ConfigError("the API key must be one word of plain letters and digits, and the secret not empty")
        try:
            if not _URL.fullmatch(endpoint):
                raise ValueError("that is no plain http or https URL")
            self._prepare(_ZONES, _ZONES.path, {}, b"")
        except (requests.RequestException, ValueError) as error:
            example = "https://api-ch-gva-2.exoscale.com/v2"
            raise ConfigError(f"API endpoint {endpoint!r} must be a URL like {example}: {error}") from error

    def __repr__(self) -> str:
        return f"Client({self.endpoint!r})"

    def close(self) -> None:
        """Close the connection. A later call opens it again."""
        self._session.close()

    def ping(self) -> None:
        """Open the connection to the API, or keep it open, by the cheapest call; it needs no right."""
        self._send(_ZONES)

    def zones(self) -> tuple[Zone, ...]:
        return self._list(_ZONES, "zones", Zone.from_answer)

    def elastic_ips(self) -> tuple[ElasticIp, ...]:
        return self._list(_ELASTIC_IPS, "elastic-ips", ElasticIp.from_answer)

    def security_groups(self) -> tuple[SecurityGroup, ...]:
        return self._list(_SECURITY_GROUPS, "security-groups", SecurityGroup.from_answer)

    def instances(self, ip_address: str | None = None) -> tuple[InstanceRecord, ...]:
        """Return the zone's instances, without their Elastic IPs.

        With `ip_address` those that have or hold it; an older service ignores it and answers all: confirm each.
        """
        query = {"ip-address": ip_address} if ip_address else {}
        return self._list(_INSTANCES, "instances", InstanceRecord.from_answer, query)

    def instance(self, instance_id: str) -> InstanceRecord:
        """Return one instance with the Elastic IPs that it holds (`elastic_ip_ids` is never None here)."""

        def parse(answer: Any) -> InstanceRecord:
            found = InstanceRecord.from_answer(answer)  # which says nothing of Elastic IPs when it holds none
            return found if found.elastic_ip_ids is not None else replace(found, elastic_ip_ids=frozenset())

        return self._get(_INSTANCE, instance_id, parse)

    def operation(self, operation_id: str) -> OperationRecord:
        return self._get(_OPERATION, operation_id, OperationRecord.from_answer)

    def attach(self, eip_id: str, instance_id: str) -> OperationRecord:
        """Attach the Elastic IP to the instance; other holders keep it. Answers at once, mostly as pending."""
        return self._mutate(_ATTACH, eip_id, instance_id)

    def detach(self, eip_id: str, instance_id: str) -> OperationRecord:
        """Detach the Elastic IP from the instance. One that does not hold it: ApiNotFound, ApiConflict or a failure."""
        return self._mutate(_DETACH, eip_id, instance_id)

    def wait(
        self,
        operation: OperationRecord,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> OperationRecord:
        """Poll until the operation has succeeded and return it; `timeout` is in seconds.

        Raises OperationFailed when it has failed, ApiTimeout when it is still pending or the API still does not
        answer at the end; ApiForbidden and the other errors of a read at once.
        """
        deadline, pause = clock() + timeout, FIRST_POLL
        trouble: ApiError | None = None
        while not operation.succeeded:
            if operation.failed:
                why = operation.reason or operation.state
                text = f": {operation.message}" if operation.message else ""
                raise OperationFailed(
                    f"the operation ended as {operation.state}, reason {why}{text}", call=_OPERATION.label, reason=why
                )
            left = deadline - clock()
            if left <= 0:
                text = f"; last: {trouble}" if trouble else ""
                raise ApiTimeout(
                    f"the operation {operation.id} is not done after {timeout:g} s{text}", call=_OPERATION.label
                ) from trouble
            sleep(min(max(pause, (trouble and trouble.retry_after) or 0.0), left))
            pause = min(2 * pause, LONGEST_POLL)
            try:
                operation, trouble = self.operation(operation.id), None
            except (ApiUnreachable, ApiUnavailable) as error:
                trouble = error
        return operation

    def _list(
        self, call: _ApiCall, name: str, parse: Callable[[Any], _Answer], query: Mapping[str, str] | None = None
    ) -> tuple[_Answer, ...]:
        answer = self._send(call, query=query)
        if answer and name not in answer:  # an empty answer may stand for an empty list; another is none of this call
            raise ApiUnavailable(f"{call.label}: no {name!r} in the answer", call=call.label)
        return _parsed(call, lambda: tuple(parse(item) for item in items(answer, name) or ()))

    def _get(self, call: _ApiCall, wanted: str, parse: Callable[[Any], _Found]) -> _Found:
        answer = self._send(call, wanted)
        found = _parsed(call, lambda: parse(answer))
        if found.id != wanted.lower():
            raise ApiUnavailable(f"{call.label}: asked for {wanted}, got {found.id}", call=call.label)
        return found

    def _mutate(self, call: _ApiCall, eip_id: str, instance_id: str) -> OperationRecord:
        body = json.dumps({"instance": {"id": uuid(instance_id)}}).encode()
        answer = self._send(call, eip_id, body=body)
        return _parsed(call, lambda: OperationRecord.from_answer(answer))

    def _send(
        self, call: _ApiCall, *ids: str, query: Mapping[str, str] | None = None, body: bytes = b""
    ) -> dict[str, Any]:
        """Carry out `call` and return the object that the API answers; ValueError for an id that is no UUID."""
        request = self._prepare(call, call.path.format(*map(uuid, ids)), query or {}, body)
        try:
            response = self._session.send(request, timeout=self._timeouts[call.method], allow_redirects=False)
        except requests.RequestException as error:
            raise from_exception(error, call.label, self.endpoint) from error
        if not 200 <= response.status_code < 300:
            raise from_response(response, call.label, call.permission, self._wall_clock())
        return _parsed(call, lambda: _json_object(response.content))

    def _prepare(self, call: _ApiCall, path: str, query: Mapping[str, str], body: bytes) -> requests.PreparedRequest:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": f"exoip/{__version__}"}
        if body:
            headers["Content-Type"] = "application/json"
        request = requests.Request(
            call.method, self.endpoint + path, headers=headers, params=dict(query), data=body or None
        ).prepare()
        if call.signed:  # what is signed is what was prepared: the path and the body exactly as they will be sent
            signed_path = request.path_url.partition("?")[0]
            expires = int(self._wall_clock()) + SIGNATURE_LIFETIME
            request.headers["Authorization"] = authorization(
                call.method, signed_path, query, body, self._key, self._secret, expires
            )
        return request


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError(f"no JSON: {one_line(body[:200].decode('utf-8', 'replace'), 100)!r}") from None
    if not isinstance(answer, dict):
        raise ValueError("no JSON object")
    return answer


def _parsed(call: _ApiCall, parse: Callable[[], _Answer]) -> _Answer:
    try:
        return parse()
    except ValueError as error:
        text = f"{call.label}: the answer is not what the API's description promises: {error}"
        raise ApiUnavailable(text, call=call.label) from error
