"""memoflow: cached steps, checkpoints and models for Metaflow, in one content-addressed store."""

# A literal: distribution metadata does not travel into remote tasks.
__version__ = "0.1.0"

# Metaflow reads this: the whole package goes into every code package.
METAFLOW_PACKAGE_POLICY = "include"
