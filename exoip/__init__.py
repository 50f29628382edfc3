"""Keep an Exoscale Elastic IP on a live instance.

`__version__` is the one place the version is written; the packaging reads it from here.
"""

__version__ = "1.0.0"
