"""Signpost: what memoflow adds to Metaflow."""

import memoflow.flow.flags  # noqa: F401  adds --memo and --memo-refresh when `run` is loaded

STEP_DECORATORS_DESC = [("memoize", "memoflow.flow.memoize.MemoizeDecorator")]
