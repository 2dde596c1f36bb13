"""Bundles in a folder: each is copied, unpacked and read, or refused for a reason."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
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
from fsbench.runner.exchange.notes import read_note
from fsbench.runner.exchange.verify import read_bundled
from fsbench.scores.statistics import ScoreStatistics

ENDING = ".fsb"
LATEST = 1 << 31
"""Place of a file that no commit brought."""

_TEMPORARY = re.compile(r"[^\s'\"(]*fsbench-bundle-[^/\s]+/")
_COMMIT = "\x01"


@dataclass(frozen=True, order=True)
class HandIn:
    """A file that was handed in to a leaderboard; hand-ins sort by time, the oldest first.

    Attributes:
        place: number of the commit that added the file, counted along the current branch. Contributors cannot choose
            it, unlike a date.
        name: path of the file, relative to the folder of bundles.
        date: date of the commit that added the file, as 2024-02-03; "" if unknown.
    """

    place: int
    name: str
    date: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({f'handed in {self.date}' if self.date else 'handed in at an unknown date'})"


@dataclass(frozen=True)
class BoardRun:
    """A run of a bundle.

    Attributes:
        record: its record, which is unpacked while the leaderboard is made.
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
        hand_in: path of the bundle's file, and when the file was handed in.
        sha256: hash of the bundle's file; the copy of the file on the leaderboard is named by it.
        listing: methods' cards (how each was trained) and licence that the bundle states.
        runs: its runs.
        copies: files equal to this one that were handed in later.
    """

    hand_in: HandIn
    sha256: str
    listing: Listing
    runs: list[BoardRun]
    copies: list[HandIn] = field(default_factory=list)

    @property
    def copy(self) -> str:
        """Path of the copy of the bundle's file, relative to the folder of the leaderboard."""
        return f"bundles/{self.sha256[:32]}{ENDING}"


@dataclass(frozen=True)
class Collection:
    """The bundles of runs in a folder for a leaderboard, sorted by when they were handed in.

    `refused` is {file that is no valid bundle: reason in one line}, and `twice` {name of a file: name of an equal file
    handed in before}.
    """

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
    for hand_in, file in _files(folder):
        if Path(os.path.realpath(file.parent)).is_relative_to(besides):
            continue
        name = hand_in.name
        try:
            sha256 = _copy_file(file, copy)
            if sha256 in shown:
                found.twice[name] = shown[sha256].hand_in.name
                shown[sha256].copies.append(hand_in)
                report(f"{name}: the same file as {found.twice[name]}")
                continue
            bundle = _read(copy, file, hand_in, sha256, report, unpacked)
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


def _files(folder: Path) -> Iterator[tuple[HandIn, Path]]:
    """List the bundles below a folder from the oldest hand-in on, and by their names where that is not known."""
    words = ["--first-parent", "-m", "--reverse", "--no-renames", "--diff-filter=A", "--name-only", "--relative"]
    command = ["git", "-C", str(folder), "-c", "core.quotePath=false", "log", *words, f"--format={_COMMIT}%cs", "--"]
    try:
        ended = subprocess.run([*command, f"*{ENDING}"], capture_output=True, timeout=60, check=True)
        lines = ended.stdout.decode(errors="replace").splitlines()
    except (OSError, subprocess.SubprocessError):
        lines = []
    place, date, history = 0, "", dict[str, tuple[int, str]]()
    for line in filter(None, lines):
        if line.startswith(_COMMIT):
            place, date = place + 1, line[1:]
        else:
            history.setdefault(line, (place, date))
    found = []
    for file in folder.rglob(f"*{ENDING}"):
        name = file.relative_to(folder).as_posix()
        place, date = history.get(name, (LATEST, ""))
        found.append((HandIn(place, one_line(name, 300), date), file))
    yield from sorted(found)


def _copy_file(file: Path, copy: Path) -> str:
    """Copy a file, so that what is read is what is shown; returns its sha256."""
    if file.is_symlink():
        raise OSError("it is a link; expected the bundle itself")
    with open_file(file, "bundle") as source, copy.open("wb") as target:
        shutil.copyfileobj(source, target)
    return sha256_file(copy)


def _read(
    copy: Path, file: Path, hand_in: HandIn, sha256: str, report: Callable[[str], None], unpacked: ExitStack
) -> Bundle:
    """Unpack and read a bundle, and the note beside it. Raises FsbenchError where a run is damaged."""
    with ExitStack() as opened:
        folder, listing = opened.enter_context(unpack(copy))
        try:
            repeated = read_note(file, sha256)
        except RecordError as error:
            repeated = {}
            report(f"{hand_in.name}: {error}")
        try:
            runs = [_read_run(folder / run, listing, repeated.get(run, 0)) for run in listing.runs]
            comparable([run.record for run in runs])
        except FsbenchError:
            raise
        except Exception as error:  # of a record that fits the schema and yet has no place in a table
            raise SettingsError(f"it cannot be shown: {describe(error)}") from error
        for file in (folder / run / file for run in listing.runs for file in (CONFIG, PREDICTIONS)):
            file.unlink(missing_ok=True)  # of many bundles together
        unpacked.enter_context(opened.pop_all())
    return Bundle(hand_in, sha256, listing, runs)


def _read_run(folder: Path, listing: Listing, repeated: int) -> BoardRun:
    record = read_bundled(folder)
    resolve_card(record, listing.card_of(record.run.identity.method.name))
    all_notes([record])
    frame, header = record.episodes, record.header
    if frame.is_empty():
        raise RecordError(f"{folder.name} has no episodes; expected a finished run")
    truth = truth_sha256(frame, with_pixels=not record.protocol.view.counts_at_input_size)
    statistics = record.protocol.statistics(frame, header).only(record.protocol.default_metrics)
    return BoardRun(record, statistics, truth, min(repeated, len(record.manifest.episodes)))
