"""A whole release, built with a throw-away key: run by `script/test-release`, as root."""
