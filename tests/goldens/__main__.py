"""Check a folder of goldens: `python -m tests.goldens DIR [--kind KIND] [--case FILE] [--lists DIR]`."""

import argparse
import sys
import time
import traceback
from pathlib import Path

from tests.goldens.harness import Skipped, find_cases, official_lists, run


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.goldens", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with an index.json, or a folder of such folders")
    parser.add_argument("--kind", help="only cases of this kind")
    parser.add_argument("--case", help="only the case of this file")
    parser.add_argument(
        "--lists", help="folder of the official list files (default: $FSBENCH_TEST_DATA/official-lists)"
    )
    arguments = parser.parse_args(argv)
    cases = list(find_cases(arguments.folder, arguments.kind, arguments.case, official_lists(arguments.lists)))
    if not cases:
        print(f"no cases in {arguments.folder} (kind {arguments.kind}, case {arguments.case})", file=sys.stderr)
        return 2
    failed, skipped = [], []
    for case in cases:
        name, started, good = case.entry["file"], time.perf_counter(), True
        try:
            for c in run(case):
                good &= c.passed
                verdict = "ok" if c.passed else "FAILED"
                print(f"{name}  {c.tensor}  abs {c.max_abs:.2e}  rel {c.relative:.2e}  [{c.tolerance}]  {verdict}")
        except Skipped as reason:
            skipped.append(name)
            print(f"{name}  skipped: {reason}")
            continue
        except Exception:
            good = False
            traceback.print_exc()
        if not good:
            failed.append(name)
        print(f"{name}  {'passed' if good else 'FAILED'}  ({time.perf_counter() - started:.1f} s)", flush=True)
    passed = len(cases) - len(failed) - len(skipped)
    print(f"{passed} of {len(cases)} cases passed, {len(failed)} failed {failed}, {len(skipped)} skipped {skipped}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
