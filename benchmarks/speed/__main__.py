"""Compare the suite's fast paths with plain ones: seconds in turns, peak memory, and whether the answers agree.

    python -m benchmarks.speed                          # what docs/benchmarks.md shows
    python -m benchmarks.speed --write                  # the same, into benchmarks/speed/results
    python -m benchmarks.speed hsnet --kept 0.05,1      # one benchmark; --help after its name shows its options
    python -m benchmarks.speed --list
    python -m benchmarks.speed gpu                      # ops, methods and networks on a GPU

Seconds are those of the processor in all threads, on a GPU those of the clock.
"""

import argparse
import inspect
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.gpu import run as gpu
from benchmarks.speed.harness import (
    OWN_REFERENCE,
    Case,
    check,
    clock_of,
    device_name,
    lines,
    measure,
    write_measurements,
)
from benchmarks.speed.table import RESULTS


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of the table below.

    Attributes:
        function: module in `benchmarks.speed.cases` and function, which yields the cases; its arguments after the
            device are the options.
        opponent: who stands first in each comparison.
        repeats: turns unless the user says otherwise; 0 for a single call.
        shown: options with which docs/benchmarks.md shows it; None where it does not.
        given: arguments of the function that the name stands for, and that are no options.
    """

    function: str
    opponent: str = OWN_REFERENCE
    repeats: int = 3
    shown: str | None = None
    given: Mapping[str, Any] = field(default_factory=dict)

    def cases(self) -> Callable[..., Iterator[Case]]:
        """Return the function; importing it may ask for optional packages."""
        module, _, name = self.function.partition(":")
        function: Callable[..., Iterator[Case]] = getattr(import_module(f"benchmarks.speed.cases.{module}"), name)
        return function


PLAIN_LOADER = "PIL, torchvision and torch as the authors' programs call them, nothing kept (plain), equal pixels"
NOTHING = "nothing: figures of one path"

BENCHMARKS: Mapping[str, Benchmark] = {
    "episodes": Benchmark("methods:episode_cases", NOTHING, repeats=0, shown=""),
    "training-steps": Benchmark("methods:step_cases", NOTHING, repeats=0, shown=""),
    "emat-training": Benchmark(
        "emat:learner_cases",
        "this project's own packed attention on a correlation that is kept for the backward pass as a whole",
    ),
    "emat-attention": Benchmark("emat:attention_cases"),
    "emat-ways": Benchmark("emat:way_cases", "this project's own learner with the whole correlation stored"),
    "emat-episode": Benchmark("emat:episode_cases", NOTHING, repeats=0),
    "shots": Benchmark("shots:cases", NOTHING, repeats=1),
    "ways": Benchmark("shots:way_cases", NOTHING, repeats=1),
    "hsnet": Benchmark("hsnet:cases"),
    "hsnet-episode": Benchmark("hsnet:episode_cases", shown=""),
    "hsnet-process": Benchmark("commands:hsnet_cases", repeats=1, shown=""),
    "dcama": Benchmark("dcama:cases", f"all attention weights at once, torch's dropout: {OWN_REFERENCE}", repeats=1),
    "hmnet": Benchmark(
        "hmnet:cases", f"a loop over tokens (plain): {OWN_REFERENCE}; and with our long scan (long)", repeats=1
    ),
    "promptable": Benchmark(
        "promptable:cases", "the authors' schemes, written by this project: each component, each step anew"
    ),
    "promptable-shares": Benchmark("promptable:share_cases", NOTHING, repeats=0),
    "training-free": Benchmark(
        "training_free:cases",
        "distances by broadcasting, and scikit-learn's average linkage as the methods' authors call it",
    ),
    "matcher": Benchmark(
        "matcher:cases", "one linear program of all ways; the authors' scheme, in which each class is a run of its own"
    ),
    "vrp-sam": Benchmark("vrp_sam:cases", f"all cells, images encoded anew, support by support: {OWN_REFERENCE}"),
    "sansa": Benchmark("sansa:cases", f"frame by frame, nothing kept: {OWN_REFERENCE}"),
    "diam": Benchmark("diam:cases", f"autograd, image after image: {OWN_REFERENCE}"),
    "networks": Benchmark("networks:cases", "the same network in fp32"),
    "kept-features": Benchmark("networks:kept_cases", "the same images with nothing kept", 0),
    "solver": Benchmark("classification:solver_cases", "cvxopt's interior point on the authors' dense program", 5),
    "classifiers": Benchmark("classification:method_cases", NOTHING, repeats=1),
    "features": Benchmark("classification:feature_cases", "every image encoded for every episode", repeats=1),
    "finetune": Benchmark(
        "classification:tuning_cases", "the same steps in a plain training loop, written by this project", 0, ""
    ),
    "loading-pascal": Benchmark("loading:cases", PLAIN_LOADER, shown="--size 384", given={"dataset": "pascal"}),
    "loading-coco": Benchmark("loading:cases", PLAIN_LOADER, shown="--size 384", given={"dataset": "coco"}),
    "folds": Benchmark(
        "folds:cases",
        "the authors' scheme with our own loader and heads: K·(N+1) images encoded an episode, none kept",
        shown="--dataset pascal --method hsnet --shots 1 --episodes 60 --repeats 6",
    ),
    "augmentation": Benchmark(
        "augmentation:cases",
        "the authors' steps one after the other on whole float32 images (chain), equal draws and pixels",
        repeats=9,
    ),
    "predict": Benchmark("predict:cases", "the method's own forward on images that are ready", shown="--dataset demo"),
    "start": Benchmark("commands:start_cases", "the other checkout, where one is given"),
    "report": Benchmark("commands:report_cases", NOTHING, repeats=1, shown=""),
    "tables": Benchmark("commands:table_cases", NOTHING, repeats=1, shown=""),
}
"""Benchmarks by name; the name is that of the file of results, too."""


def add_options(
    parser: argparse.ArgumentParser, function: Callable[..., Any], given: Collection[str] = ()
) -> list[str]:
    """Add an option for each argument of a function that yields cases, but for the device and those that are given.

    Returns:
        Their names.
    """
    names = []
    for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
        if name in given:
            continue
        default = parameter.default
        example = ",".join(map(str, default)) if isinstance(default, tuple) else default
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=_reader(default), default=default, help=f"default: {example}"
        )
        names.append(name)
    return names


def _reader(default: Any) -> Callable[[str], Any]:
    """Return what turns text into a value of the default's type; a tuple is written with commas."""
    if isinstance(default, tuple):
        return lambda text: tuple(type(default[0])(part) for part in text.split(","))
    return str if default is None else type(default)


