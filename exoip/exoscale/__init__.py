"""The signed API client, and discovery: who and where this instance is, and who the members are.

In: a `Config` and calls. Out: typed answers, or an `ApiError` that says what failed. `signing` owns
the signature, `connection` and `transport` one HTTP exchange under one deadline, `error_mapping` how
answers become errors, `models` what is read from a body, and `client` the calls.
"""
