"""The container image with a real container runtime: run by `script/test-containers`, as root."""
