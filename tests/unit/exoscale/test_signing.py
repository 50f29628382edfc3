"""Compare signatures with five published vectors, and with the official signer."""

from urllib.parse import parse_qsl, quote, urlencode

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from exoip.exoscale.signing import authorization
from tests.support.signature_vectors import EXPIRES, VECTORS, header


def sign(method="GET", path="/v2/instance", query=None, body=b"", key="EXOtest", secret="sEcReT", expires=EXPIRES):  # noqa: S107
    return authorization(method, path, query or {}, body, key, secret, expires)


@pytest.mark.parametrize(("method", "path", "query", "body", "signature"), VECTORS)
def test_the_five_vectors(method, path, query, body, signature):
    parameters = dict(parse_qsl(query))
    assert sign(method, path, parameters, body) == header(list(parameters), signature)


@given(
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE"]),
    path=st.text("abc/é :%", min_size=1).map(lambda text: "/v2/" + quote(text.strip("/"), safe="/:")),
    query=st.dictionaries(st.text("abcz-", min_size=1), st.text(min_size=1).filter(str.strip), max_size=4),
    body=st.binary(),
    expires=st.integers(0, 2**40),
)
@pytest.mark.slow
def test_it_equals_the_official_signer(method, path, query, body, expires):
    """`requests-exoscale-auth`, which the official SDK uses, is the second implementation."""
    from exoscale_auth import ExoscaleV2Auth

    query = {name: value.encode("utf-8", "replace").decode() for name, value in query.items()}
    request = requests.Request(method, "https://api" + path, params=urlencode(query), data=body).prepare()
    ExoscaleV2Auth("EXOtest", "sEcReT")._sign_request(request, expires)
    sent_path = request.path_url.partition("?")[0]
    assert sign(method, sent_path, query, body, expires=expires) == request.headers["Authorization"]


@pytest.mark.parametrize("query", [{"ip-address": ""}, {"": "x"}, {"labels": "a", "ip-address": ""}])
def test_a_blank_parameter_is_an_error_without_the_secret(query):
    with pytest.raises(ValueError, match="blank") as caught:
        sign(query=query)
    assert "sEcReT" not in str(caught.value)


def test_every_part_is_signed():
    changes = [{}, {"method": "PUT"}, {"path": "/v2/b"}, {"query": {"x": "2"}}, {"body": b"x"}, {"secret": "x"}]
    signatures = {sign(**change).partition("signature=")[2] for change in [*changes, {"expires": EXPIRES + 1}]}
    assert len(signatures) == len(changes) + 1
