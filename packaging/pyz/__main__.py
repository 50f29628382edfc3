"""Runs exoip, exoipctl or exoip-sandbox, all of which are in this file.

The name that it was called by decides, and then the first word:

    exoipctl status            exoipctl is a link to this file
    exoip.pyz exoipctl status
    exoip.pyz -W -c eip.conf
"""

import importlib
import os
import sys

PROGRAMS = {"exoip": "exoip.__main__", "exoipctl": "exoip.ctl.__main__", "exoip-sandbox": "exoip.sandbox.__main__"}


def main():
    """Run the program; return its exit code or None."""
    name = os.path.basename(sys.argv[0])
    if name == "exoip" or name not in PROGRAMS:
        name = sys.argv.pop(1) if sys.argv[1:2] and sys.argv[1] in PROGRAMS else "exoip"
    return importlib.import_module(PROGRAMS[name]).main()


if sys.version_info < (3, 11):  # an old Python has to understand all that is above
    here = "%d.%d" % sys.version_info[:2]
    sys.exit("exoip needs Python 3.11 or newer, and this is %s: python3.11 %s" % (here, sys.argv[0]))
sys.exit(main())
