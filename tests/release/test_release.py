"""Build a release twice, verify it as users do, and install from its repository in fresh Debian
trees. Every command that users copy is taken from docs/installing.md.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import exoip
from tests.fresh.__main__ import TREES, container
from tests.hosts.tree import made
from tests.support.cluster import Cluster
from tests.support.paths import ROOT
from tests.support.process import environment
from tests.support.waiting import PATIENCE

VERSION = exoip.__version__
URL = "https://packages.example.com/exoip"  # in the documents
KEY_TIME = "20261101T000000"  # before any release
COMMAND = 900.0  # seconds, at most
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SUDO = re.compile(r"\bsudo ")


@dataclass(frozen=True, slots=True)
class Releases:
    """Two releases of one tag, and the environment in which gpg has the key."""

    first: Path
    second: Path
    env: dict[str, str]


def run(*words: str | Path, code: int | None = 0, **options: object) -> str:
    """Return what a command prints; it must end with `code`, unless that is None."""
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=COMMAND,
        **options,
    )  # type: ignore[call-overload] # fmt: skip
    assert code in (None, done.returncode), f"{' '.join(map(str, words))}: {done.returncode}: {done.stdout[-3000:]}"
    return str(done.stdout)


def documented(heading: str) -> str:
    """Return the first shell block under a heading of docs/installing.md, for root."""
    text = (ROOT / "docs/installing.md").read_text()
    found = re.search(rf"^## {re.escape(heading)}\n.*?^```sh\n(.*?)^```$", text, re.M | re.S)
    assert found, f"docs/installing.md has no commands under {heading!r}"
    return SUDO.sub("", found[1])


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Releases]:
    """Build in two folders, with other umasks and time zones."""
    folder = tmp_path_factory.mktemp("release")
    env = dict(os.environ) | {"GNUPGHOME": str(folder / "gnupg")}
    (folder / "gnupg").mkdir(mode=0o700)
    user = "A throw-away key <key@packages.invalid>"
    new = ("--quick-generate-key", user, "ed25519", "sign", "never")
    run("gpg", "--batch", "--faked-system-time", KEY_TIME, "--passphrase", "", *new, env=env)
    built = []
    for name, umask, zone in (("first", 0o022, "UTC"), ("second", 0o077, "Asia/Tokyo")):
        clone, output = folder / f"clone-{name}", folder / name
        source = folder / "clone-first" if built else ROOT  # whose last commit may be another by then
        run("git", "-c", "safe.directory=*", "clone", "--quiet", source, clone)
        run("git", "tag", "--force", f"v{VERSION}", cwd=clone)
        (clone / "exoip/untracked.py").write_text("not a part of the tag")
        words = ("script/release", VERSION, "key@packages.invalid", output)
        print(run(*words, cwd=clone, env=env | {"TZ": zone}, umask=umask))
        built.append(output)
    yield Releases(*built, env)
    run("gpgconf", "--kill", "all", env=env)


def test_two_builds_are_the_same(releases: Releases) -> None:
    first, second = (
        {path.name: path.read_bytes() for path in folder.iterdir()} for folder in (releases.first, releases.second)
    )
    assert sorted(first) == sorted(second)
    assert [name for name in first if first[name] != second[name]] == []
    for name in sorted(first):
        print(f"{len(first[name]):>10} {name}")
    print(releases.first.joinpath("SHA256SUMS").read_text())


def test_it_has_all_that_it_says(releases: Releases) -> None:
    names = {path.name for path in releases.first.iterdir()}
    base, debian = f"exoip-{VERSION}", f"exoip_{VERSION}-1"
    assert names == {
        f"{base}.tar.gz", f"{base}-py3-none-any.whl", f"{base}-image.tar.gz", f"{base}.cdx.json", "exoip.pyz",
        f"{debian}_all.deb", f"{debian}.dsc", f"{debian}.debian.tar.xz", f"exoip_{VERSION}.orig.tar.gz",
        *("Packages", "Packages.gz", "Sources", "Sources.gz", "Release", "Release.gpg", "InRelease"),
        *("SHA256SUMS", "SHA256SUMS.asc", "exoip.asc"),
    }  # fmt: skip
    for path in releases.first.glob("*.tar.gz"):
        with tarfile.open(path) as archive:
            assert not [name for name in archive.getnames() if "untracked" in name]


def test_the_wheel_has_what_the_package_has(releases: Releases) -> None:
    names = zipfile.ZipFile(releases.first / f"exoip-{VERSION}-py3-none-any.whl").namelist()
    for name in (
        "lib/systemd/system/exoip@.service", "lib/sysusers.d/exoip.conf", "share/man/man8/exoip.8",
        "share/bash-completion/completions/exoipctl", "share/doc/exoip/examples/exoip.conf",
    ):  # fmt: skip
        assert f"exoip-{VERSION}.data/data/{name}" in names


def test_the_signature_is_verified_as_documented(releases: Releases, tmp_path: Path) -> None:
    folder = shutil.copytree(releases.first, tmp_path / "copy")
    verify = documented("Verify a release")
    env = {**os.environ, "GNUPGHOME": str(tmp_path / "home")}
    (tmp_path / "home").mkdir(mode=0o700)
    text = run("sh", "-euc", verify, cwd=folder, env=env)
    assert "exoip.pyz: OK" in text
    with (folder / "exoip.pyz").open("ab") as file:
        file.write(b"more")
    assert "exoip.pyz: FAILED" in run("sh", "-euc", verify, cwd=folder, env=env, code=1)
    sums = folder / "SHA256SUMS"
    sums.write_text(sums.read_text().upper())
    assert "BAD signature" in run("sh", "-euc", verify, cwd=folder, env=env, code=1)


def apt(work: Path, repository: Path, *words: str, code: int = 0) -> str:
    """Run apt-get with this repository and nothing else."""
    for name in ("lists/partial", "cache/archives/partial"):
        (work / name).mkdir(parents=True, exist_ok=True)
    (work / "list").write_text(f"deb [signed-by={work}/exoip.asc] file:{repository} ./\n")
    folders = {"Etc::sourcelist": work / "list", "Etc::sourceparts": "-", "State::lists": work / "lists"}
    folders["Cache"] = work / "cache"
    options = [f"-oDir::{name}={value}" for name, value in folders.items()]
    return run(
        "apt-get", *options, "-oAPT::Sandbox::User=root", "-oAPT::Update::Error-Mode=any", *words, code=code, cwd=work
    )


def test_apt_rejects_what_was_changed(releases: Releases, tmp_path: Path) -> None:
    folder = shutil.copytree(releases.first, tmp_path / "copy")
    shutil.copy(folder / "exoip.asc", tmp_path)
    apt(tmp_path, folder, "update")
    apt(tmp_path, folder, "download", "exoip")
    with (folder / f"exoip_{VERSION}-1_all.deb").open("r+b") as file:
        file.seek(1000)
        file.write(b"!")
    (tmp_path / f"exoip_{VERSION}-1_all.deb").unlink()
    assert "Hash Sum mismatch" in apt(tmp_path, folder, "download", "exoip", code=100)
    release = folder / "InRelease"
    release.write_text(release.read_text().replace("Label: exoip", "Label: other"))
    shutil.rmtree(tmp_path / "lists")
    assert re.search("BADSIG|Message has been manipulated", apt(tmp_path, folder, "update", code=100))  # gpgv, sqv


@pytest.mark.parametrize(("release", "python"), [("bookworm", "3.11"), ("trixie", "3.13")])
def test_apt_installs_it_in_a_fresh_tree(releases: Releases, release: str, python: str) -> None:
    tree = made(TREES / f"{release}-minbase", release, [])
    commands = documented("From the apt repository").replace(URL, "file:///exoip")
    assert "curl" in commands
    assert "apt install exoip" in commands
    script = f"""
        echo 'APT::Get::Assume-Yes "true"; APT::Install-Recommends "false";' >/etc/apt/apt.conf.d/90test
        apt-get -qq update && apt-get -qq install curl >/dev/null 2>&1
        {commands}
        apt-cache policy exoip
        exoip --version && exoipctl --version && id exoip && ls -l /etc/exoip
        python{python} -I /exoip/exoip.pyz --version
    """
    text = run(*container(tree, str(releases.first)), "sh", "-euc", script)
    assert "file:/exoip ./" in text, "it comes from the repository"
    assert re.findall(r"^exoip\S* [\d.]+$", text, re.M) == [
        f"{name} {VERSION}" for name in ("exoip", "exoipctl", "exoip")
    ]


def test_the_bill_names_every_library(releases: Releases) -> None:
    bill = json.loads((releases.first / f"exoip-{VERSION}.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    pyz, image = ({one["name"] for one in part["components"]} for part in bill["components"])
    pinned = re.findall(r"^(\S+)==", (ROOT / "packaging/pyz/requirements.txt").read_text(), re.M)
    assert pyz == set(pinned)
    assert {"exoip", "python3-requests", "python3-systemd", "libc6"} <= image
    refs = [one["bom-ref"] for part in bill["components"] for one in (part, *part["components"])]
    assert len(set(refs)) == len(refs)


def interpreter(version: str) -> str:
    """Return a Python of this version: one in the path that runs, or else pyenv's; "" if none."""
    candidates = [shutil.which(f"python{version}")]
    candidates += sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}")))
    return next(
        (one for one in candidates if one and not subprocess.run([one, "--version"], capture_output=True).returncode),
        "",
    )


def test_the_single_file_runs_on_every_python_here(releases: Releases, tmp_path: Path) -> None:
    """A node, its zone and exoipctl, without the libraries of the machine."""
    found = [program for version in PYTHONS if (program := interpreter(version))]
    print("run with", found)
    assert found
    file = str(releases.first / "exoip.pyz")
    for program in found:
        folder = tmp_path / Path(program).name
        with Cluster(nodes=1, observed=False, folder=folder) as cluster:
            words, env = cluster["n1"].words, environment(**cluster["n1"].env)
            python = (program, "-I")
            with subprocess.Popen([*python, file, *words], env=env, stderr=subprocess.PIPE, text=True) as node:
                ctl = (*python, file, "exoipctl", "--runtime-dir", str(folder / "run"))
                print(run(*ctl, "wait", "n1", "--holds", "yes", "--timeout", f"{PATIENCE:g}"))
                assert cluster.holders() == {"n1"}
                node.terminate()
                _, log = node.communicate(timeout=PATIENCE)
            assert node.returncode == 0, log
            assert "Traceback" not in log
