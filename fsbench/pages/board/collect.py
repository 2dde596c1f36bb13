"""Bundles in a folder: each is copied, verified and read, or refused for a reason."""

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fsbench.base.errors import FsbenchError, SettingsError, describe
from fsbench.base.files import open_file, sha256_file
from fsbench.base.terminal import one_line
from fsbench.pages.board.hand_ins import UNKNOWN, HandIn, hand_ins
from fsbench.pages.board.results import RunResult, run_result
from fsbench.runner.exchange.bundle import Listing, unpack
from fsbench.runner.exchange.verify import Finding, verify_unpacked

ENDING = ".fsb"

_TEMPORARY = re.compile(r"[^\s'\"(]*fsbench-bundle-[^/\s]+/")


@dataclass(frozen=True)
class VerifiedBundle:
    """A bundle of runs that passed all checks.

    Attributes:
        hand_in: path of the bundle's file, and when the file was handed in.
        sha256: hash of the bundle's file; the copy of the file on the leaderboard is named by it.
        listing: methods' cards (how each was trained), licence and file hashes that the bundle states.
        findings: results of the checks of the bundle's runs, in words; a bundle with a failed check is refused.
        runs: {run id: scores and statistics of the run}.
        copies: files equal to this one that were handed in later.
    """

    hand_in: HandIn
    sha256: str
    listing: Listing
    findings: list[Finding]
    runs: Mapping[str, RunResult]
    copies: list[HandIn] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Path of the bundle's file, relative to the folder of bundles."""
        return self.hand_in.name

    @property
    def copy(self) -> str:
        """Path of the copy of the bundle's file, relative to the folder of the leaderboard."""
        return f"bundles/{self.sha256[:32]}{ENDING}"


@dataclass(frozen=True)
class Refused:
    """A file that is not a bundle of runs, or a bundle that failed a check; `reason` says why in one line."""

    name: str
    reason: str


@dataclass(frozen=True)
class Collection:
    """The bundles of runs in a folder for a leaderboard, sorted by when they were handed in.

    `refused` lists files that are no valid bundle, and `twice` is {name of a file: name of an equal file handed in
    before}.
    """

    bundles: list[VerifiedBundle]
    refused: list[Refused]
    twice: dict[str, str]


def collect(folder: Path, site: Path, report: Callable[[str], None], besides: Path) -> Collection:
    """Verify every bundle below a folder, and copy the valid ones to a leaderboard.

    Args:
        folder: the folder of bundles, files that end in .fsb; files with another ending are ignored.
        site: folder of the leaderboard, to which each valid bundle is copied.
        report: called with a line of text about each file.
        besides: a folder whose files are ignored, such as that of an earlier leaderboard; an absolute path without
            links.

    Raises:
        SettingsError: there is no such folder.
    """
    if not folder.is_dir():
        raise SettingsError(f"{folder} is no folder; expected one with bundles, which fsbench bundle writes")
    (site / "bundles").mkdir()
    found = Collection([], [], {})
    shown: dict[str, VerifiedBundle] = {}
    for hand_in, file in _files(folder):
        if Path(os.path.realpath(file.parent)).is_relative_to(besides):
            continue
        name = hand_in.name
        copy = site / "bundles" / "unverified"
        try:
            sha256 = _copy_file(file, copy)
            if sha256 in shown:
                found.twice[name] = shown[sha256].name
                shown[sha256].copies.append(hand_in)
                report(f"{name}: the same file as {shown[sha256].name}")
                continue
            bundle = _verify(copy, hand_in, sha256)
            _check_truth(bundle, found.bundles)
        except (OSError, FsbenchError) as error:
            reason = one_line(_without_folders(str(error), copy, name), 500)
            found.refused.append(Refused(name, reason))
            report(f"{name}: refused: {reason}")
            continue
        shown[sha256] = bundle
        copy.rename(site / bundle.copy)
        found.bundles.append(bundle)
        report(f"{name}: verified, {len(bundle.runs)} runs")
    (site / "bundles" / "unverified").unlink(missing_ok=True)
    for bundle, reason in _contradicting(found.bundles):
        found.bundles.remove(bundle)
        (site / bundle.copy).unlink()
        found.refused.append(Refused(bundle.name, reason))
        report(f"{bundle.name}: refused: {reason}")
    return found


