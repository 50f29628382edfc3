"""Run the command `exoip` and turn errors into its exit code. Only `__main__` ends the process.

0  done                                     69  the API is out of reach (-A, -D)
1  the operation failed                     77  the API rejects the key
2  the command line is wrong                78  the configuration is wrong

Shown by tests/process/test_command.py.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
from collections.abc import Mapping, Sequence

from exoip.config import host_address
from exoip.config.parse import Config, Mode, describe, parse
from exoip.daemon import addons, memory, signals
from exoip.daemon.daemon import Daemon
from exoip.daemon.running_node import log_warnings
from exoip.daemon.signals import Mailbox
from exoip.errors import (
    ApiError,
    ApiForbidden,
    ApiUnavailable,
    ApiUnreachable,
    ConfigError,
    ExoipError,
    OutOfThreads,
    UsageError,
)
from exoip.exoscale import discovery
from exoip.exoscale.client import Client
from exoip.exoscale.topology import Topology
from exoip.telemetry.log import log, open_log

OPERATION_TIMEOUT = 60.0  # seconds that -A and -D wait for the operation

_CODES: tuple[tuple[type[ExoipError], int], ...] = (  # the first that matches
    (UsageError, 2),
    (ConfigError, 78),
    (ApiForbidden, 77),
    (ApiUnreachable, 69),
    (ApiUnavailable, 69),
    (ExoipError, 1),
)


def run(argv: Sequence[str], environ: Mapping[str, str], mailbox: Mailbox | None = None) -> int:
    """Run the mode that the command line asks for, and return the exit code.

    `mailbox` has the signals that `signals.catch` put there so far.
    """
    memory.forbid_core_dumps()
    try:
        config = parse(argv, environ)
        if config.check_config and config.mode is Mode.WATCH:
            addons.require(config)
    except ConfigError as error:
        sys.stderr.write(f"exoip: {error}\n")
        return _code(error)
    if config.check_config:
        eip = config.address
        about_host = [] if host_address.is_here(eip) else [f"{host_address.missing(eip)}: {host_address.cure(eip)}"]
        sys.stdout.write(describe(config, *about_host))
        return 0
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # the log and the API have errors for that
    try:
        writer = open_log(config.verbose, config.log_stdout, environ)
    except OutOfThreads as error:
        sys.stderr.write(f"exoip: {error}\n")
        return _code(error)
    try:
        log_warnings(config)
        if config.mode is Mode.WATCH:
            return Daemon(config, environ, lambda: parse(argv, environ), mailbox=mailbox).run()
        for number in signals.CAUGHT_EARLY:
            signal.signal(number, signal.SIG_DFL)
        addons.require_certificates_for(config)
        return once(config)
    except ExoipError as error:
        log(logging.ERROR, "%s", error)
        return _code(error)
    finally:
        writer.close()


def once(config: Config) -> int:
    """Attach the Elastic IP to this instance, or detach it, and wait until the API shows the
    result.
    """
    topology = discovery.discover(config)
    with contextlib.closing(discovery.client_for(config, topology.endpoint)) as client:
        return _once(client, topology, attach=config.mode is Mode.ATTACH)


def _once(client: Client, topology: Topology, *, attach: bool) -> int:
    done = f"{'attached to' if attach else 'detached from'} {topology.instance_id}"

    def is_done() -> bool:
        return client.instance(topology.instance_id).holds(topology.eip_id) is attach

    if is_done():
        log(logging.INFO, "%s is already %s", topology.eip_label, done)
        return 0
    try:
        call = client.attach if attach else client.detach
        client.wait(call(topology.eip_id, topology.instance_id), OPERATION_TIMEOUT)
    except ApiError:
        if not is_done():  # another client may have done it meanwhile, or only the answers failed
            raise
    if not is_done():
        log(logging.ERROR, "the operation succeeded, but the API does not show %s %s", topology.eip_label, done)
        return 1
    log(logging.INFO, "%s is %s", topology.eip_label, done)
    return 0


def _code(error: ExoipError) -> int:
    return next(code for kind, code in _CODES if isinstance(error, kind))
