"""Compare signatures with five published vectors, and with the official signer for random requests."""

from urllib.parse import parse_qsl, quote, urlencode

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from exoip.exoscale.signing import authorization

ID = "01234567-89ab-cdef-0123-456789abcdef"
ATTACHED = b'{"instance": {"id": "fedcba98-7654-3210-fedc-ba9876543210"}}'
CHECKED = b'{"description": "exoip", "healthcheck": {"mode": "tcp", "port": 80}}'
EXPIRES = 1700000000
VECTORS = [  # method, path, query, body, names of the signed parameters, signature
    ("GET", "elastic-ip", "", b"", "", "EvBXuCo8jBWZLFTmKlS/zbPNxYH5C9+iqKuWR1lnXbc="),
    ("GET", "instance", f"manager-type=instance-pool&manager-id={ID}", b"", "manager-id;manager-type",
     "3zb5j+a2UETk5tqxQMbsdSFdInOvAtCHuipxlu9JIXA="),
    ("PUT", f"elastic-ip/{ID}", "", CHECKED, "", "mDZa+Te91xYC6bHB4rqHUwU7Vsxp0kaAiO8H2HG8gaA="),
    ("PUT", f"elastic-ip/{ID}:attach", "", ATTACHED, "", "DaGeTuN2v+1CHsLbKL2YSDvxbX6RAJRbpiweexhzvbg="),
    ("GET", "instance", "labels=a+b%2Bc&ip-address=203.0.113.7", b"", "ip-address;labels",
     "dtY9dM0WhYitEh/9I+Mm4P9RYOiQMh4vyOAvod7gHLM="),
]  # fmt: skip


def sign(method="GET", path="/v2/instance", query=None, body=b"", key="EXOtest", secret="sEcReT", expires=EXPIRES):  # noqa: S107
    return authorization(method, path, query or {}, body, key, secret, expires)


@pytest.mark.parametrize(("method", "path", "query", "body", "args", "signature"), VECTORS)
def test_the_five_vectors(method, path, query, body, args, signature):
    signed = f",signed-query-args={args}" if args else ""
    expected = f"EXO2-HMAC-SHA256 credential=EXOtest{signed},expires={EXPIRES},signature={signature}"
    assert sign(method, f"/v2/{path}", dict(parse_qsl(query)), body) == expected


@given(
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE"]),
    path=st.text("abc/é :%", min_size=1).map(lambda text: "/v2/" + quote(text.strip("/"), safe="/:")),
    query=st.dictionaries(st.text("abcz-", min_size=1), st.text(min_size=1).filter(str.strip), max_size=4),
    body=st.binary(),
    expires=st.integers(0, 2**40),
)
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
