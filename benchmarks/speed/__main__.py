"""Compare the suite's fast paths with plain ones: seconds in turns, peak memory, and whether the answers agree.

    python -m benchmarks.speed                          # all of docs/benchmarks.md
    python -m benchmarks.speed --write                  # the same, into benchmarks/speed/results
    python -m benchmarks.speed plain-forms --methods hsnet   # one; --help after its name shows its options
    python -m benchmarks.speed --list

Seconds are those of the processor in all threads, on a GPU those of the clock.
"""

import argparse
import inspect
import sys
from pathlib import Path

import torch

from benchmarks.speed.benchmarks import BENCHMARKS
from benchmarks.speed.harness import RESULTS, check, clock_of, device_name, lines, measure, write_measurements


def run(name: str, arguments: list[str], write: bool = False) -> None:
    """Run one benchmark with its options."""
    function, repeats = BENCHMARKS[name]
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.speed {name}", description=inspect.getdoc(function))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", type=torch.device)
    parser.add_argument("--repeats", type=int, default=repeats, help="turns; 0: a single call of each path")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw figures into this file")
    own = list(inspect.signature(function).parameters.values())[1:]
    for option in own:
        kind = str if option.default is None else type(option.default)
        parser.add_argument(f"--{option.name.replace('_', '-')}", type=kind, default=option.default, help="%(default)s")
    options = parser.parse_args(arguments)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    print(f"{device_name(options.device)}; {clock_of(options.device)[0]} seconds.")
    rows = []
    for case in function(options.device, **{option.name: getattr(options, option.name) for option in own}):
        difference = check(case)
        found = measure(case, options.device, options.repeats)
        print("\n".join(lines(found, difference)), flush=True)
        rows += found
    file = options.json or (RESULTS / f"{name}.json" if write else None)
    if file:
        kept = [word for word in arguments if not word.startswith("--json") and word != str(options.json)]
        write_measurements(file, " ".join(["python -m benchmarks.speed", name, *kept]), options.device, rows)


def main(arguments: list[str]) -> None:
    """Run what the command line asks for."""
    if arguments and arguments[0] in BENCHMARKS:
        return run(arguments[0], arguments[1:])
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", choices=list(BENCHMARKS), help="one benchmark")
    parser.add_argument("--write", action="store_true", help="into benchmarks/speed/results")
    parser.add_argument("--list", action="store_true", help="names, and what each compares")
    options = parser.parse_args(arguments)
    for name, (function, _) in BENCHMARKS.items():
        if options.list:
            print(f"{name:16} {(inspect.getdoc(function) or '').splitlines()[0]}")
        else:
            print(f"\n{name}", flush=True)
            run(name, [], options.write)
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
