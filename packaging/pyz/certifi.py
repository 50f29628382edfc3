"""Stands in for certifi, which requests asks for certificates: names those of the system.

Distributions do the same. The system's updates keep them current; a copy in this file would age.
"""

import os
import ssl

BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch, Flatcar
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
)


def where():
    """Return the path of the bundle: the one that OpenSSL was told to use, or the first known."""
    known = [ssl.get_default_verify_paths().cafile, *BUNDLES]
    return next((path for path in known if path and os.path.exists(path)), BUNDLES[0])
