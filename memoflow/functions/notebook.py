"""Notebooks: `%load_ext memoflow`, and the magic `%%memo` that keeps the results of a cell."""

from __future__ import annotations

import ast
import difflib
import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from keyword import iskeyword
from types import CodeType, FunctionType, TracebackType
from typing import Any

from IPython.core.error import UsageError as NotebookError
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from memoflow.dataclass import dataclass
from memoflow.errors import MemoflowError, NoFingerprintError, UsageError
from memoflow.functions.call import Call
from memoflow.functions.cell import Cell
from memoflow.functions.memoized import MemoizedFunction
from memoflow.functions.options import MODES, FunctionOptions
from memoflow.functions.place import Place
from memoflow.functions.run import CallRecorder
from memoflow.kinds.memo import MemoEntry
from memoflow.tracking import AccessTracker
from memoflow.units import moment, span

_MOST_SHOWN = 5  # names in a line


def load_ipython_extension(shell: Any) -> None:
    """Define the magic `%%memo` of a notebook; `%load_ext memoflow` calls this."""

    def memo(line: str, cell: str) -> None:
        __tracebackhide__ = True
        _memo(shell, parse_argstring(magic, line), cell)

    memo.__doc__ = _DOC
    for each in reversed(_ARGUMENTS):
        memo = each(memo)
    magic = magic_arguments()(memo)
    shell.register_magic_function(magic, "cell", "memo")


_DOC = """Keep the results of a cell, and load them where it would compute the same again.

    %%memo model score
    model = fit(table)
    score = evaluate(model)

The names are the results. The same is a cell with the same syntax, that reads variables of the
same value, in an equal environment, with the same code of the functions and classes that it
reaches. Files and environment variables that it read are compared, too. What it prints or draws
is not repeated where its results are loaded, and other variables that it sets are not there.

A variable that it reads and changes must be one of the results. One that a loop, a `with` or a
`:=` may set, and that is read after it, is unset when the cell begins, as in a new notebook.
"""
_ARGUMENTS = (
    argument("names", nargs="*", help="variables that the cell sets: its results"),
    argument("--ttl", help="how long the results may be used, such as 30d"),
    argument("--ignore", help="variables that do not count, with commas between them"),
    argument("--version", default="", help="a part of the key"),
    argument("--mode", choices=MODES, help="only: an error instead of a run"),
    argument("--store", help="a directory or an address; else where Metaflow keeps its"),
    argument("--anew", action="store_true", help="run and keep anew, whatever is stored"),
)


def _memo(shell: Any, given: Any, text: str) -> None:
    __tracebackhide__ = True
    names = tuple(dict.fromkeys(given.names))
    wrong = [name for name in names if not name.isidentifier() or iskeyword(name)]
    if wrong:
        raise NotebookError(f"{wrong[0]!r} is no name of a variable: %%memo model score --ttl 30d")
    if not names:
        raise NotebookError("name the results of the cell: %%memo model score")
    given_options = {name: getattr(given, name) for name in ("ttl", "ignore", "version", "mode")}
    store = given.store and given.store.strip("'\"")
    try:
        options = FunctionOptions.of(store=store, **given_options)
    except UsageError as error:
        raise NotebookError(str(error)) from None
    source = shell.transform_cell(text)
    path = shell.compile.cache(source, shell.execution_count, raw_code=text)
    tree = shell.transform_ast(shell.compile.ast_parse(source, filename=path))
    run = CellRun(shell, names, Cell(tree, names), path, is_quiet=source.rstrip().endswith(";"))
    try:
        print(run.line(options, anew=given.anew))
    except BaseException as error:
        of_cell = _from(path, error)
        if of_cell is None and isinstance(error, MemoflowError):
            raise NotebookError(str(error)) from None
        raise error.with_traceback(of_cell or error.__traceback__)  # noqa: B904
    finally:
        run.restore()


def _from(path: str, error: BaseException) -> TracebackType | None:
    """Return the traceback of an error from the cell on, None if it comes from elsewhere."""
    at = error.__traceback__
    while at is not None and at.tb_frame.f_code.co_filename != path:
        at = at.tb_next
    return at


