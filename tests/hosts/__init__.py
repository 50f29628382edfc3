"""Whole Debian machines with systemd as PID 1 and exoip's package installed: run by
`script/test-hosts`, as root.
"""
