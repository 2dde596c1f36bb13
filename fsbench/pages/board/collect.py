"""Bundles in a folder: each is copied, unpacked and read, or refused for a reason."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from fsbench.base.errors import FsbenchError, RecordError, SettingsError, describe
from fsbench.base.files import open_file, sha256_file
from fsbench.base.terminal import one_line
from fsbench.records.card import resolve_card
from fsbench.records.counts import truth_sha256
from fsbench.records.description import all_notes
from fsbench.records.grouping import comparable
from fsbench.records.record import Record
from fsbench.runner.exchange.bundle import CONFIG, PREDICTIONS, Listing, unpack
from fsbench.runner.exchange.verify import read_bundled, read_note
from fsbench.scores.statistics import ScoreStatistics

ENDING = ".fsb"
_TEMPORARY = re.compile(r"[^\s'\"(]*fsbench-bundle-[^/\s]+/")


@dataclass(frozen=True)
class BoardRun:
    """A run of a bundle, unpacked while the leaderboard is made.

    Attributes:
        statistics: sums over the run's count table, from which the leaderboard's scores are computed.
        truth: hash of the classes and numbers of true pixels of all episodes, equal for runs on the same label maps;
            without the pixels if they are counted at the method's input size.
        repeated: number of its episodes that were predicted again, by the note beside the bundle.
    """

    record: Record
    statistics: ScoreStatistics
    truth: str
    repeated: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """Run id and hash of counts, equal only for copies of one run."""
        return self.record.run.id, self.record.counted

    @property
    def finished(self) -> str:
        """Date on which the run finished; "" if unknown."""
        found = re.match(r"(19|20)\d\d-\d\d-\d\d(?!\d)", self.record.run.provenance.finished)
        return found[0] if found else ""


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle of runs whose seals hold.

    Attributes:
        name: path of the file, relative to the folder of bundles.
        place: number of the commit that brought the file to the current branch; larger than all if none did.
        sha256: hash of the file; the copy of the file on the leaderboard is named by it.
        copies: names of files equal to this one that came later.
    """

    name: str
    place: int
    sha256: str
    listing: Listing
    runs: list[BoardRun]
    copies: list[str] = field(default_factory=list)

    @property
    def copy(self) -> str:
        """Path of the copy of the bundle's file, relative to the folder of the leaderboard."""
        return f"bundles/{self.sha256[:32]}{ENDING}"


@dataclass(frozen=True)
class Collection:
    """The bundles of runs in a folder for a leaderboard, the oldest first; {file: why it is refused}; {file: equal file
    that came before}."""

    bundles: list[Bundle] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    twice: dict[str, str] = field(default_factory=dict)


def collect(folder: Path, site: Path, report: Callable[[str], None], besides: Path, unpacked: ExitStack) -> Collection:
    """Read every bundle below a folder, and copy the valid ones to a leaderboard.

    Args:
        folder: the folder of bundles, files that end in .fsb; files with another ending are ignored.
        site: folder of the leaderboard, to which each valid bundle is copied.
        report: called with a line of text about each file.
        besides: a folder whose files are ignored, such as that of an earlier leaderboard; an absolute path without
            links.
        unpacked: closes the temporary folders of the bundles' runs.

    Raises:
        SettingsError: there is no such folder.
    """
    if not folder.is_dir():
        raise SettingsError(f"{folder} is no folder; expected one with bundles, which fsbench bundle writes")
    (site / "bundles").mkdir()
    found, shown, copy = Collection(), dict[str, Bundle](), site / "bundles" / "copied"
    for place, path in _oldest_first(folder):
        name, file = one_line(path, 300), folder / path
        if Path(os.path.realpath(file.parent)).is_relative_to(besides):
            continue
        try:
            if file.is_symlink():
                raise OSError("it is a link; expected the bundle itself")
            with open_file(file, "bundle") as source, copy.open("wb") as target:
                shutil.copyfileobj(source, target)  # what is read is what is shown
            sha256 = sha256_file(copy)
            if sha256 in shown:
                found.twice[name] = shown[sha256].name
                shown[sha256].copies.append(name)
                report(f"{name}: the same file as {found.twice[name]}")
                continue
            try:
                repeated = read_note(file, sha256)
            except RecordError as error:
                repeated = {}
                report(f"{name}: {error}")
            with ExitStack() as opened:
                bundle = Bundle(name, place, sha256, *_read(*opened.enter_context(unpack(copy)), repeated))
                unpacked.enter_context(opened.pop_all())
        except (OSError, FsbenchError) as error:
            found.refused[name] = one_line(_TEMPORARY.sub("", str(error).replace(str(copy), name)), 500)
            report(f"{name}: refused: {found.refused[name]}")
            continue
        shown[sha256] = bundle
        copy.rename(site / bundle.copy)
        found.bundles.append(bundle)
        report(f"{name}: {len(bundle.runs)} runs")
    copy.unlink(missing_ok=True)
    return found


def _oldest_first(folder: Path) -> list[tuple[int, str]]:
    """List the bundles below a folder, each with the number of the commit that brought it to the current branch.

    Contributors cannot choose that number, unlike a date. What no commit brought is last.
    """
    words = ["--first-parent", "-m", "--reverse", "--no-renames", "--diff-filter=A", "--name-only", "--relative"]
    command = ["git", "-C", str(folder), "-c", "core.quotePath=false", "log", *words, "--format=%x01", "--"]
    try:
        log = subprocess.run([*command, f"*{ENDING}"], capture_output=True, timeout=60, check=True).stdout.decode(
            errors="replace"
        )
    except (OSError, subprocess.SubprocessError):
        log = ""
    commits = [commit.splitlines() for commit in log.split("\x01")]
    place = {name: number for number, names in reversed([*enumerate(commits)]) for name in names}
    found = [file.relative_to(folder).as_posix() for file in folder.rglob(f"*{ENDING}")]
    return sorted((place.get(name, len(commits)), name) for name in found)


def _read(folder: Path, listing: Listing, repeated: dict[str, int]) -> tuple[Listing, list[BoardRun]]:
    """Read the runs of an unpacked bundle. Raises FsbenchError where one cannot be shown."""
    runs = []
    try:
        for name in listing.runs:
            record = read_bundled(folder / name, listing)
            frame, protocol = record.episodes, record.protocol
            if frame.is_empty():
                raise RecordError(f"{name} has no episodes; expected a finished run")
            truth = truth_sha256(frame, with_pixels=not protocol.view.counts_at_input_size)
            statistics = protocol.statistics(frame, record.header).only(protocol.default_metrics)
            noted = repeated.get(name, 0)
            number = noted if noted <= len(record.manifest.episodes) else 0  # a note that cannot be counts for nothing
            runs.append(BoardRun(record, statistics, truth, number))
            resolve_card(record, listing.card_of(record.run.identity.method.name))
            all_notes([record])
            for file in (CONFIG, PREDICTIONS):  # which many bundles together would fill a disk with
                (folder / name / file).unlink(missing_ok=True)
        comparable([run.record for run in runs])
    except FsbenchError:
        raise
    except Exception as error:  # of a record that fits the schema and yet has no place in a table
        raise SettingsError(f"it cannot be shown: {describe(error)}") from error
    return listing, runs