def _files(folder: Path) -> list[tuple[HandIn, Path]]:
    """List the bundles below a folder from the oldest hand-in on, and by their names where that is not known."""
    history = hand_ins(folder, f"*{ENDING}")
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob(f"*{ENDING}")}
    found = {name: history.get(name, HandIn(UNKNOWN, name)) for name in files}
    return sorted((replace(found[name], name=one_line(name, 300)), file) for name, file in files.items())


def _copy_file(file: Path, copy: Path) -> str:
    """Copy a file, so that what is verified is what is shown; returns its sha256."""
    if file.is_symlink():
        raise OSError("it is a link; expected the bundle itself")
    with open_file(file, "bundle") as source, copy.open("wb") as target:
        shutil.copyfileobj(source, target)
    return sha256_file(copy)


def _verify(copy: Path, hand_in: HandIn, sha256: str) -> VerifiedBundle:
    """Verify and read a bundle. Raises FsbenchError where a check fails."""
    with unpack(copy) as (folder, listing):
        findings = [
            Finding(finding.run, finding.status, _without_folders(finding.what, copy, hand_in.name))
            for finding in verify_unpacked(folder, listing)
        ]
        failed = [finding for finding in findings if finding.status == "failed"]
        if failed:
            more = f" (and {len(failed) - 1} more failed)" if len(failed) > 1 else ""
            raise SettingsError(f"{failed[0].run or 'the file'}: {failed[0].what}{more}")
        try:
            runs = {run: run_result(folder / run) for run in listing.runs}
        except FsbenchError:
            raise
        except Exception as error:  # of a record that was verified and yet has no place in a table
            raise SettingsError(f"it cannot be shown: {describe(error)}") from error
    return VerifiedBundle(hand_in, sha256, listing, findings, runs)


def _check_truth(bundle: VerifiedBundle, older: Sequence[VerifiedBundle]) -> None:
    """Raise SettingsError where a run has another truth than one of an older bundle on the same files.

    One of the two was changed. Which one cannot be told here; the reason names both, for whoever merges.
    """
    known = {run.test_files: (run.truth, first.name) for first in reversed(older) for run in first.runs.values()}
    for name, run in bundle.runs.items():
        truth, other = known.get(run.test_files, (run.truth, ""))
        if run.test_files is not None and truth != run.truth:
            raise SettingsError(
                f"{name}: its truth is another than that of {other} on the same episodes and files; one of both was "
                "changed after it was run; expected equal true pixels; predict episodes of both again (fsbench verify "
                "FILE --predict 20)"
            )


def _contradicting(bundles: Sequence[VerifiedBundle]) -> list[tuple[VerifiedBundle, str]]:
    """List the bundles with a run that another has with other counts, and the reason, which names both.

    The id is a hash of all that decides the counts. Which of the two was changed cannot be told here.
    """
    holders: dict[str, dict[str, str]] = {}
    for bundle in bundles:
        for name, run in bundle.runs.items():
            holders.setdefault(name, {}).setdefault(run.record.counted, bundle.name)
    found = []
    for bundle in bundles:
        for name, run in bundle.runs.items():
            others = [other for counts, other in holders[name].items() if counts != run.record.counted]
            if others:
                reason = (
                    f"{name}: {others[0]} has the same run with other counts; one of both was changed after it was "
                    "run; remove that one; predict episodes of both again (fsbench verify FILE --predict 20)"
                )
                found.append((bundle, reason))
                break
    return found


def _without_folders(text: str, copy: Path, name: str) -> str:
    """Name the bundle in a message instead of the temporary folders that it was copied and unpacked to."""
    return _TEMPORARY.sub("", text.replace(str(copy), name))
