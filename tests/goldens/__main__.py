"""Check folders of goldens: `python -m tests.goldens FOLDER… [--kind KIND] [--case FILE] [--lists DIR]
[--pass-over-unknown | --known-gaps FILE] [--jobs N]`.

One line for each compared tensor, one for each case, one for each folder where there are several. The last line counts
the cases that passed, failed, were skipped, and those without a check. The exit status is 0 only if every case passed;
a case that is skipped for want of the official lists did not.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.goldens.cases import find_cases, official_lists
from tests.goldens.checks import Outcome, check_all
from tests.goldens.gaps import read_gaps, unlisted_gaps

HERE = Path(__file__).parent


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.goldens", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folders", nargs="+", metavar="FOLDER", type=Path, help="with an index.json, or with such folders in it"
    )
    parser.add_argument("--kind", help="only cases of this kind")
    parser.add_argument("--case", help="only the case of this file")
    parser.add_argument(
        "--lists", help="folder of the official list files (default: $FSBENCH_TEST_DATA/official-lists)"
    )
    unknown = parser.add_mutually_exclusive_group()
    unknown.add_argument(
        "--pass-over-unknown",
        action="store_true",
        help="name cases of unknown kinds without failing, but in folders of which tests/goldens has a part",
    )
    unknown.add_argument(
        "--known-gaps",
        type=Path,
        metavar="FILE",
        help="pass over the cases without a check that FILE lists; fail at others, and where one has got its check",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes that check cases, a thread each (default: 1)")
    arguments = parser.parse_args(argv)
    if arguments.lists and not Path(arguments.lists).is_dir():
        parser.error(f"--lists: {arguments.lists} is no folder")
    if arguments.known_gaps and (arguments.kind or arguments.case):
        parser.error("--known-gaps: counts all cases of a folder; leave out --kind and --case")
    if arguments.known_gaps and not arguments.known_gaps.is_file():
        parser.error(f"--known-gaps: {arguments.known_gaps} is no file")
    lists = official_lists(arguments.lists)
    cases = [c for folder in arguments.folders for c in find_cases(folder, arguments.kind, arguments.case, lists)]
    if not cases:
        print(
            f"no cases in {', '.join(map(str, arguments.folders))} (kind {arguments.kind}, case {arguments.case})",
            file=sys.stderr,
        )
        return 2
    outcomes = []
    for outcome in check_all(cases, arguments.jobs):
        outcomes.append(outcome)
        print(*outcome.lines, sep="\n", flush=True)
    unchecked = [o for o in outcomes if o.verdict == "unknown"]
    if arguments.known_gaps:
        return summary(outcomes, unchecked, unlisted_gaps(outcomes, read_gaps(arguments.known_gaps)))
    own = {index.parent.name for index in HERE.glob("*/index.json")}
    passed_over = [o for o in unchecked if arguments.pass_over_unknown and o.folder not in own]
    return summary(outcomes, passed_over, [])


def summary(outcomes: list[Outcome], passed_over: list[Outcome], wrong_gaps: list[str]) -> int:
    """Print a line for each folder and each wrong gap, and one for all; return the exit status.

    Args:
        outcomes: of all cases.
        passed_over: those without a check that do not fail.
        wrong_gaps: a line for each gap that is not as listed.
    """
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
    for line in wrong_gaps:
        print(line)
    last = f"{passed} of {len(checked)} cases passed, {len(failed)} failed {failed}, {len(skipped)} skipped {skipped}"
    if passed_over:
        last += f", {len(passed_over)} in {len({o.folder for o in passed_over})} folders without a check"
    print(last + (f", {len(wrong_gaps)} gaps are not as listed" if wrong_gaps else ""))
    return 0 if checked and passed == len(checked) and not wrong_gaps else 1


def _count(outcomes: list[Outcome], folder: str, verdict: str | None = None) -> int:
    return sum(o.folder == folder and verdict in (None, o.verdict) for o in outcomes)


def _files(outcomes: Iterable[Outcome]) -> list[str]:
    return [o.file for o in outcomes]


if __name__ == "__main__":
    sys.exit(main())
