"""Cheap checks of the units and of packaging/debian; `script/deb` and the tests on real hosts do
the rest.
"""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import exoip
from exoip.config.options import BY_NAME
from exoip.daemon import command
from tests.support.paths import ROOT

SYSTEMD, DEBIAN = ROOT / "systemd", ROOT / "packaging" / "debian"
MOST_EXPOSURE = 1.2  # of 10, by `systemd-analyze security`
PER_HEARTBEAT = 0.1  # seconds
PREVENTED = re.compile(r"^RestartPreventExitStatus=([\d ]+)$", re.M)


class Unit(configparser.ConfigParser):
    """A unit file; a setting that is there more than once has its values in one, by line."""

    def __init__(self, name: str) -> None:
        super().__init__(interpolation=None, strict=False, delimiters="=", comment_prefixes="#", dict_type=_Joined)
        self.optionxform = str  # type: ignore[assignment,method-assign]
        self.read(SYSTEMD / name)


class _Joined(dict):  # type: ignore[type-arg]
    def __setitem__(self, key: object, value: object) -> None:
        if isinstance(value, list) and isinstance(self.get(key), list):
            value = [*self[key], *value]
        super().__setitem__(key, value)


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze here; script/setup installs it where it can use apt")
    return subprocess.run([program, *words], capture_output=True, text=True, timeout=60)


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    """With the programs they start in place, and without the manual pages, which the build of the
    package checks.
    """
    shutil.copytree(SYSTEMD, tmp_path, dirs_exist_ok=True)
    names = [path.name.replace("@.", "@x.") for path in tmp_path.iterdir() if path.suffix in (".service", ".slice")]
    for path in tmp_path.iterdir():
        text = re.sub(r"^(Exec\w+=-?)/usr/bin/exoip\b", r"\g<1>/bin/true", path.read_text(), flags=re.MULTILINE)
        text = re.sub(r"^(Exec\w+=-?)/usr/lib/exoip/exoip-address\b", r"\g<1>/bin/true", text, flags=re.MULTILINE)
        path.write_text(text)
    assert len(names) == 3
    done = analyze("verify", "--man=no", *(str(tmp_path / name) for name in names))
    ours = [line for line in done.stderr.splitlines() if "exoip" in line]
    assert (done.returncode, ours) == (0, [])


def test_the_services_exposure_is_small() -> None:
    done = analyze(
        "security", "--offline=true", f"--threshold={MOST_EXPOSURE * 10:.0f}", str(SYSTEMD / "exoip@.service")
    )
    assert done.returncode == 0, done.stdout[-200:] + done.stderr


def test_it_is_not_restarted_where_that_would_not_help() -> None:
    """Neither by the unit nor by the one for podman, which loads no credentials of systemd's (243)."""
    by_kind = {kind.__name__: code for kind, code in command._CODES}
    ours = {by_kind["UsageError"], by_kind["ConfigError"], by_kind["ApiForbidden"]}
    texts = (SYSTEMD / "exoip@.service").read_text(), (ROOT / "docs/installing.md").read_text()
    unit, podman = ({*map(int, PREVENTED.findall(text)[0].split())} for text in texts)
    assert (unit, podman) == ({*ours, 243}, ours)


def test_the_times_of_the_unit_suit_the_daemons() -> None:
    service = Unit("exoip@.service")["Service"]
    seconds = {
        name: _seconds(service[name]) for name in ("RestartSec", "TimeoutStopSec", "WatchdogSec", "TimeoutStartSec")
    }
    dead_time = float(BY_NAME["dead-ratio"].default or 0) * float(BY_NAME["advertisement-interval"].default or 0)
    assert seconds["RestartSec"] <= PER_HEARTBEAT < dead_time
    assert seconds["TimeoutStopSec"] > float(BY_NAME["leave-timeout"].default or 0)
    assert Unit("exoip@.service")["Unit"]["StartLimitIntervalSec"] == "0"
    assert service["RuntimeDirectoryPreserve"] == "restart"


def _seconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) / (1000 if unit == "ms" else 1)


def test_each_credential_has_its_line() -> None:
    wanted = {f"{option.credential}:exoip.%i.{option.credential}" for option in BY_NAME.values() if option.credential}
    assert set(Unit("exoip@.service")["Service"]["LoadCredential"].split("\n")) == wanted


def test_the_memory_of_the_service_is_reserved_in_its_slice_too() -> None:
    service, unit = Unit("exoip.slice")["Slice"], Unit("exoip@.service")["Service"]
    assert unit["Slice"] == "exoip.slice"
    assert int(unit["MemoryMin"].removesuffix("M")) <= int(service["MemoryMin"].removesuffix("M"))


