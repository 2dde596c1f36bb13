"""Bundles in a folder: each is copied, verified and read, or refused for a reason."""

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fsbench.board.results import RunResult, run_result
from fsbench.errors import FsbenchError, SettingsError, describe
from fsbench.exchange.bundle import Listing, unpack
from fsbench.exchange.verify import Finding, verify_unpacked
from fsbench.files import open_file, sha256_file
from fsbench.terminal import one_line

ENDING = ".fsb"

_TEMPORARY = re.compile(r"[^\s'\"(]*fsbench-bundle-[^/\s]+/")


@dataclass(frozen=True)
class VerifiedBundle:
    """A bundle in which nothing failed.

    Attributes:
        name: its file, relative to the folder of bundles.
        sha256: of the file, by which the board's copy is named.
        listing: card, licence and hashes.
        findings: of its verification, without failed ones.
        runs: by id.
    """

    name: str
    sha256: str
    listing: Listing
    findings: list[Finding]
    runs: Mapping[str, RunResult]

    @property
    def copy(self) -> str:
        """Path of the copy within the board."""
        return f"bundles/{self.sha256[:32]}{ENDING}"


@dataclass(frozen=True)
class Refused:
    """A file that is no bundle, or a bundle in which a check failed; `reason` is one line."""

    name: str
    reason: str


@dataclass(frozen=True)
class Collection:
    """The bundles of a folder in the order of their names; `twice` has a file -> the equal one that is shown."""

    bundles: list[VerifiedBundle]
    refused: list[Refused]
    twice: dict[str, str]


def collect(folder: Path, site: Path, report: Callable[[str], None], besides: Path) -> Collection:
    """Verify every bundle below a folder.

    Args:
        folder: of bundles, files that end in .fsb; others are passed over.
        site: folder of the board, which gets a copy of each bundle that is not refused.
        report: gets a line for each file.
        besides: folder without symbolic links whose files are passed over, such as that of the board before.

    Raises:
        SettingsError: there is no such folder.
    """
    if not folder.is_dir():
        raise SettingsError(f"{folder} is no folder; expected one with bundles, which fsbench bundle writes")
    (site / "bundles").mkdir()
    found = Collection([], [], {})
    shown: dict[str, str] = {}
    for file in sorted(folder.rglob(f"*{ENDING}")):
        if Path(os.path.realpath(file.parent)).is_relative_to(besides):
            continue
        name = one_line(file.relative_to(folder).as_posix(), 300)
        copy = site / "bundles" / "unverified"
        try:
            sha256 = _copy_file(file, copy)
            if sha256 in shown:
                found.twice[name] = shown[sha256]
                report(f"{name}: the same file as {shown[sha256]}")
                continue
            bundle = _verify(copy, name, sha256)
        except (OSError, FsbenchError) as error:
            reason = one_line(_without_folders(str(error), copy, name), 500)
            found.refused.append(Refused(name, reason))
            report(f"{name}: refused: {reason}")
            continue
        shown[sha256] = name
        copy.rename(site / bundle.copy)
        found.bundles.append(bundle)
        report(f"{name}: verified, {len(bundle.runs)} runs")
    (site / "bundles" / "unverified").unlink(missing_ok=True)
    return found


def _copy_file(file: Path, copy: Path) -> str:
    """Copy a file, so that what is verified is what is shown; returns its sha256."""
    if file.is_symlink():
        raise OSError("it is a link; expected the bundle itself")
    with open_file(file, "bundle") as source, copy.open("wb") as target:
        shutil.copyfileobj(source, target)
    return sha256_file(copy)


def _verify(copy: Path, name: str, sha256: str) -> VerifiedBundle:
    """Verify and read a bundle. Raises FsbenchError where a check fails."""
    with unpack(copy) as (folder, listing):
        findings = [
            Finding(finding.run, finding.status, _without_folders(finding.what, copy, name))
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
    return VerifiedBundle(name, sha256, listing, findings, runs)


def _without_folders(text: str, copy: Path, name: str) -> str:
    """Name the bundle in a message instead of the temporary folders that it was copied and unpacked to."""
    return _TEMPORARY.sub("", text.replace(str(copy), name))
