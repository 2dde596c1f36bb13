"""Check a folder of goldens: `python -m tests.goldens DIR [--kind KIND] [--case FILE] [--lists DIR]
[--cpu-kernels onednn]`.

One line for each compared tensor, one for each case. The exit status is 0 only if every case passed; a case that is
skipped for want of the official lists did not.
"""

import argparse
import sys
import time
import traceback
from pathlib import Path

from tests.goldens.harness import Skipped, cpu_kernels, find_cases, official_lists, run


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.goldens", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder with an index.json, or a folder of such folders")
    parser.add_argument("--kind", help="only cases of this kind")
    parser.add_argument("--case", help="only the case of this file")
    parser.add_argument(
        "--lists", help="folder of the official list files (default: $FSBENCH_TEST_DATA/official-lists)"
    )
    parser.add_argument(
        "--cpu-kernels", choices=("default", "onednn"), default="default", help="kernels of the frozen networks"
    )
    arguments = parser.parse_args(argv)
    with cpu_kernels(arguments.cpu_kernels):
        return check(parser, arguments)


def check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Check the cases that the command line names; return the exit status."""
    if arguments.lists and not Path(arguments.lists).is_dir():
        parser.error(f"--lists: {arguments.lists} is no folder")
    cases = list(find_cases(arguments.folder, arguments.kind, arguments.case, official_lists(arguments.lists)))
    if not cases:
        print(f"no cases in {arguments.folder} (kind {arguments.kind}, case {arguments.case})", file=sys.stderr)
        return 2
    failed, skipped = [], []
    for case in cases:
        name, started, verdicts = case.entry["file"], time.perf_counter(), []
        try:
            for c in run(case):
                verdicts.append(c.passed)
                verdict = "ok" if c.passed else "FAILED"
                print(f"{name}  {c.tensor}  abs {c.max_abs:.2e}  rel {c.relative:.2e}  [{c.tolerance}]  {verdict}")
        except Skipped as reason:
            print(f"{name}  skipped: {reason}")
            if all(verdicts):
                skipped.append(name)
                continue
        except Exception:
            verdicts.append(False)
            traceback.print_exc()
        good = bool(verdicts) and all(verdicts)  # nothing compared is no pass
        if not good:
            failed.append(name)
        print(f"{name}  {'passed' if good else 'FAILED'}  ({time.perf_counter() - started:.1f} s)", flush=True)
    passed = len(cases) - len(failed) - len(skipped)
    print(f"{passed} of {len(cases)} cases passed, {len(failed)} failed {failed}, {len(skipped)} skipped {skipped}")
    return 1 if failed or skipped else 0


if __name__ == "__main__":
    sys.exit(main())
