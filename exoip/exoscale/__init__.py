"""The signed API client, and discovery: what and where this instance is, and who the members are.

In: a `Config` and calls. Out: typed answers and a `Topology`, or an error of `errors.py`. `signing`
owns the signature, `connection` and `transport` one HTTP exchange within one deadline,
`error_mapping` how failures become errors, `models` what is read from a body, `client` the calls,
`metadata` which instance this is, `discovery` the whole `topology`, and `member_sources` how
members are found (`security_group`, `static_peers`).
"""
