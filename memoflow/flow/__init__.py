"""Flow: Metaflow's decorators, scheduler and command line."""

# First: while Metaflow is imported it loads its plugins, and modules of this room are two of them.
import metaflow  # noqa: F401
