"""Signatures that public clients made with the key EXOtest and the secret sEcReT."""

ID = "01234567-89ab-cdef-0123-456789abcdef"
EXPIRES = 1700000000
_INSTANCE = b'{"instance": {"id": "fedcba98-7654-3210-fedc-ba9876543210"}}'
_CHECKED = b'{"description": "exoip", "healthcheck": {"mode": "tcp", "port": 80}}'
VECTORS = [  # method, path, query, body, signature
    ("GET", "/v2/elastic-ip", "", b"", "EvBXuCo8jBWZLFTmKlS/zbPNxYH5C9+iqKuWR1lnXbc="),
    ("GET", "/v2/instance", f"manager-type=instance-pool&manager-id={ID}", b"",
     "3zb5j+a2UETk5tqxQMbsdSFdInOvAtCHuipxlu9JIXA="),
    ("PUT", f"/v2/elastic-ip/{ID}", "", _CHECKED, "mDZa+Te91xYC6bHB4rqHUwU7Vsxp0kaAiO8H2HG8gaA="),
    ("PUT", f"/v2/elastic-ip/{ID}:attach", "", _INSTANCE, "DaGeTuN2v+1CHsLbKL2YSDvxbX6RAJRbpiweexhzvbg="),
    ("GET", "/v2/instance", "labels=a+b%2Bc&ip-address=203.0.113.7", b"",
     "dtY9dM0WhYitEh/9I+Mm4P9RYOiQMh4vyOAvod7gHLM="),
]  # fmt: skip


def header(names: list[str], signature: str, key: str = "EXOtest", expires: object = EXPIRES) -> str:
    """Return the Authorization header of a request with query parameters of these `names`."""
    signed = f",signed-query-args={';'.join(sorted(names))}" if names else ""
    return f"EXO2-HMAC-SHA256 credential={key}{signed},expires={expires},signature={signature}"
