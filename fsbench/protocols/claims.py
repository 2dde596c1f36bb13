"""Whatever a manifest's header says that its episodes, or its protocol, tell as well: both have to agree.

A header may come from anybody, and a table believes its numbers: how many episodes there are, whether the protocol has
as many, which classes a mean is over.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fsbench.base.errors import RecordError, SettingsError
from fsbench.data.episodes.manifest import Manifest, read_manifest
from fsbench.data.episodes.settings import SIZE_BINS
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import protocol_of

_ADDED = ("draws", "official_sha256", "calibration_ids", "calibration_images")
"""Entries that a manifest has beyond those of its official episodes alone."""


def read_checked_manifest(path: Path, sha256: str | None = None) -> Manifest:
    """Read the manifest of a file, whose header is held against its episodes; raises RecordError as `read_manifest`.

    What only the protocol knows is not looked at where that is unknown here.
    """
    manifest = read_manifest(path, sha256)
    try:
        protocol = protocol_of(manifest.header)
    except SettingsError:
        protocol = None
    if found := "; ".join(contradictions(manifest, protocol)):
        raise RecordError(
            f"the header of {path} says otherwise than its episodes: {found}; it was changed, or made by something "
            "else; get it again, or make it by fsbench data manifest build"
        )
    return manifest


def contradictions(manifest: Manifest, protocol: Protocol | None) -> Iterator[str]:
    """Yield in words what a manifest's header says otherwise than its episodes or `protocol`, with both figures."""
    header, official = manifest.header, manifest.official_episodes
    number = len(official)
    if header.episodes not in (None, number):
        yield f"episodes is {header.episodes}, and {number} are there"
    may_be_shorter = protocol is None or protocol.draw.may_be_shorter or header.setting in SIZE_BINS
    if header.requested < number or (header.requested > number and not may_be_shorter):
        yield f"requested is {header.requested}, and {number} episodes are there"
    fixed = None if protocol is None else protocol.draw.fixed_episode_count(header.dataset)
    if fixed is not None and header.official_episodes != fixed:
        yield f"official_episodes is {header.official_episodes}, and the protocol {header.protocol} has {fixed}"
    draws, all_draws = {episode.draw for episode in manifest.tested_episodes}, set(range(header.draws))
    if not draws <= all_draws or (draws != all_draws and header.selection is None):
        yield f"draws is {header.draws}, and the supports of the episodes are of the draws {_listed(draws)}"
    if header.official_sha256 is not None and header.selection is None:
        entries = {name: value for name, value in manifest.entries.items() if name not in _ADDED}
        if (found := Manifest(entries, official).sha256) != header.official_sha256:
            yield f"official_sha256 is {header.official_sha256[:12]}…, and that of draw 0 is {found[:12]}…"
    first = 1 if header.kind else 0  # classification counts its classes from 0
    shown = {number + first for episode in manifest.tested_episodes for number in episode.classes}
    if foreign := shown - set(header.class_ids):
        yield f"class_ids are {_listed(header.class_ids)}, and episodes ask for {_listed(foreign)} as well"
    if left_out := shown & set(header.dropped_classes):
        yield f"dropped_classes are {_listed(header.dropped_classes)}, and episodes ask for {_listed(left_out)}"
    calibrated = {number for episode in manifest.episodes if episode.calibrates for number in episode.classes}
    stated = set(header.calibration_ids)
    if not calibrated <= stated or (calibrated != stated and header.selection is None):
        yield f"calibration_ids are {_listed(header.calibration_ids)}, and episodes calibrate by {_listed(calibrated)}"
    ways = {len(episode.classes) for episode in official if not episode.augmented}
    if ways and not header.all_classes and ways != {header.way}:
        yield f"way is {header.way}, and episodes have {_listed(ways)} ways"


def _listed(numbers: Any) -> str:
    """Return numbers in words, those of a long list shortened."""
    listed = sorted(numbers)
    return ", ".join(map(str, listed[:10])) + ", …" * (len(listed) > 10) or "none"
