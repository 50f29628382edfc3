"""The signature against the five published vectors, and against a second implementation with random requests."""

from urllib.parse import parse_qsl, quote, urlencode

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from exoip.exoscale.signing import authorization

ID = "01234567-89ab-cdef-0123-456789abcdef"
EXPIRES = 1700000000
VECTORS = [
    ("GET", "/v2/elastic-ip", "", b"", "", "EvBXuCo8jBWZLFTmKlS/zbPNxYH5C9+iqKuWR1lnXbc="),
    (
        "GET",
        "/v2/instance",
        f"manager-type=instance-pool&manager-id={ID}",
        b"",
        "manager-id;manager-type",
        "3zb5j+a2UETk5tqxQMbsdSFdInOvAtCHuipxlu9JIXA=",
    ),
    (
        "PUT",
        f"/v2/elastic-ip/{ID}",
        "",
        b'{"description": "exoip", "healthcheck": {"mode": "tcp", "port": 80}}',
        "",
        "mDZa+Te91xYC6bHB4rqHUwU7Vsxp0kaAiO8H2HG8gaA=",
    ),
    (
        "PUT",
        f"/v2/elastic-ip/{ID}:attach",
        "",
        b'{"instance": {"id": "fedcba98-7654-3210-fedc-ba9876543210"}}',
        "",
        "DaGeTuN2v+1CHsLbKL2YSDvxbX6RAJRbpiweexhzvbg=",
    ),
    (
        "GET",
        "/v2/instance",
        "labels=a+b%2Bc&ip-address=203.0.113.7",
        b"",
        "ip-address;labels",
        "dtY9dM0WhYitEh/9I+Mm4P9RYOiQMh4vyOAvod7gHLM=",
    ),
]


@pytest.mark.parametrize(("method", "path", "query", "body", "args", "signature"), VECTORS)
def test_the_five_vectors(method, path, query, body, args, signature):
    header = authorization(method, path, dict(parse_qsl(query)), body, "EXOtest", "sEcReT", EXPIRES)
    signed = f",signed-query-args={args}" if args else ""
    assert header == f"EXO2-HMAC-SHA256 credential=EXOtest{signed},expires={EXPIRES},signature={signature}"


@given(
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE"]),
    path=st.text("abc/é :%", min_size=1).map(lambda text: "/v2/" + quote(text.strip("/"), safe="/:")),
    query=st.dictionaries(st.text("abcz-", min_size=1), st.text(min_size=1).filter(str.strip), max_size=4),
    body=st.binary(),
    expires=st.integers(0, 2**40),
)
def test_it_equals_the_official_signer(method, path, query, body, expires):
    """`requests-exoscale-auth`, which the official SDK signs with, is the second implementation."""
    from exoscale_auth import ExoscaleV2Auth

    query = {name: value.encode("utf-8", "replace").decode() for name, value in query.items()}
    request = requests.Request(method, "https://api" + path, params=urlencode(query), data=body).prepare()
    ExoscaleV2Auth("EXOtest", "sEcReT")._sign_request(request, expires)
    sent_path = request.path_url.partition("?")[0]
    assert (
        authorization(method, sent_path, query, body, "EXOtest", "sEcReT", expires)
        == (request.headers["Authorization"])
    )


@pytest.mark.parametrize("query", [{"ip-address": ""}, {"": "x"}, {"labels": "a", "ip-address": ""}])
def test_blank_parameters_are_refused(query):
    with pytest.raises(ValueError, match="blank") as caught:
        authorization("GET", "/v2/instance", query, b"", "EXOtest", "sEcReT", EXPIRES)
    assert "sEcReT" not in str(caught.value)


def test_every_part_is_signed():
    base = ("PUT", "/v2/a", {"x": "1"}, b"body", "EXOtest", "sEcReT", EXPIRES)
    changed = [
        ("GET", *base[1:]),
        (base[0], "/v2/b", *base[2:]),
        (*base[:2], {"x": "2"}, *base[3:]),
        (*base[:3], b"Body", *base[4:]),
        (*base[:5], "secret", base[6]),
        (*base[:6], EXPIRES + 1),
    ]
    signatures = {authorization(*arguments).partition("signature=")[2] for arguments in [base, *changed]}
    assert len(signatures) == len(changed) + 1
