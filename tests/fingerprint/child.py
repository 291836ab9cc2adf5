"""A process that forks one fresh child for each request, and fingerprints what it loads there.

A request is a JSON line: the directory to work in, the code to run, and an expression whose
value is printed. Forking keeps the cost of starting Python out of each of a hundred cases.
"""

import json
import os
import sys
import time


def answer(request: dict) -> str:
    from memoflow.errors import NoFingerprintError
    from memoflow.fingerprint import (
        of_constant,
        of_function,
        of_references,
        of_step,
        of_value,
        source,
    )

    sys.dont_write_bytecode, sys.stdout = True, sys.stderr
    # As if this process had begun after the files were written.
    source._LOADED = time.time()
    os.chdir(request["directory"])
    sys.path[:0] = [*request.get("path", ()), request["directory"]]
    scope = {
        "of_constant": of_constant,
        "of_function": of_function,
        "of_references": of_references,
        "of_step": of_step,
        "of_value": of_value,
        "is_step": lambda f: hasattr(f, "is_step"),
    }
    try:
        exec(request["run"], scope)
        value = eval(request["show"], scope)
    except NoFingerprintError as error:
        return json.dumps({"error": error.path, "reason": error.reason})
    parts = [[*part.to_json(), part.source] for part in getattr(value, "parts", ())]
    return json.dumps({"value": value, "parts": parts})


def main() -> None:
    import memoflow.fingerprint  # noqa: F401  loaded once, before the forks

    for name in filter(None, os.environ.get("PRELOAD", "").split(",")):
        __import__(name)
    for line in sys.stdin:
        read, write = os.pipe()
        child = os.fork()
        if not child:
            try:
                text = answer(json.loads(line))
            except BaseException:
                import traceback

                text = json.dumps({"crash": traceback.format_exc()})
            with os.fdopen(write, "w") as pipe:
                pipe.write(text)
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            text = pipe.read()
        os.waitpid(child, 0)
        print(text, flush=True)


if __name__ == "__main__":
    main()
