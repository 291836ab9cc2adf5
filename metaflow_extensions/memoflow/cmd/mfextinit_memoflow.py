"""Signpost: what memoflow adds to the command `metaflow`."""

CMDS_DESC = [("memoflow", "memoflow.cli.front_doors.of_metaflow")]
