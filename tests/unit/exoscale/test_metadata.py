"""Ask a metadata service, good or broken, and the machine's own files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exoip.errors import ConfigError, MetadataUnavailable
from exoip.exoscale import metadata
from tests.support.raw_server import RawServer, answer, each_with

ID = "01234567-89ab-cdef-0123-456789abcdef"
ID_BYTES = ID.encode()
NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def service() -> Iterator[Callable[..., str]]:
    """`service(*responses)` is the URL of a service that sends these; the last one repeats."""
    with contextlib.ExitStack() as stack:
        yield lambda *responses: stack.enter_context(RawServer(each_with(*responses))).url


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    return tmp_path / "instance-id", tmp_path / "product_uuid"


def instance_id(url: str, files: tuple[Path, ...] = ()) -> tuple[str, list[float]]:
    pauses: list[float] = []
    return metadata.instance_id(url, files, pauses.append), pauses


def zone(url: str) -> str:
    return metadata.zone(url, lambda _: None)


def test_an_id_and_a_zone(service, files):
    files[0].write_text(ID.replace("0", "a"))  # not read if the service answers
    assert instance_id(service(answer(ID_BYTES.upper() + b"\n")), files) == (ID, [])
    assert zone(service(answer(b"ch-gva-2\n"))) == "ch-gva-2"


def test_a_service_that_starts_late(service):
    late = (answer(b"", 503), b"", answer(ID_BYTES))
    assert instance_id(service(*late)) == (ID, [metadata.PAUSE] * 2)


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (answer(b"", 404), ConfigError),
        (answer(ID_BYTES, 500), MetadataUnavailable),
        (answer(ID_BYTES, 429), MetadataUnavailable),
        (answer(ID_BYTES, 302, Location="http://127.0.0.1:1/"), ConfigError),
        (answer(b"<html>captive portal</html>"), ConfigError),
        (answer(b""), ConfigError),
        (answer(ID_BYTES + b" " * 5000), MetadataUnavailable),
        (answer(b"\xff" * 36), ConfigError),
        (ID_BYTES + b"\r\n\r\n", MetadataUnavailable),
        (b"", MetadataUnavailable),
    ],
    ids=range(10),
)
def test_no_id_is_an_error_that_says_what_to_do(service, bad, kind):
    url = service(bad)
    with pytest.raises(ConfigError) as caught:
        instance_id(url)
    assert type(caught.value) is kind
    for part in (f"GET {url}/latest/meta-data/instance-id", "-i ", "-xz", "cidata"):
        assert part in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_service_out_of_reach():
    expected = r"http://127\.0\.0\.1:1/latest/meta-data/instance-id: .*refused"
    with pytest.raises(MetadataUnavailable, match=expected):
        instance_id(NOBODY)


@pytest.mark.parametrize("bad", [b"", b"evil.example/x", b"a" * 60, b"CH GVA", b"-x"])
def test_what_is_not_the_name_of_a_zone(service, bad):
    with pytest.raises(ConfigError, match="availability-zone"):
        zone(service(answer(bad)))


@pytest.mark.parametrize("first", [None, b"", b"i-12345", b"\xff\xfe", b"iid-datasource-none\n", b"x" * 100_000])
def test_the_first_file_with_an_id_counts(files, first):
    files[1].write_text(ID.upper() + "\n")
    if first is not None:
        files[0].write_bytes(first)
    asked_three_times = [metadata.PAUSE] * 2
    assert instance_id(NOBODY, files) == (ID, asked_three_times)
    files[0].write_text(ID.replace("0", "a"))
    assert instance_id(NOBODY, files) == (ID.replace("0", "a"), asked_three_times)


def test_a_clones_file_is_not_believed_while_the_service_starts(service, files):
    files[0].write_text(ID.replace("0", "a"))
    late = (answer(b"", 503), b"", answer(ID_BYTES))
    assert instance_id(service(*late), files) == (ID, [metadata.PAUSE] * 2)


def test_files_that_cannot_be_read(files):
    files[0].mkdir()
    with pytest.raises(ConfigError):
        instance_id(NOBODY, files)
