"""Lists of one's own: manifests whose episodes are not those that their protocol draws."""

import os
from dataclasses import replace
from typing import Any

from fsbench.base.errors import FsbenchError, RecordError, user_message
from fsbench.data.episodes.episode import ClassificationEpisode
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.list_substitutes import print_once
from fsbench.protocols.protocol import Protocol


def marked_if_own(manifest: Manifest, protocol: Protocol, index: Any, source: object) -> Manifest:
    """Return a manifest, marked as a list of one's own unless its protocol draws its episodes from the data here.

    A header may name any protocol, and every title and page goes by it.

    Args:
        manifest: of a file that was given.
        protocol: that its header names.
        index: the data set, as the protocol's draw has it.
        source: the file, for the note that is printed once.

    Raises:
        RecordError: such a list has other shots than its header states.
    """
    if not manifest.header.is_official:
        return manifest
    reason = _difference(manifest, protocol, index)
    if not reason:
        return manifest
    _check_shots(manifest, source)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print_once(
            f"{source} is a list of one's own, not the episodes that {protocol.name} draws from the data and lists "
            f"here ({reason}): its scores are no result of the protocol"
        )
    return replace(manifest, own_list=True)


def _check_shots(manifest: Manifest, source: object) -> None:
    """Raise RecordError for a list whose episodes have other shots than its header, which titles go by."""
    header = manifest.header
    for line, episode in enumerate(manifest.episodes, 2):
        supports = episode.support if isinstance(episode, ClassificationEpisode) else episode.supports
        shots = {len(way) for way in supports if way or not header.all_classes}  # base classes have no supports
        if shots - {header.shot} and not (episode.augmented or episode.calibrates):
            raise RecordError(
                f"line {line} of {source} has a class with {min(shots - {header.shot})} supports, and the first line "
                f"says shot {header.shot}; expected as many for each class; correct one of both"
            )


def _difference(manifest: Manifest, protocol: Protocol, index: Any) -> str:
    """Say what tells a manifest from the one that the protocol draws; "" where nothing does.

    Equal lists may have another origin in words.
    """
    try:
        drawn = protocol.manifest(index, protocol.draw.task_of(manifest.header))
    except FsbenchError as error:
        return f"which cannot be drawn: {user_message(error).splitlines()[0]}"
    ours, theirs = len(drawn.episodes), len(manifest.episodes)
    if ours != theirs:
        return f"{theirs} episodes instead of {ours}"
    others = [own.index for own, one in zip(manifest.episodes, drawn.episodes, strict=True) if own != one]
    if others:
        return f"{len(others)} of {ours} episodes are others, first {others[0]}"
    keys = [key for key in drawn.entries if "lists" not in key and manifest.entries.get(key) != drawn.entries[key]]
    return f"its header has another {', another '.join(keys)}" if keys else ""
