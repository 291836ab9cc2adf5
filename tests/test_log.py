"""The one logger: as a library in silence, in flows printed once, and by one level."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.waiting import PATIENCE_S

BEGIN = "import logging, sys\nfrom memoflow.log import log, report, WARNING\n"
LINES = """
report("[memoize] hit", print)
report("[memoize] off", print, WARNING)
"""


def ran(code: str, **env: str) -> tuple[list[str], list[str]]:
    """Return the lines of output and of errors of a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={key: value for key, value in os.environ.items() if "LOG_LEVEL" not in key} | env,
        timeout=PATIENCE_S,
        check=True,
    )
    return done.stdout.splitlines(), done.stderr.splitlines()


def level(name: str) -> dict[str, str]:
    return {"METAFLOW_MEMOFLOW_LOG_LEVEL": name}


SAID = "log.debug('d'); log.info('i'); log.warning('w'); log.error('e')"


def test_a_library_shows_warnings_and_configures_nothing():
    code = f"{BEGIN}{SAID}; print(logging.root.handlers, logging.root.level, log.handlers)"
    assert ran(code) == (["[] 30 []"], ["w", "e"])


@pytest.mark.parametrize(
    ("name", "shown"),
    [("DEBUG", "diwe"), ("info", "iwe"), ("Warning", "we"), ("ERROR", "e"), ("critical", "")],
)
def test_the_setting_is_the_least_level(name: str, shown: str):
    assert ran(BEGIN + SAID, **level(name)) == ([], list(shown))


@pytest.mark.parametrize("name", ["", "DEBUG"])
def test_records_come_once_to_handlers_of_the_program(name: str):
    code = f"{BEGIN}logging.basicConfig(format='%(name)s %(message)s')\n{SAID}"
    shown = "diwe" if name else "we"
    assert ran(code, **level(name)) == ([], [f"memoflow {each}" for each in shown])


def test_a_wrong_level_is_ignored_and_told_once_with_the_right_ones():
    child = "import subprocess; subprocess.run([sys.executable, '-c', 'import memoflow.log'])"
    _, errors = ran(f"{BEGIN}{SAID}\n{child}", **level("loud"))
    assert errors == [
        "METAFLOW_MEMOFLOW_LOG_LEVEL is 'loud', which is ignored; set it to one of DEBUG, INFO, "
        "WARNING, ERROR, CRITICAL",
        "w",
        "e",
    ]


def test_lines_of_flows_are_printed_without_any_setting():
    assert ran(BEGIN + LINES) == (["[memoize] hit", "[memoize] off"], [])


@pytest.mark.parametrize("name", ["WARNING", "ERROR"])
def test_the_setting_hides_lines_of_flows(name: str):
    assert ran(BEGIN + LINES, **level(name))[0] == ["[memoize] off"] * (name == "WARNING")


def test_a_level_set_in_code_hides_lines_as_well():
    assert ran(f"{BEGIN}log.setLevel(WARNING)\n{LINES}") == (["[memoize] off"], [])


COLLECTS = """
class Keeps(logging.Handler):
    def emit(self, record): print("kept", record.levelname, record.getMessage())
"""
KEPT = ["kept INFO [memoize] hit", "[memoize] hit", "kept WARNING [memoize] off", "[memoize] off"]


@pytest.mark.parametrize(
    "configured",
    [
        "log.addHandler(Keeps())",
        "log.addHandler(Keeps()); log.setLevel('INFO')",
        "logging.basicConfig(level='INFO', handlers=[Keeps()])",
    ],
)
def test_a_handler_gets_the_lines_as_records(configured: str):
    assert ran(f"{BEGIN}{COLLECTS}{configured}\n{LINES}") == (KEPT, [])


def test_a_handler_that_prints_prints_a_line_once():
    assert ran(f"{BEGIN}logging.basicConfig(level='INFO')\n{LINES}") == (
        [],
        ["INFO:memoflow:[memoize] hit", "WARNING:memoflow:[memoize] off"],
    )


def test_a_program_with_handlers_for_warnings_shows_hits_as_before():
    code = f"{BEGIN}logging.basicConfig()\n{LINES}"
    assert ran(code) == (["[memoize] hit"], ["WARNING:memoflow:[memoize] off"])


def test_a_configuration_that_disables_loggers_loses_no_line():
    code = f"{BEGIN}import logging.config\nlogging.config.dictConfig(dict(version=1))\n{LINES}"
    assert ran(code) == (["[memoize] hit", "[memoize] off"], [])


def test_control_characters_are_spelled_out():
    out, errors = ran(f"{BEGIN}report('a\\x1b[2J', print); log.warning('b\\x1b[2J')")
    assert (out, errors) == (["a\\x1b[2J"], ["b\\x1b[2J"])
