"""Print the files that one run goes through: `python -m benchmarks.trace [--root CHECKOUT] [--names]`.

Runs `fsbench bench` of EMAT on the demo as a trial, by the code and the `.venv` of a checkout, in an empty folder, and
prints, stage by stage, the files of the checkout whose functions ran, in any of the processes. A stage is a package, or
several; a file that belongs to none (of `fsbench/files`, `errors.py`) counts in each stage that calls it. Functions
that run while a module is imported do not count. `--names` prints the functions, too.

The processes are watched from outside: Python runs `sitecustomize` in each of them, and that sets a profile function.
"""

import argparse
import json
import os
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

STAGES = {
    "request": ("fsbench/cli", "fsbench/config", "fsbench/__main__.py"),
    "plan": ("fsbench/grid", "fsbench/papers"),
    "run": ("fsbench/engine",),
    "data": ("datamodules", "fsbench/data", "fsbench/episodes", "fsbench/protocols"),
    "method": ("methods", "fsbench/core", "fsbench/backbones", "fsbench/ops", "fsbench/weights"),
    "count": ("fsbench/metrics",),
    "record": ("fsbench/records",),
    "table": ("fsbench/tables",),
}
"""Packages and files by the stage that they are, in the order of a run."""

UNTIL_PREDICTION = ("request", "plan", "run", "data", "method")
OPTIONS = "options of other commands"
"""Stage of the files of `fsbench/cli` that only register options."""

PARSERS = ("add_command", "build_parser")
"""Functions under which commands register their options; the second is that of older states."""

COMMAND = ("bench", "--method", "emat", "--dataset", "demo", "--fast", "--runs", "runs")

WATCHER = '''
import json, os, sys, threading
from inspect import CO_OPTIMIZED

root, output = os.environ["TRACE_ROOT"] + os.sep, os.environ["TRACE_OUTPUT"]
stages, parsers = json.loads(os.environ["TRACE_STAGES"]), json.loads(os.environ["TRACE_PARSERS"])
packages, files, seen = ("fsbench", "methods", "datamodules"), {}, set()


def place(name):
    """Return the path of a source file within the checkout and its stage, or None for another's."""
    if name not in files:
        path = name.removeprefix(root).replace(os.sep, "/") if name.startswith(root) else ""
        parts = path.split("/")
        above = {"/".join(parts[:n]) for n in range(1, len(parts) + 1)}
        owners = [stage for stage, places in stages.items() if above.intersection(places)]
        files[name] = (path, owners[0] if owners else None) if parts[0] in packages else None
    return files[name]


def watch(frame, event, argument):
    code = frame.f_code
    if event != "call" or not code.co_flags & CO_OPTIMIZED:
        return
    found = place(code.co_filename)
    if found is None or (code, found[1]) in seen:
        return
    path, stage = found
    is_command, at = path.startswith("fsbench/cli/"), frame
    while at is not None:
        above = place(at.f_code.co_filename)
        if above is not None:
            if at.f_code.co_name == "<module>" and at.f_globals.get("__name__") != "__main__":
                return  # a module is being imported
            if is_command and at is not frame and at.f_code.co_name in parsers:
                stage = os.environ["TRACE_OPTIONS"]
            stage = stage or above[1]
        at = at.f_back
    if (code, stage) in seen:
        return
    seen.add((code, stage))
    with open(output, "a") as file:
        file.write(json.dumps([stage or "request", path, code.co_qualname]) + "\\n")


threading.setprofile(watch)
sys.setprofile(watch)
'''
"""The `sitecustomize.py` of the watched processes."""

Trace = Mapping[str, Mapping[str, set[str]]]
"""Names of functions by file and stage."""


def traced_run(root: Path) -> Trace:
    """Run the trial by the code of the checkout `root` and return what ran.

    Raises:
        SystemExit: the command failed; with what it printed.
    """
    python = root / ".venv/bin/python"
    if not python.is_file():
        raise SystemExit(f"{root} has no .venv/bin/python; make one there with: make venv")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "site").mkdir()
        (folder / "site/sitecustomize.py").write_text(WATCHER, encoding="utf-8")
        watched = {
            "PYTHONPATH": os.pathsep.join([str(folder / "site"), str(root)]),
            "PYTHONSAFEPATH": "1",
            "TRACE_ROOT": str(root),
            "TRACE_OUTPUT": str(folder / "trace"),
            "TRACE_STAGES": json.dumps(STAGES),
            "TRACE_PARSERS": json.dumps(PARSERS),
            "TRACE_OPTIONS": OPTIONS,
            "FSBENCH_CACHE": str(folder / "cache"),
            "WANDB": "off",
        }
        command = [str(python), "-m", "fsbench", *COMMAND]
        done = subprocess.run(
            command, cwd=folder, env=os.environ | watched, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
        lines = (folder / "trace").read_text(encoding="utf-8").splitlines()
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for stage, path, name in map(json.loads, lines):
        found[stage][path].add(name)
    for path in [path for path in found[OPTIONS] if any(path in found[stage] for stage in STAGES)]:
        del found[OPTIONS][path]
    return found


def report(trace: Trace, with_names: bool) -> str:
    """Return the files of every stage, and their numbers, as text."""
    lines = []
    for stage in (*STAGES, OPTIONS):
        files = trace.get(stage, {})
        lines.append(f"{stage}: {len(files)} files, {sum(map(len, files.values()))} functions")
        for path, names in sorted(files.items()):
            lines.append(f"    {path} {len(names)}")
            lines += [f"        {name}" for name in sorted(names) if with_names]
    until = {path for stage in UNTIL_PREDICTION for path in trace.get(stage, {})}
    whole = {path for stage in STAGES for path in trace.get(stage, {})}
    return "\n".join(
        [
            *lines,
            "",
            *(f"{stage:12} {len(trace.get(stage, {})):4}" for stage in STAGES),
            f"from the command to the prediction ({', '.join(UNTIL_PREDICTION)}): {len(until)} files",
            f"in the whole run: {len(whole)} files, and {len(trace.get(OPTIONS, {}))} that only register options",
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The files that one run goes through.")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="checkout to run, with its .venv")
    parser.add_argument("--names", action="store_true", help="print the functions, too")
    options = parser.parse_args()
    print(report(traced_run(options.root.resolve()), options.names))
