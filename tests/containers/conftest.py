"""Only `script/test-containers`, which builds the image, has these tests collected."""

from __future__ import annotations

import os

if "EXOIP_IMAGE" not in os.environ:
    collect_ignore_glob = ["test_*"]
