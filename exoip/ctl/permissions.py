"""Which of the operations that exoip needs a key may do: found out by trying each, in a way that changes nothing.

The reads are simply done. Attach and detach are asked for an instance that does not exist, by an id made up for this question: a key
that may not is refused (403), and one that may is told that there is no such instance. Nothing could come of either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

from exoip.errors import ApiConflict, ApiError, ApiForbidden, ApiInvalid, ApiNotFound, OperationFailed
from exoip.exoscale.client import Client


@dataclass(frozen=True, slots=True)
class Right:
    """An operation, as a role's rules name it. `granted` None: not known, `why` tells more; it also tells how it was refused."""

    operation: str
    granted: bool | None
    why: str = ""


def rights(client: Client, own_id: str, eip_id: str, *, with_group: bool) -> Iterator[Right]:
    """Try each operation. `own_id` or `eip_id` "": not known, so what needs it is not tried."""
    nobody = str(uuid4())
    yield _try("list-elastic-ips", client.elastic_ips)
    yield _try("list-instances", client.instances)
    yield _try("get-instance", lambda: client.instance(own_id or nobody))
    yield _try("get-operation", lambda: client.operation(str(uuid4())))
    if with_group:
        yield _try("list-security-groups", client.security_groups)
    for operation, call in (
        ("attach-instance-to-elastic-ip", client.attach),
        ("detach-instance-from-elastic-ip", client.detach),
    ):
        if eip_id:
            yield _try(operation, lambda call=call: call(eip_id, nobody))  # type: ignore[misc]
        else:
            yield Right(operation, None, "the Elastic IP's id is not known")


def _try(operation: str, call: Callable[[], object]) -> Right:
    try:
        call()
    except ApiForbidden as error:
        return Right(operation, False, str(error))
    except (ApiNotFound, ApiConflict, ApiInvalid, OperationFailed):
        pass  # it was understood, and not refused
    except ApiError as error:
        return Right(operation, None, str(error))
    return Right(operation, True)
