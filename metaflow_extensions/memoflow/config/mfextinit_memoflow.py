"""Signpost: settings, each read from METAFLOW_<NAME> or the Metaflow profile."""

from metaflow.metaflow_config_funcs import from_conf

# Where the store is kept; None means <datastore root>/memoflow.
MEMOFLOW_ROOT = from_conf("MEMOFLOW_ROOT")
# on, off, read-only or only; None means what each @memoize says.
MEMOFLOW_MODE = from_conf("MEMOFLOW_MODE")
# Steps to run anew, separated by commas: `fit`, `fit+` (and all after it) or `all`.
MEMOFLOW_REFRESH = from_conf("MEMOFLOW_REFRESH")
# Budget of the store, such as "50GB"; least recently used entries go first.
MEMOFLOW_MAX_SIZE = from_conf("MEMOFLOW_MAX_SIZE")