class CellRun:
    """One run of one cell in the namespace of its notebook, or the loading of its results."""

    def __init__(
        self, shell: Any, names: tuple[str, ...], cell: Cell, path: str, *, is_quiet: bool
    ) -> None:
        self._names = names
        self._cell = cell
        self._globals = shell.user_global_ns
        self._variables = shell.user_ns
        self._code = _compiled(shell, cell.tree, path, is_quiet=is_quiet)
        unset = cell.starts_unset & self._variables.keys()
        self._hidden = {name: self._variables.pop(name) for name in unset}
        self.before = dict(self._variables)
        self.is_kept = False
        self._took_s = 0.0

    def restore(self) -> None:
        """Bring back the variables that were unset for the cell and that it has not set."""
        for name, value in self._hidden.items():
            self._variables.setdefault(name, value)

    def line(self, options: FunctionOptions, *, anew: bool) -> str:
        """Run the cell or load its results; return the line about it."""
        __tracebackhide__ = True
        # Classes of other cells are there by their names; those of this one may not be.
        options = replace(options, codec="auto" if self._cell.defines else "pickle")
        if self._cell.looks_up:
            self.run()
            return self._missed(f"{min(self._cell.looks_up)} may read any variable")
        try:
            code = self._cell.function(f"cell_{'_'.join(self._names)}", self._variables)
        except SyntaxError as error:
            self.run()
            return self._missed(f"{error.msg}: what it reads cannot be told")
        function = CellFunction(code, options, self)
        self._variables.update(function.call() if anew else function())
        if function.shadow.line:
            return f"[memo] ran in {span(self._took_s)}; {function.shadow.line}"
        entry = function.entry
        if entry is None:
            return self._missed("" if self.is_kept else function.why_not)
        when = moment(entry.ref.created)
        return f"[memo] hit: {_some(self._names)} from {when}, {span(entry.run_time_s)} saved"

    def _missed(self, why_not: str) -> str:
        ran = f"[memo] ran in {span(self._took_s)}"
        if why_not:
            return f"{ran}; not kept: {why_not}"
        others = sorted(self._cell.sets & self._variables.keys() - {*self._names})
        them = "it" if len(others) == 1 else "them"
        also = f"; also sets: {_some(others)} (a hit will not have {them})" if others else ""
        return f"{ran}; kept: {_some(self._names)}{also}"

    def run(self) -> dict[str, Any]:
        """Run the cell; return its results. UsageError names one that it does not set."""
        began = time.perf_counter()
        for code in self._code:
            exec(code, self._globals, self._variables)
        self._took_s = time.perf_counter() - began
        for name in self._names:
            if not self._is_result(name):
                close = difflib.get_close_matches(name, self._cell.sets, n=1)
                hint = f" (did you mean {close[0]}?)" if close else ""
                raise UsageError(f"the cell does not set {name}{hint}; nothing is kept")
        return {name: self._variables[name] for name in self._names}

    def _is_result(self, name: str) -> bool:
        if name not in self._variables:
            return False
        is_new = self._variables[name] is not self.before.get(name)
        return is_new or name in self._cell.names

    def side_effect(self, changed: set[str]) -> str | None:
        """Return the change of the cell, among these, that loading its results would not make."""
        new = self._cell.sets - self.before.keys()
        for name in sorted(changed - {*self._names} - new):
            if name in self.before:
                return f"it changes {name}, which it reads: name it as a result"
            return f"{name}, which it reads, changed while it ran"
        for name in changed & self.before.keys():
            value = self.before[name]
            others = [other for other, each in self.before.items() if each is value]
            others = [each for each in others if each not in self._names and each[0] != "_"]
            if self._variables.get(name) is value and others:
                return f"it changes {name}, which {others[0]} is as well: name it as a result"
        return None


@dataclass(frozen=True)
class CellRecorder(CallRecorder):
    """The recording of a cell, unless it changed a variable that is not one of its results."""

    cell: CellRun

    def store(self, call: Call, tracker: AccessTracker, value: Any, run_time_s: float) -> bool:
        self.cell.is_kept = super().store(call, tracker, value, run_time_s)
        return self.cell.is_kept

    def _change(self, call: Call) -> str | None:
        return self.cell.side_effect(self.code.changes() or set())


class CellFunction(MemoizedFunction):
    """A cell as a function without arguments, which returns its results by their names.

    Its fingerprint is that of `code`; what runs is the cell itself.
    """

    def __init__(self, code: FunctionType, options: FunctionOptions, cell: CellRun) -> None:
        super().__init__(code, options)
        self._runs = CellRecorder(**vars(self._runs), cell=cell)
        self._cell = cell
        self.shadow.is_summed = False  # Its line has it.
        self.why_not = ""  # its results are not kept
        self.entry: MemoEntry | None = None  # from which its results were loaded

        @functools.wraps(code)
        def run() -> dict[str, Any]:
            __tracebackhide__ = True
            return cell.run()

        self.__wrapped__ = run

    def _prepare(self, given: tuple[Any, ...], named: Mapping[str, Any]) -> Call | None:
        call = super()._prepare(given, named)
        mode = self.options.effective_mode
        if mode not in ("on", "shadow"):
            self.why_not = f"mode {mode}"
        elif call is None:
            self.why_not = self.why_not or "its store cannot be used"
        return call

    def _call_of(self, place: Place, given: tuple[Any, ...], named: Mapping[str, Any]) -> Call:
        call = super()._call_of(place, given, named)
        for part in call.code.by_class:
            if part.name in self._cell.before:
                raise NoFingerprintError(part.name, f"of {part.summary} only the class is known")
        return call

    def _loaded(self, call: Call, entry: MemoEntry) -> Any:
        value = super()._loaded(call, entry)
        self.entry = entry
        return value

    def _trouble(self, error: Exception) -> None:
        self.why_not = str(error)
        super()._trouble(error)

    def _say(self, line: str) -> None:
        about, _, why = line.partition(": ")
        if about in ("not stored", "not cached"):
            self.why_not = why
        else:
            super()._say(line)


def _compiled(shell: Any, tree: ast.Module, path: str, *, is_quiet: bool) -> list[CodeType]:
    """Return the code of a cell, with that of a last expression apart: its value is displayed."""
    *body, last = tree.body or [ast.Pass()]
    if not isinstance(last, ast.Expr) or is_quiet:
        return [shell.compile(tree, path, "exec")]
    return [
        shell.compile(ast.Module(body, []), path, "exec"),
        shell.compile(ast.Interactive([last]), path, "single"),
    ]


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_SHOWN
    return ", ".join(names[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")
