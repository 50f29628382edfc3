"""What the daemon loads, and that what it does over and over leaves nothing behind."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from exoip.daemon import memory


def loaded_by(program: str) -> set[str]:
    """The modules in a fresh interpreter after `program`."""
    script = f"{program}\nimport sys\nprint(*sys.modules)"
    environ = {
        name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")
    }  # it would load its own
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def test_the_daemon_loads_no_tables_for_guessing_encodings_and_none_of_the_sandbox():
    loaded = loaded_by("import exoip.__main__")
    assert {"requests", "exoip.daemon.daemon"} <= loaded
    unwanted = {
        "chardet",
        "charset_normalizer",
        "idna",
        "exoip.operator.health",
        "subprocess",
        "exoip.sandbox",
        "asyncio",
        "ctypes",
        "unittest",
        "xml",
        "multiprocessing",
        "pkg_resources",
    }
    assert not loaded & unwanted


@pytest.mark.parametrize("module", ["chardet.universaldetector", "charset_normalizer.api", "idna.core"])
def test_whoever_wants_what_is_left_out_gets_it_all_the_same(module: str):
    pytest.importorskip(module)
    assert module in loaded_by(f"import exoip.daemon.memory, {module}")
    assert module in loaded_by(f"import {module}, exoip.daemon.memory")


def test_text_is_taken_for_utf_8_where_nobody_says_what_it_is():
    program = "import exoip.daemon.memory, requests; it = requests.Response(); it._content = b'\\xc3\\xa4'; assert it.text == '\\xe4'"
    loaded_by(program)


def test_a_host_of_other_letters_is_found():
    prepared = "requests.Request('GET', 'http://b\\xfccher.example').prepare().url"
    loaded_by(f"import exoip.daemon.memory, requests; assert {prepared} == 'http://xn--bcher-kva.example/'")


def test_requests_warns_of_nothing():
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        "import exoip.daemon.memory, warnings; print(warnings.filters[0][0])",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "error\n", "")


def test_what_is_there_when_it_settles_is_never_looked_at_again():
    before = sys.getswitchinterval()
    try:
        memory.settle()
        assert gc.get_freeze_count() > 10_000
        assert sys.getswitchinterval() == memory.HAND_OVER
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)
