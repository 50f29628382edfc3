"""Requests on the control socket, as text and as data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exoip.errors import ControlRequestError
from exoip.operator.control_protocol import (
    LONGEST_TEXT,
    VERSION,
    Drain,
    Failover,
    Metrics,
    Priority,
    Status,
    Undrain,
    parse,
    rejection,
)


def line(**fields: Any) -> bytes:
    return json.dumps({"version": VERSION, **fields}).encode()


@pytest.mark.parametrize(
    ("asked", "request_"),
    [
        (line(request="status"), Status()),
        (line(request="metrics"), Metrics()),
        (line(request="drain"), Drain()),
        (line(request="drain", why="new kernel", by="ann"), Drain("new kernel", "ann")),
        (line(request="drain", why="g" * LONGEST_TEXT), Drain("g" * LONGEST_TEXT)),
        (line(request="undrain", by="ann"), Undrain("ann")),
        (line(request="failover"), Failover(600.0, False)),
        (line(request="failover", **{"for": 10}, force=True, by="ann"), Failover(10.0, True, "ann")),
        (line(request="priority", priority=252), Priority(252)),
        (b' { "request" : "status", "version": 1 } \r', Status()),
    ],
)
def test_good_requests(asked: bytes, request_: object) -> None:
    assert parse(asked) == request_


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (b"", "one JSON object"),
        (b"status", "one JSON object"),
        (b'"status"', "one JSON object"),
        (b"[]", "one JSON object"),
        (b"\xff\xfe", "one JSON object"),
        (b"[" * 60000, "one JSON object"),
        (b'{"version": ' + b"9" * 5000 + b"}", "one JSON object"),
        (b"{}", "speaks version 1"),
        (line(request="status", version=2), "speaks version 1"),
        (line(request="status", version=True), "speaks version 1"),
        (line(request="status", version="1"), "speaks version 1"),
        (line(), "unknown request; there are status, metrics, drain, undrain, failover, priority"),
        (line(request="reboot"), "unknown request"),
        (line(request=["status"]), "unknown request"),
        (line(request="status", by="ann"), "status: unknown name in the request"),
        (line(request="undrain", why="x"), "undrain: unknown name"),
        (line(request="failover", seconds=20), "failover: unknown name"),
        (line(request="drain", why=1), "drain: why must be a printable text"),
        (line(request="drain", why="a\nb"), "drain: why must be a printable text"),
        (line(request="drain", by="\x1b[2J"), "drain: by must be a printable text"),
        (line(request="drain", why="g" * (LONGEST_TEXT + 1)), "at most 200 characters"),
        (line(request="failover", **{"for": 9.9}), "for must be a number of seconds from 10 to 86400"),
        (line(request="failover", **{"for": 86401}), "for must be a number of seconds from 10 to 86400"),
        (line(request="failover", **{"for": True}), "for must be a number of seconds"),
        (line(request="failover", **{"for": "20"}), "for must be a number of seconds"),
        (line(request="failover", **{"for": 10**400}), "for int too large"),
        (b'{"version": 1, "request": "failover", "for": NaN}', "for must be a number of seconds"),
        (line(request="failover", force=1), "force must be true or false"),
        (line(request="priority"), "priority: the number is missing"),
        (line(request="priority", priority=0), "from 1 to 252"),
        (line(request="priority", priority=253), "from 1 to 252"),
        (line(request="priority", priority=10.0), "from 1 to 252"),
        (line(request="priority", priority=True), "from 1 to 252"),
    ],
)
def test_bad_requests_are_rejected_with_a_reason(asked: bytes, words: str) -> None:
    with pytest.raises(ControlRequestError) as rejected:
        parse(asked)
    assert words in str(rejected.value)
    answer = json.loads(rejection(str(rejected.value)))
    assert answer == {"version": VERSION, "ok": False, "error": str(rejected.value)}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
_NAMES = st.sampled_from(["request", "why", "by", "for", "force", "priority", "x"])
_REQUESTS = st.sampled_from(["status", "drain", "undrain", "failover", "priority"])


@settings(max_examples=40, deadline=None)  # script/fuzz tries more
@given(
    st.binary()
    | st.dictionaries(_NAMES, _JSON | _REQUESTS).map(lambda fields: json.dumps({"version": 1, **fields}).encode())
)
@example(b'{"version": 1, "request": {}}')
@pytest.mark.slow
def test_any_bytes_give_a_request_or_its_error(asked: bytes) -> None:
    try:
        found = parse(asked)
    except ControlRequestError as error:
        assert str(error).isprintable()  # the answer repeats nothing of what was sent
        return
    assert isinstance(found, Status | Drain | Undrain | Failover | Priority)
