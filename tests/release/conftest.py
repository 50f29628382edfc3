"""Only `script/test-release`, which installs what a release takes, has these tests collected."""

from __future__ import annotations

import os

if "EXOIP_RELEASE" not in os.environ:
    collect_ignore_glob = ["test_*"]
