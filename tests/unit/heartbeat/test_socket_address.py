"""How an address and a port are written, and what is said if they cannot be bound."""

import errno

import pytest

from exoip.heartbeat.socket_address import SocketAddress, bind_error


@pytest.mark.parametrize(
    ("host", "text"), [("192.0.2.7", "192.0.2.7:80"), ("2001:db8::7", "[2001:db8::7]:80"), ("", ":80")]
)
def test_it_is_written_the_way_options_take_it(host: str, text: str) -> None:
    assert str(SocketAddress(host, 80)) == text


@pytest.mark.parametrize("number", [errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES, errno.EIO])
def test_a_bind_error_names_the_option_and_the_address(number: int) -> None:
    text = str(bind_error("metrics-listen", SocketAddress("::1", 80), OSError(number, "why")))
    assert text.startswith("--metrics-listen [::1]:80 ")
    assert ("why" in text) is (number == errno.EIO)
