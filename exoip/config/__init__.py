"""Command line, environment, credentials and file become one frozen `Config`.

In: argv, the environment, files. Out: a `Config` that is valid as a whole, or a `ConfigError` that
names the option, its value and source, and the cure. `options` is the table of options, whose rows
are the fields of `Config`. `sources` finds the text of each option, `values` and `addresses` read
one text each, `validation` checks across options, and `parse` builds the `Config` from all that.
`help` writes --help and -n. `model` has the small types that `Config` uses.
"""
