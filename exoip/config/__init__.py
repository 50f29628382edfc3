"""Command line, environment, credentials and file become one frozen `Config`.

In: argv, the environment, files. Out: a `Config` that is valid as a whole, or a `ConfigError` that
names the option, its value and source, and the cure. `options` is the table of options, `values` and
`addresses` parse one value each, `sources` finds where a value comes from, `validation` checks across
options, and `model` holds the result.
"""
