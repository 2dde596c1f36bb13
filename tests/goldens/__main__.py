"""Check a folder of goldens: `python -m tests.goldens DIR [--kind KIND] [--case FILE] [--lists DIR]
[--cpu-kernels onednn] [--pass-over-unknown] [--jobs N]`.

One line for each compared tensor, one for each case, one for each folder where there are several. The exit status is 0
only if every case passed; a case that is skipped for want of the official lists did not.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.goldens.checks import Outcome, check_all
from tests.goldens.harness import find_cases, official_lists

HERE = Path(__file__).parent


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
    parser.add_argument(
        "--pass-over-unknown",
        action="store_true",
        help="name cases of unknown kinds without failing, but in folders of which tests/goldens has a part",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes that check cases, a thread each (default: 1)")
    arguments = parser.parse_args(argv)
    if arguments.lists and not Path(arguments.lists).is_dir():
        parser.error(f"--lists: {arguments.lists} is no folder")
    cases = list(find_cases(arguments.folder, arguments.kind, arguments.case, official_lists(arguments.lists)))
    if not cases:
        print(f"no cases in {arguments.folder} (kind {arguments.kind}, case {arguments.case})", file=sys.stderr)
        return 2
    outcomes = []
    for outcome in check_all(cases, arguments.cpu_kernels, arguments.jobs):
        outcomes.append(outcome)
        print(*outcome.lines, sep="\n", flush=True)
    return summary(outcomes, arguments.pass_over_unknown)


def summary(outcomes: list[Outcome], pass_over_unknown: bool) -> int:
    """Print a line for each folder and one for all; return the exit status."""
    own = {index.parent.name for index in HERE.glob("*/index.json")}
    passed_over = [o for o in outcomes if o.verdict == "unknown" and pass_over_unknown and o.folder not in own]
    checked = [o for o in outcomes if o not in passed_over]
    folders = dict.fromkeys(o.folder for o in outcomes)
    for folder in folders if len(folders) > 1 else ():
        good, all_of_it = _count(checked, folder, "passed"), _count(checked, folder)
        unknown = sorted({o.kind for o in passed_over if o.folder == folder})
        words = [f"{good} of {all_of_it} cases passed"] if all_of_it else []
        words += [f"not known: {', '.join(unknown)}"] if unknown else []
        print(f"{folder}  {'; '.join(words)}")
    passed = sum(o.verdict == "passed" for o in checked)
    failed = _files(o for o in checked if o.verdict in ("failed", "unknown"))
    skipped = _files(o for o in checked if o.verdict == "skipped")
    words = f"{passed} of {len(checked)} cases passed, {len(failed)} failed {failed}, {len(skipped)} skipped {skipped}"
    print(words + (f", {len(passed_over)} of unknown kinds passed over" if passed_over else ""))
    return 0 if checked and passed == len(checked) else 1


def _count(outcomes: list[Outcome], folder: str, verdict: str | None = None) -> int:
    return sum(o.folder == folder and verdict in (None, o.verdict) for o in outcomes)


def _files(outcomes: Iterable[Outcome]) -> list[str]:
    return [o.file for o in outcomes]


if __name__ == "__main__":
    sys.exit(main())