def run(name: str, arguments: list[str], write: bool = False) -> None:
    """Run one benchmark with its options."""
    benchmark = BENCHMARKS[name]
    function = benchmark.cases()
    about = inspect.getdoc(function)
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.speed {name}", description=about)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", type=torch.device)
    parser.add_argument("--repeats", type=int, default=benchmark.repeats, help="turns; 0: a single call of each path")
    parser.add_argument("--only", default="", help="cases whose name has these words")
    parser.add_argument("--paths", help="only these, the first as the opponent, with commas")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw figures into this file")
    own = add_options(parser, function, benchmark.given)
    options = parser.parse_args(arguments)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    print(f"{device_name(options.device)}; {clock_of(options.device)[0]} seconds. Compared with {benchmark.opponent}.")
    rows = []
    for case in function(options.device, **benchmark.given, **{key: getattr(options, key) for key in own}):
        if options.only in case.what:
            difference = check(case)
            found = measure(_chosen(case, options.paths), options.device, options.repeats)
            print("\n".join(lines(found, difference)), flush=True)
            rows += found
    kept = [word for word in arguments if not word.startswith("--json") and word != str(options.json)]
    file = options.json or (RESULTS / f"{name}.json" if write else None)
    if file:
        command = " ".join(["python -m benchmarks.speed", name, *kept])
        write_measurements(file, command, benchmark.opponent, options.device, rows)


def _chosen(case: Case, paths: str | None) -> Case:
    """Return the case with the paths that are asked for."""
    if paths is None:
        return case
    unknown = [name for name in paths.split(",") if name not in case.paths]
    if unknown:
        raise SystemExit(f"--paths {paths}: {unknown[0]} is none of {', '.join(case.paths)}")
    return Case(**{**vars(case), "paths": {name: case.paths[name] for name in paths.split(",")}})


def main(arguments: list[str]) -> int:
    """Run what the command line asks for; return the exit status."""
    name = arguments[0] if arguments else ""
    if name == "gpu":
        return gpu.main(arguments[1:])
    if name in BENCHMARKS:
        run(name, arguments[1:])
        return 0
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", choices=list(BENCHMARKS), help="one benchmark")
    parser.add_argument("--write", action="store_true", help="into benchmarks/speed/results")
    parser.add_argument("--list", action="store_true", help="names and opponents")
    options = parser.parse_args(arguments)
    for name, benchmark in BENCHMARKS.items():
        if options.list:
            print(f"{name:16} {benchmark.opponent}")
        elif benchmark.shown is not None:
            print(f"\n{name}", flush=True)
            run(name, benchmark.shown.split(), options.write)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
