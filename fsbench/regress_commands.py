"""`fsbench regress`: are a few answers of every method still what they were?"""

import argparse
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fsbench.errors import FsbenchError, SettingsError, user_message

if TYPE_CHECKING:
    from fsbench.regress import Case, Findings
    from fsbench.regress_outcome import Outcome
    from fsbench.regress_run import Observed

SHOWN = 12
"""Rows of a case's picture, and lines about its episodes."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("regress", help="answers of every method on a few episodes against accepted ones")
    parser.add_argument("--method", help="only these, with commas: methods or cases of benchmarks/regression")
    parser.add_argument("--accept", action="store_true", help="what comes out is what is expected from now on")
    parser.add_argument("--out", type=Path, default=Path("regress"), help="folder for pictures of what moved")
    parser.set_defaults(function=_regress)


def _regress(options: argparse.Namespace, extra: list[str]) -> int:
    from fsbench.regress import expected_file, read_cases
    from fsbench.regress_outcome import read_outcome, write_outcome

    names = [] if options.method is None else [word.strip() for word in options.method.split(",") if word.strip()]
    if options.method is not None and not names:
        raise SettingsError(f"--method is '{options.method}', expected methods with commas between")
    cases = read_cases(names)
    expected = [read_outcome(expected_file(case)) for case in cases]  # a damaged file is said before anything runs

    from fsbench.regress_run import draw_demo, observe

    changed: list[str] = []
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        data = draw_demo(Path(folder) / "demo")
        for case, before in zip(cases, expected, strict=True):
            started = time.perf_counter()
            try:
                now = observe(case, data)
            except Exception as error:  # of one method; the others are looked at all the same
                if options.debug:
                    raise
                said = user_message(error) if isinstance(error, FsbenchError) else f"{type(error).__name__}: {error}"
                print(f"{case.name:20} failed: {' '.join(said.split())}", flush=True)
                failed += 1
                continue
            if not _report(case, before, now, options.out, time.perf_counter() - started):
                changed.append(case.name)
                if options.accept:
                    write_outcome(expected_file(case), now.outcome)
    print(_conclusion(len(cases), changed, failed, options.accept))
    return 2 if failed else int(bool(changed) and not options.accept)


def _report(case: "Case", before: "Outcome | None", now: "Observed", out: Path, seconds: float) -> bool:
    """Print what became of a case, draw what moved; whether it is as it was."""
    from fsbench.files import make_folder
    from fsbench.regress import compare

    if before is None:
        print(f"{case.name:20} new    {len(now.outcome.answers)} episodes; {seconds:.1f} s", flush=True)
        return False
    findings = compare(before, now.outcome)
    print(
        f"{case.name:20} {'moved' if findings.any else 'ok':5} {len(findings.moved):2} of {len(now.outcome.answers)} "
        f"episodes, at most {findings.pixels} pixels, losses by {findings.loss:.1e}; {seconds:.1f} s",
        flush=True,
    )
    for line in _lines(findings):
        print(f"    {line}")
    if findings.any:
        there, here = before.made_with, now.outcome.made_with
        other = [
            f"{key} {value} (accepted with {there.get(key)})" for key, value in here.items() if there.get(key) != value
        ]
        print("".join(f"    {item}\n" for item in other), end="")
    if findings.moved:
        picture = make_folder(out) / f"{case.name}.png"
        now.draw(picture, before, findings.moved[:SHOWN])
        print(f"    pictures: {picture}")
    return not findings.any


def _lines(findings: "Findings") -> Iterable[str]:
    if findings.settings:
        yield f"something else was run, so nothing is compared: {'; '.join(findings.settings)}"
    yield from findings.losses
    yield from findings.scores
    for moved in findings.moved[:SHOWN]:
        yield f"episode {moved.index}: {'; '.join(moved.reasons)}"
    if len(findings.moved) > SHOWN:
        yield f"and {len(findings.moved) - SHOWN} episodes more"


def _conclusion(cases: int, changed: list[str], failed: int, accept: bool) -> str:
    parts = [f"{cases} cases, {len(changed)} changed, {failed} failed"]
    if changed and accept:
        parts.append(f"accepted: {', '.join(changed)}")
    elif changed:
        parts.append("if that is meant, look at the pictures and accept it: fsbench regress --accept")
    return "; ".join(parts)
