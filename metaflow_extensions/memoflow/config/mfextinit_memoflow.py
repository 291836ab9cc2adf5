"""Signpost: settings, each read from METAFLOW_<NAME> or the Metaflow profile.

In a task on another machine, which has neither, they are what they were where it was launched.
"""

import sys

from metaflow.metaflow_config_funcs import from_conf

from memoflow.flow.task import dependencies, launch_info

dependencies.use_installed()

# Where the store is kept; None means <datastore root>/memoflow.
MEMOFLOW_ROOT = from_conf("MEMOFLOW_ROOT", launch_info.setting("MEMOFLOW_ROOT"))
# on, off, read-only, only or shadow; None means what each @memoize says.
MEMOFLOW_MODE = from_conf("MEMOFLOW_MODE", launch_info.setting("MEMOFLOW_MODE"))
# Steps to run anew, separated by commas: `fit`, `fit+` (and all after it) or `all`.
MEMOFLOW_REFRESH = from_conf("MEMOFLOW_REFRESH", launch_info.setting("MEMOFLOW_REFRESH"))
# Whether stdout and stderr of tasks are kept with their results, and given to hits.
MEMOFLOW_LOGS = from_conf("MEMOFLOW_LOGS", launch_info.setting("MEMOFLOW_LOGS") or "1")
# Whether @checkpoint, @model and @huggingface_hub are memoflow's; 0 leaves them to others.
MEMOFLOW_CHECKPOINT = from_conf("MEMOFLOW_CHECKPOINT", launch_info.setting("MEMOFLOW_CHECKPOINT"))
# eager, fresh or none; None means what each @checkpoint says.
MEMOFLOW_CHECKPOINT_LOAD = from_conf(
    "MEMOFLOW_CHECKPOINT_LOAD", launch_info.setting("MEMOFLOW_CHECKPOINT_LOAD")
)
# step or all: whether the hits in a wide foreach are counted, or have a line each.
MEMOFLOW_LINES = from_conf("MEMOFLOW_LINES", launch_info.setting("MEMOFLOW_LINES"))
# Whether a run gets a tag of its hits, such as memo:6/7.
MEMOFLOW_TAG = from_conf("MEMOFLOW_TAG", launch_info.setting("MEMOFLOW_TAG") or "1")
# Budget of the store, such as "50GB"; least recently used entries go first.
MEMOFLOW_MAX_SIZE = from_conf("MEMOFLOW_MAX_SIZE", launch_info.setting("MEMOFLOW_MAX_SIZE"))
# Whether a task may install what memoflow needs and its image has not.
MEMOFLOW_INSTALL = from_conf("MEMOFLOW_INSTALL", launch_info.setting("MEMOFLOW_INSTALL") or "1")

# Whether a store with a signing key uses what metaflow-checkpoint saved, which nothing signs.
MEMOFLOW_LEGACY = from_conf("MEMOFLOW_LEGACY", launch_info.setting("MEMOFLOW_LEGACY") or "0")
# DEBUG, INFO, WARNING, ERROR or CRITICAL: the least that is logged, and printed by flows.
MEMOFLOW_LOG_LEVEL = from_conf("MEMOFLOW_LOG_LEVEL", launch_info.setting("MEMOFLOW_LOG_LEVEL"))
if MEMOFLOW_LOG_LEVEL:
    # Here, since most have no setting, and Metaflow reads its configuration at each start.
    from memoflow import log

    log.set_level(MEMOFLOW_LOG_LEVEL)
# A file to which events are appended as lines of JSON; on another machine a file of that one.
MEMOFLOW_EVENTS = from_conf("MEMOFLOW_EVENTS", launch_info.setting("MEMOFLOW_EVENTS"))
if MEMOFLOW_EVENTS:
    # Here, as above.
    from memoflow import events

    events.use(MEMOFLOW_EVENTS)


def get_pinned_conda_libs(python_version, datastore_type):
    """Return what an environment of @pypi or @conda needs for memoflow."""
    return dependencies.of_environment(sys._getframe(1))
