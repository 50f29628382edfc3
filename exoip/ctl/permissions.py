"""Find out which of the operations that exoip needs a key may perform, by trying each without
changing anything.

Reads are simply done. Attach and detach are requested for an instance id made up for this test: a
key that lacks the permission gets 403, any other learns that there is no such instance. Shown by
tests/unit/ctl/test_check.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

from exoip.errors import ApiConflict, ApiError, ApiForbidden, ApiInvalid, ApiNotFound, OperationFailed
from exoip.exoscale.client import Client


@dataclass(frozen=True, slots=True)
class Permission:
    """An operation, by its name in a role's rules.

    `granted` is None if unknown, also if it was not `tried`; `why` explains None and False.
    """

    operation: str
    granted: bool | None
    why: str = ""
    tried: bool = True


def permissions(client: Client, own_id: str, eip_id: str, *, with_group: bool) -> Iterator[Permission]:
    """Try each operation.

    An empty `own_id` or `eip_id` is unknown; what needs `eip_id` is then not tried.
    """
    nobody = str(uuid4())
    yield _try("list-elastic-ips", client.elastic_ips)
    yield _try("list-instances", client.instances)
    yield _try("get-instance", lambda: client.instance(own_id or nobody))
    yield _try("get-operation", lambda: client.operation(str(uuid4())))
    if with_group:
        yield _try("list-security-groups", client.security_groups)
    for name, call in (("attach-instance-to", client.attach), ("detach-instance-from", client.detach)):
        operation = f"{name}-elastic-ip"
        if eip_id:
            yield _try(operation, lambda call=call: call(eip_id, nobody))  # type: ignore[misc]
        else:
            yield Permission(operation, None, "the Elastic IP's id is unknown", tried=False)


def _try(operation: str, call: Callable[[], object]) -> Permission:
    try:
        call()
    except ApiForbidden as error:
        return Permission(operation, False, str(error))
    except (ApiNotFound, ApiConflict, ApiInvalid, OperationFailed):
        pass  # understood and not forbidden
    except ApiError as error:
        return Permission(operation, None, str(error))
    return Permission(operation, True)
