"""`fsbench regress`: compare every method's predictions on a few episodes with those accepted before."""

import argparse
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fsbench.base.errors import FsbenchError, SettingsError, describe, user_message
from fsbench.base.files import make_folder
from fsbench.base.terminal import one_line, print_line

if TYPE_CHECKING:
    from fsbench.runner.regression.cases import Case, Findings
    from fsbench.runner.regression.outcome import Outcome
    from fsbench.runner.regression.run import CaseRun

MAX_EPISODES = 12
"""Number of a case's moved episodes that are drawn and listed."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--method", help="run only these methods or cases, with commas")
    parser.add_argument(
        "--cases",
        type=Path,
        metavar="DIR",
        help="folder with cases.yaml, which lists the cases, and their accepted answers (default: fsbench's own)",
    )
    parser.add_argument("--accept", action="store_true", help="accept the answers of this run as the expected ones")
    parser.add_argument(
        "--out", type=Path, default=Path("regress"), help="folder for pictures of the answers that changed"
    )
    parser.set_defaults(function=_regress)


def _regress(options: argparse.Namespace, extra: list[str]) -> int:
    # torch: seconds, which help and refused options do without
    from fsbench.runner.regression.cases import LOSS, read_cases
    from fsbench.runner.regression.outcome import read_outcome, write_outcome

    names = [] if options.method is None else [word.strip() for word in options.method.split(",") if word.strip()]
    if options.method is not None and not names:
        raise SettingsError(f"--method is '{options.method}', expected methods with commas between")
    cases = read_cases(names, options.cases)
    expected = [read_outcome(case.file) for case in cases]  # a damaged file is reported before anything runs

    from fsbench.runner.regression.run import draw_dataset, observe

    changed: list[str] = []
    failed = 0
    print_line(
        f"{len(cases)} cases; each line says how many pixels of a mask may differ; a loss may differ by {LOSS:.0e}"
    )
    with tempfile.TemporaryDirectory() as folder:
        data = draw_dataset(Path(folder) / "dataset")
        for number, (case, before) in enumerate(zip(cases, expected, strict=True), 1):
            started, place = time.perf_counter(), f"{number:2} of {len(cases)}  {case.name:20}"
            try:
                now = observe(case, data)
            except Exception as error:  # of one method; the others run all the same
                if options.debug:
                    raise
                reason = user_message(error) if isinstance(error, FsbenchError) else describe(error)
                print_line(f"{place} failed: {one_line(reason)}")
                failed += 1
                continue
            words = compare(case, before, now, options.out)
            print_line(f"{place} {words[0]}; {time.perf_counter() - started:.0f} s")
            for line in words[1:]:
                print_line(f"    {line}")
            if not words[0].startswith("ok"):
                changed.append(case.name)
                if options.accept:
                    write_outcome(case.file, now.outcome)
    print_line(_conclusion(len(cases), changed, failed, options))
    return 2 if failed else int(bool(changed) and not options.accept)


def compare(case: "Case", before: "Outcome | None", now: "CaseRun", out: Path) -> list[str]:
    """Compare a case with its accepted outcome, and draw the episodes that moved.

    Returns:
        The verdict, which begins with ok, moved or new, and a line for each thing that differs.
    """
    # torch: seconds, which help and refused options do without
    from fsbench.runner.regression.cases import diff_outcomes

    episodes = len(now.outcome.answers)
    if before is None:
        return [f"new   {episodes} episodes"]
    findings = diff_outcomes(before, now.outcome, case.pixels)
    lines = [
        f"{'moved' if findings.any else 'ok':5} {len(findings.moved)} of {episodes} moved, "
        f"{findings.pixels} of {case.pixels} pixels" + f", loss {findings.loss:.0e}" * bool(before.losses),
        *_lines(findings),
    ]
    if findings.any:
        accepted_with, made_with = before.made_with, now.outcome.made_with
        differing = [key for key, value in made_with.items() if accepted_with.get(key) != value]
        lines += [f"{key} {made_with[key]} (accepted with {accepted_with.get(key)})" for key in differing]
    if findings.moved:
        image_file = make_folder(out) / f"{case.name}.png"
        now.draw(image_file, before, findings.moved[:MAX_EPISODES])
        lines.append(f"pictures: {image_file}")
    return lines


def _lines(findings: "Findings") -> Iterable[str]:
    yield from findings.lines
    for moved in findings.moved[:MAX_EPISODES]:
        yield f"episode {moved.number}: {'; '.join(moved.reasons)}"
    if len(findings.moved) > MAX_EPISODES:
        yield f"and {len(findings.moved) - MAX_EPISODES} episodes more"


def _conclusion(cases: int, changed: list[str], failed: int, options: argparse.Namespace) -> str:
    parts = [f"{cases} cases, {len(changed)} changed, {failed} failed"]
    if changed and options.accept:
        parts.append(f"accepted: {', '.join(changed)}")
    elif changed:
        own = "" if options.cases is None else f" --cases {options.cases}"
        parts.append(f"if that is meant, look at the pictures and accept it: fsbench regress{own} --accept")
    return "; ".join(parts)
