"""Call the Exoscale API v2: eight calls with typed answers, raising the errors of `errors.py`.

    client = Client("https://api-ch-gva-2.exoscale.com/v2", key, secret)
    operation = client.attach(eip_id, instance_id)      # 0.25 s later
    operation = client.operation(operation.id)

Each call has one time-out for all of it (10 s, or less for a read) and uses one kept-alive
connection, see `transport.py`. An entry of a list that does not fit the API's description is left
out and named in `Client.skipped`, unless it is the one that the caller needs. All calls are
idempotent. A mutation that raises ApiTimeout or ApiUnavailable may still take effect: read back. No
proxy and no .netrc is used.

A Client is not thread-safe: each thread needs its own. Shown by tests/unit/exoscale/test_client.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import requests

from exoip import __version__
from exoip.errors import ApiError, ApiTimeout, ApiUnavailable, ApiUnreachable, OperationFailed
from exoip.exoscale.error_mapping import error_from_exception, error_from_response, sent_at
from exoip.exoscale.models import (
    ElasticIp,
    InstanceRecord,
    OperationRecord,
    SecurityGroup,
    Zone,
    items,
    json_object,
    one_line,
    uuid,
)
from exoip.exoscale.signing import authorization
from exoip.exoscale.transport import Transport

SIGNATURE_LIFETIME = 600  # seconds, as in the official clients
FIRST_POLL = 0.25  # seconds until the first look at an operation; each further wait is twice as long
LONGEST_POLL = 3.0  # seconds between two looks at an operation

_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": f"exoip/{__version__}"}
_Parsed = TypeVar("_Parsed")
_Record = TypeVar("_Record", InstanceRecord, OperationRecord)


@dataclass(frozen=True, slots=True)
class _ApiCall:
    """One call. `permission`: its name in the API's description and in a key's role."""

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
    """The API of one zone.

    `endpoint`: its URL with `/v2`; time-outs in seconds, of which `read_timeout` may be changed
    between two calls; `wall_clock`: Unix time in seconds. The configuration has checked the
    endpoint and the key. `credentials`: the key and its secret; others count from the next call on.
    The methods raise ApiError, and ValueError for an id that is not a UUID, which is never sent.
    `answered_at`: the Unix time of the last answer, by its Date; None if it has none.
    `skipped`: by list, a sentence about the entries of its last answer that were left out.
    """

    def __init__(
        self,
        endpoint: str,
        key: str,
        secret: str,
        *,
        read_timeout: float = 10.0,
        mutation_timeout: float = 10.0,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.credentials = (key, secret)
        self.read_timeout, self._mutation_timeout = read_timeout, mutation_timeout
        self._wall_clock = wall_clock
        self.answered_at: float | None = None
        self.skipped: dict[str, str] = {}
        self._transport = Transport()

    def close(self) -> None:
        """Close the connection. A later call opens it again."""
        self._transport.close()

    def zones(self) -> tuple[Zone, ...]:
        """Return all zones: the cheapest call, which needs no permission."""
        return self._list(_ZONES, "zones", Zone.from_json)

    def elastic_ips(self, needed: str = "") -> tuple[ElasticIp, ...]:
        """Return the zone's Elastic IPs, without their holders. `needed`: an address."""
        return self._list(_ELASTIC_IPS, "elastic-ips", ElasticIp.from_json, needed=needed)

    def security_groups(self, needed: str = "") -> tuple[SecurityGroup, ...]:
        """Return the security groups with their rules. `needed`: a name or an id."""
        return self._list(_SECURITY_GROUPS, "security-groups", SecurityGroup.from_json, needed=needed)

    def instances(self, ip_address: str | None = None, needed: str = "") -> tuple[InstanceRecord, ...]:
        """Return the zone's instances, without their Elastic IPs. `needed`: an id or an address.

        With `ip_address`, return those that have it as their own or hold it. An old service ignores
        that and returns all, so confirm each.
        """
        query = {"ip-address": ip_address} if ip_address else {}
        return self._list(_INSTANCES, "instances", InstanceRecord.from_json, query, needed)

    def instance(self, instance_id: str) -> InstanceRecord:
        """Return one instance with the Elastic IPs that it holds."""
        return self._get(_INSTANCE, instance_id, InstanceRecord.from_json)

    def operation(self, operation_id: str) -> OperationRecord:
        """Return the present state of an operation."""
        return self._get(_OPERATION, operation_id, OperationRecord.from_json)

    def attach(self, eip_id: str, instance_id: str) -> OperationRecord:
        """Attach the Elastic IP to the instance; other holders keep it. Mostly still pending."""
        return self._mutate(_ATTACH, eip_id, instance_id)

    def detach(self, eip_id: str, instance_id: str) -> OperationRecord:
        """Detach the Elastic IP from the instance.

        If it does not hold it, the result is ApiNotFound, ApiConflict or an operation that fails.
        """
        return self._mutate(_DETACH, eip_id, instance_id)

    def wait(
        self,
        operation: OperationRecord,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> OperationRecord:
        """Poll until the operation has succeeded and return it; `timeout` is in seconds.

        Raises OperationFailed if it has failed, ApiTimeout if it is still pending or the API still
        does not answer at the end, and any other error of a read at once.
        """
        deadline, pause = clock() + timeout, FIRST_POLL
        last_error: ApiError | None = None
        while not operation.succeeded:
            if operation.failed:
                raise _operation_failed(operation)
            left = deadline - clock()
            if left <= 0:
                text = f"the operation {operation.id} is not done after {timeout:g} s"
                text += f"; last error: {last_error}" if last_error else ""
                raise ApiTimeout(text) from last_error
            sleep(min(max(pause, (last_error and last_error.retry_after) or 0.0), left))
            pause = min(2 * pause, LONGEST_POLL)
            try:
                operation, last_error = self.operation(operation.id), None
            except (ApiUnreachable, ApiUnavailable) as error:
                last_error = error
        return operation

    def _list(
        self,
        call: _ApiCall,
        name: str,
        parse: Callable[[object], _Parsed],
        query: Mapping[str, str] | None = None,
        needed: str = "",
    ) -> tuple[_Parsed, ...]:
        def parse_list(answer: dict[str, Any]) -> tuple[_Parsed, ...]:
            if answer and name not in answer:  # an empty object may stand for an empty list, but no other may
                raise ValueError(f"{name!r} is missing")
            parsed, odd = [], ""
            for entry in items([] if answer.get(name) is None else answer[name]):
                try:
                    parsed.append(parse(entry))
                except ValueError as error:
                    if needed and isinstance(entry, dict) and needed.lower() in map(_folded, entry.values()):
                        raise
                    odd = odd or f"{call.label}: left out {_name(entry)}, which is not understood: {error}"
            self.skipped[call.label] = odd
            return tuple(parsed)

        return self._send(call, parse_list, query=query)

    def _get(self, call: _ApiCall, wanted: str, parse: Callable[[object], _Record]) -> _Record:
        found = self._send(call, parse, wanted)
        if found.id != wanted.lower():
            raise ApiUnavailable(f"{call.label}: asked for {wanted}, got {found.id}")
        return found

    def _mutate(self, call: _ApiCall, eip_id: str, instance_id: str) -> OperationRecord:
        body = json.dumps({"instance": {"id": uuid(instance_id)}}).encode()
        return self._send(call, OperationRecord.from_json, eip_id, body=body)

    def _send(
        self,
        call: _ApiCall,
        parse: Callable[[dict[str, Any]], _Parsed],
        *ids: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> _Parsed:
        """Send `call` and return what `parse` makes of the object that the API answers."""
        path = call.path.format(*map(uuid, ids))
        try:
            request = self._prepare(call, path, query or {}, body)
            timeout = self.read_timeout if call.method == "GET" else self._mutation_timeout
            response = self._transport.send(request, timeout)
        except requests.RequestException as error:
            raise error_from_exception(error, call.label, self.endpoint) from error
        now = self._wall_clock()
        self.answered_at = sent_at(response)
        if not 200 <= response.status_code < 300:
            raise error_from_response(response, call.label, call.permission, now)
        try:
            return parse(json_object(response.content))
        except ValueError as error:
            text = f"{call.label}: the answer does not fit the API's description: {error}"
            raise ApiUnavailable(text) from error

    def _prepare(self, call: _ApiCall, path: str, query: Mapping[str, str], body: bytes) -> requests.PreparedRequest:
        headers = _HEADERS | ({"Content-Type": "application/json"} if body else {})
        request = requests.Request(
            call.method, self.endpoint + path, headers=headers, params=dict(query), data=body or None
        ).prepare()
        if call.signed:  # sign what was prepared: the path and the body exactly as they will be sent
            signed_path = request.path_url.partition("?")[0]
            expires = int(self._wall_clock()) + SIGNATURE_LIFETIME
            request.headers["Authorization"] = authorization(
                call.method, signed_path, query, body, *self.credentials, expires
            )
        return request


def _name(entry: object) -> str:
    given = entry.get("id") if isinstance(entry, dict) else None
    return f"the entry {one_line(given, 60)}" if isinstance(given, str) else "an entry without an id"


def _folded(value: object) -> str:
    return value.lower() if isinstance(value, str) else ""


def _operation_failed(operation: OperationRecord) -> OperationFailed:
    reason = operation.reason or operation.state
    text = f"the operation ended as {operation.state}, reason {reason}"
    text += f": {operation.message}" if operation.message else ""
    return OperationFailed(text, reason=reason)
