"""Which files and functions of the suite run until the first prediction: `python -m benchmarks.traced_run`.

A method's object answers a test of the demo through `fsbench.evaluate`. Files and functions are counted from the call
on, with everything that is imported and built before, since bodies of modules and classes call functions, too: the
figures of docs/architecture.md, "From a call to the first prediction". A comprehension is no function, as Python 3.12
has it.
"""

import argparse
import inspect
import sys
import tempfile
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import fsbench.runner.evaluation.method  # noqa: F401  (else the call imports it)
from fsbench.core.prediction import Prediction
from fsbench.methods.prototype import Prototype
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.runner.config.tests import load_test
from fsbench.runner.evaluation.evaluate import evaluate

SUITE = Path(__file__).parent.parent / "fsbench"
COMPREHENSIONS = ("<listcomp>", "<dictcomp>", "<setcomp>")


def traced_functions() -> dict[Path, list[str]]:
    """Return the functions of the suite that run between the call and the first prediction, by file, in their order."""
    method, test = Prototype(BackboneConfig(name="demo")), load_test("demo", protocol="pfenet", episodes=1)
    called: dict[CodeType, None] = {}
    done = Prediction.__init__.__code__

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            called[frame.f_code] = None
            if frame.f_code is done:
                sys.setprofile(None)

    with tempfile.TemporaryDirectory() as runs:
        sys.setprofile(note)
        try:
            evaluate(method, test, image_size=128, runs=runs, progress=False)
        finally:
            sys.setprofile(None)
    functions: dict[Path, list[str]] = {}
    for code in called:
        file = Path(code.co_filename)
        is_function = code.co_flags & inspect.CO_OPTIMIZED and code.co_name not in COMPREHENSIONS
        if SUITE in file.parents and is_function:  # no body of a class or a module
            functions.setdefault(file.relative_to(SUITE.parent), []).append(code.co_qualname)
    return functions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="name every function, in the order of their first calls")
    options = parser.parse_args()
    functions = traced_functions()
    if options.list:
        for file, names in functions.items():
            print(f"{file}: {', '.join(names)}")
    print(f"{len(functions)} files, {sum(map(len, functions.values()))} functions until the first prediction")


if __name__ == "__main__":
    main()