def test_where_the_unit_lets_programs_be_the_package_makes_a_folder() -> None:
    """One that is made after the start is not in the service's mounts, and a reload could not name
    a program there.
    """
    below_etc = [path for path in re.findall(r"\S+", Unit("exoip@.service")["Service"]["ExecPaths"]) if "/etc/" in path]
    assert below_etc
    made = (DEBIAN / "exoip.dirs").read_text().split()
    assert {path.removeprefix("-").removeprefix("/") for path in below_etc} <= set(made)


@pytest.mark.parametrize("kind", ["install", "manpages", "examples", "docs"])
def test_what_the_package_installs_is_there(kind: str) -> None:
    lines = [line.split() for line in (DEBIAN / f"exoip.{kind}").read_text().splitlines()]
    assert lines
    for words in lines:
        assert list(ROOT.glob(words[0])), words[0]


def test_the_package_installs_all_there_is() -> None:
    listed = {
        line.split()[0]
        for kind in ("install", "manpages")
        for line in (DEBIAN / f"exoip.{kind}").read_text().splitlines()
    }
    listed |= set(re.findall(r"cp (systemd/\S+)", (DEBIAN / "rules").read_text()))
    folders = (SYSTEMD, ROOT / "man", ROOT / "packaging" / "completion")
    assert {str(path.relative_to(ROOT)) for folder in folders for path in folder.iterdir()} <= listed


def test_the_package_and_the_program_have_one_version() -> None:
    first = (DEBIAN / "changelog").read_text().partition("\n")[0]
    match = re.match(r"exoip \(([\d.]+)-\d+\) ", first)
    assert match
    assert match[1] == exoip.__version__


def test_the_package_depends_on_what_the_program_needs() -> None:
    """pybuild turns the dependencies of pyproject.toml into the package's, if the build has them
    installed.
    """
    needed = re.search(r"^dependencies = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    assert needed
    names = {name.replace("systemd-python", "systemd") for name in re.findall(r'"([a-z-]+)', needed[1])}
    control = (DEBIAN / "control").read_text()
    assert all(f" python3-{name},\n" in control for name in names)
    assert "${python3:Depends}" in control


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_the_maintainer_scripts_leave_a_host_without_systemd_alone(script: str) -> None:
    text = (DEBIAN / f"exoip.{script}").read_text()
    assert text.startswith("#!/bin/sh\nset -e\n")
    assert text.count("#DEBHELPER#\n") == 1
    assert '[ -z "${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ]' in text
    done = subprocess.run(["/bin/sh", "-n"], input=text, text=True, capture_output=True, timeout=10)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_lintian_override_is_explained() -> None:
    for path in (DEBIAN / "exoip.lintian-overrides", DEBIAN / "source" / "lintian-overrides"):
        assert path.read_text().startswith("# "), path


@pytest.mark.parametrize(
    ("eip", "address", "route"),
    [
        ("198.51.100.50", "198.51.100.50/32", ""),
        ("198.51.100.50/32", "198.51.100.50/32", ""),
        ("2001:db8:0:1::/96", "2001:db8:0:1::1/128", "2001:db8:0:1::/96"),
        ("2001:db8:0:1::", "2001:db8:0:1::1/128", "2001:db8:0:1::/96"),
        ("2001:db8:0:1::1", "2001:db8:0:1::1/128", "2001:db8:0:1::1/96"),  # the kernel cuts it to the prefix
        ("2001:db8:0:1::1/96", "2001:db8:0:1::1/128", "2001:db8:0:1::1/96"),
        ("2001:db8::1:0:0/96", "2001:db8::1:0:1/128", "2001:db8::1:0:0/96"),
    ],
)
@pytest.mark.parametrize("do", ["replace", "delete"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_loopback_interface_gets_what_is_meant(
    tmp_path: Path, eip: str, address: str, route: str, do: str, fails: bool
) -> None:
    """And loses all of it, even if a part of it is not there."""
    (tmp_path / "ip").write_text(f'#!/bin/sh\necho "$*"\nexit {int(fails)}\n')
    (tmp_path / "ip").chmod(0o755)
    done = subprocess.run(
        [str(SYSTEMD / "exoip-address"), do, eip], env={"PATH": f"{tmp_path}:/bin"}, capture_output=True, text=True
    )
    wanted = [f"address {do} {address} dev lo"] + [f"-6 route {do} local {route} dev lo"] * bool(route)
    assert (done.stdout.splitlines(), done.returncode) == (wanted, int(fails))
