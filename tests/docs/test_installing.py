"""Holds docs/installing.md, the image, the wheel and the cloud-init examples to the program."""

from __future__ import annotations

import re
import textwrap
import tomllib
from pathlib import Path

import pytest

from exoip.config.options import BY_NAME, OPTIONS
from exoip.config.parse import parse
from tests.support.paths import ROOT

PAGE = (ROOT / "docs/installing.md").read_text()
CONTAINERFILE = (ROOT / "packaging/container/Containerfile").read_text()
EXAMPLES = sorted((ROOT / "packaging/examples").glob("cloud-init-*.yaml"))
USER = "12345"
STOP = re.compile(r"(?:stop-timeout|stop_grace_period|terminationGracePeriodSeconds)\D*(\d+)")


def test_the_variables_are_those_of_the_program() -> None:
    known = {variable for option in OPTIONS for variable in option.variables}
    named = set(re.findall(r"\bIF_[A-Z_]+[A-Z]\b", PAGE))
    assert {"IF_ADDRESS", "IF_EXOSCALE_PEER_GROUP"} <= named <= known


def test_the_secrets_are_the_credentials_of_the_program() -> None:
    named = set(re.findall(r"/run/secrets/([a-z-]+)", PAGE))
    assert named == {option.credential for option in OPTIONS if option.credential}
    assert "CREDENTIALS_DIRECTORY=/run/secrets" in CONTAINERFILE


def test_every_runtime_waits_longer_for_the_end_than_the_hand_over_may_take() -> None:
    times = [int(seconds) for seconds in STOP.findall(PAGE)]
    assert len(times) == 4, "docker, compose, podman and Kubernetes"
    assert min(times) > float(BY_NAME["leave-timeout"].default or 0)


def test_the_users_number_is_the_same_everywhere() -> None:
    assert f"USER {USER}:{USER}" in CONTAINERFILE
    assert f"u exoip {USER} " in CONTAINERFILE
    assert set(re.findall(r"(?:runAsUser|runAsGroup|fsGroup|uid|user)\W+(\d+)", PAGE)) == {USER}


def test_the_folders_are_the_same_everywhere() -> None:
    for variable, folder in (("RUNTIME_DIRECTORY", "/run/exoip/eip"), ("STATE_DIRECTORY", "/var/lib/exoip/eip")):
        assert f"{variable}={folder}" in CONTAINERFILE
        assert f'"{folder}"' in re.search(r"^VOLUME .*", CONTAINERFILE, re.M)[0]  # type: ignore[index]
        assert folder in PAGE


def test_the_health_check_is_the_documented_one() -> None:
    words = re.search(r'^HEALTHCHECK .*CMD \["(.*)"\]$', CONTAINERFILE, re.M)
    assert words
    assert words[1].split('", "') == ["exoipctl", "status", "--fail-on", "critical"]
    assert PAGE.count("--fail-on, critical") + PAGE.count("--fail-on critical") == 2


def test_the_wheel_has_all_files_of_the_package() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    data = wheel["shared-data"]
    there = {str(path.relative_to(ROOT)) for folder in ("systemd", "man") for path in (ROOT / folder).iterdir()}
    assert there == {name for name in data if name.startswith(("systemd/", "man/"))}
    assert all((ROOT / name).exists() for name in data)


def test_the_single_file_has_what_the_package_depends_on() -> None:
    """python-systemd is not in it: it has to be compiled. certifi is not either: the system's
    certificates serve.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[^a-z-]", one, maxsplit=1)[0] for one in project["dependencies"]} - {"systemd-python"}
    pinned = re.findall(r"^(\S+)==\S+ --hash", (ROOT / "packaging/pyz/requirements.txt").read_text(), re.M)
    assert needed | {"charset-normalizer", "idna", "urllib3"} == set(pinned)
    assert (ROOT / "packaging/pyz/certifi.py").exists()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_configuration_that_cloud_init_writes_is_good(path: Path, tmp_path: Path) -> None:
    written = re.search(r"path: /etc/exoip/web.conf\n.*?content: \|\n((?: {6}[^\n]*\n)+)", path.read_text(), re.S)
    assert written
    file = tmp_path / "web.conf"
    file.write_text(re.sub("x{20,}", "0" * 24, textwrap.dedent(written[1])))  # a placeholder would be rejected
    file.chmod(0o640)
    assert parse(["-W", "-c", str(file)], {}).warnings == ()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_cloud_init_verifies_the_package(path: Path) -> None:
    text = path.read_text()
    keyring = "/etc/apt/keyrings/exoip.asc"
    assert f"path: {keyring}" in text
    assert f'source: "deb [signed-by={keyring}] ' in text
    assert f"signed-by={keyring}" in PAGE
    assert "curl" not in text
