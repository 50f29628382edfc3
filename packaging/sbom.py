"""Prints the bill of materials of a release, in CycloneDX 1.5: what exoip.pyz and the image contain.

    python3 packaging/sbom.py VERSION SECONDS EXOIP.PYZ [IMAGE.TAR]

The libraries in exoip.pyz are read from its metadata, with the hash that PyPI's file had; the
packages in the image from its dpkg database. SECONDS: Unix time of the release.
"""

from __future__ import annotations

import json
import re
import sys
import tarfile
import uuid
import zipfile
from datetime import UTC, datetime
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).parent / "pyz" / "requirements.txt"
STATUS = "var/lib/dpkg/status"


def libraries(pyz: str) -> list[dict[str, Any]]:
    """Return the libraries in the single file."""
    hashes = dict(re.findall(r"^(\S+)==\S+ --hash=sha256:(\w+)$", REQUIREMENTS.read_text(), re.M))
    found = []
    with zipfile.ZipFile(pyz) as archive:
        for name in archive.namelist():
            if name.endswith(".dist-info/METADATA"):
                fields = HeaderParser().parsestr(archive.read(name).decode())
                library = re.sub(r"[-_.]+", "-", fields["Name"]).lower()
                licence = fields["License-Expression"] or fields["License"]
                found.append(
                    {
                        **component("library", library, fields["Version"], f"pkg:pypi/{library}@{fields['Version']}"),
                        "hashes": [{"alg": "SHA-256", "content": hashes[library]}],
                        **({"licenses": [{"license": {"name": licence}}]} if licence else {}),
                    }
                )
    return found


def packages(image: str) -> list[dict[str, Any]]:
    """Return the Debian packages in the image: those of its last layer that has the database."""
    status = ""
    with tarfile.open(image) as archive:
        for layer in json.load(archive.extractfile("manifest.json"))[0]["Layers"]:  # type: ignore[arg-type]
            with tarfile.open(fileobj=archive.extractfile(layer)) as files:
                if STATUS in files.getnames():
                    status = files.extractfile(STATUS).read().decode()  # type: ignore[union-attr]
    found = []
    for paragraph in status.strip().split("\n\n"):
        fields = HeaderParser().parsestr(paragraph)
        name, version = fields["Package"], fields["Version"]
        purl = f"pkg:deb/debian/{name}@{version.replace(':', '%3A').replace('+', '%2B')}?arch={fields['Architecture']}"
        found.append(component("library", name, version, purl))
    return found


def component(kind: str, name: str, version: str, purl: str) -> dict[str, Any]:
    """Return what every component has."""
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}


def part(kind: str, name: str, version: str, components: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a file of the release with what it contains."""
    return {"type": kind, "bom-ref": name, "name": name, "version": version, "components": components}


def bill(version: str, seconds: str, pyz: str, image: str = "") -> dict[str, Any]:
    """Return the whole document."""
    parts = [part("application", "exoip.pyz", version, libraries(pyz))]
    if image:
        parts.append(part("container", "exoip-image", version, packages(image)))
    product = component("application", "exoip", version, f"pkg:generic/exoip@{version}")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([product, *parts]))}",
        "version": 1,
        "metadata": {"timestamp": datetime.fromtimestamp(int(seconds), UTC).isoformat(), "component": product},
        "components": parts,
        "dependencies": [{"ref": product["bom-ref"], "dependsOn": [one["bom-ref"] for one in parts]}],
    }


if __name__ == "__main__":
    json.dump(bill(*sys.argv[1:]), sys.stdout, indent=1)
    sys.stdout.write("\n")
