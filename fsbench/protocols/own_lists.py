"""Users' own lists: manifests whose episodes are not those that their protocol draws."""

from dataclasses import replace
from itertools import chain
from typing import Any

from fsbench.base.errors import FsbenchError, user_message
from fsbench.data.copies import copied_images, named_ways
from fsbench.data.dataset import ClassificationData
from fsbench.data.episodes.episode import ClassificationEpisode, Episode
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.settings import SIZE_BINS
from fsbench.data.list_substitutes import print_once
from fsbench.protocols.protocol import Protocol


def marked_if_own(manifest: Manifest, protocol: Protocol, data: Any, source: object) -> Manifest:
    """Return a manifest, marked as a user's own list unless the protocol draws the same episodes from the local data.

    Any file may name any protocol in its header, and titles and pages show that name, so the episodes are compared.

    Args:
        manifest: the manifest of a user's file, which fits the data.
        protocol: the protocol that its header names.
        data: the data set, in the form of the protocol's draw.
        source: the file, for the note that is printed once.
    """
    reason = _difference(manifest, protocol, data) if manifest.header.is_official else ""
    if not reason:
        return manifest
    copied = _copied_queries(manifest, data)
    copies = f"; in {copied} of its episodes a support is a copy of a query" if copied else ""
    print_once(
        f"{source} is a list of one's own, not the episodes that {protocol.name} draws from the data and lists here "
        f"({reason}). Scores on it are no result of the protocol{copies}"
    )
    return replace(manifest, own_list=True)


def _copied_queries(manifest: Manifest, data: Any) -> int:
    """Return the number of episodes with a support that is a query's copy under another name."""
    of_classes = isinstance(data, ClassificationData)
    copies = copied_images(data, chain.from_iterable(data.images) if of_classes else manifest.image_names)
    photo = {name: place for place, group in enumerate(copies) for name in group}

    def has_copy(episode: Episode | ClassificationEpisode) -> bool:
        ways = named_ways(episode, data)
        asked = {photo[name]: name for _, queries in ways for name in queries if name in photo}
        return any(asked.get(photo.get(name, -1), name) != name for supports, _ in ways for name in supports)

    return sum(map(has_copy, manifest.episodes)) if photo else 0


def _difference(manifest: Manifest, protocol: Protocol, data: Any) -> str:
    """Say what tells a manifest from the one that the protocol draws; "" if nothing does.

    Equal lists may have another origin in words, as long as it does not claim to be the official one.
    """
    header, official = manifest.header, len(manifest.official_episodes)
    may_be_shorter = protocol.draw.may_be_shorter or header.setting in SIZE_BINS
    if header.requested < official or (header.requested > official and not may_be_shorter):
        return f"{official} episodes instead of {header.requested}"  # no number is drawn that a file only states
    if header.draws != (draws := len({one.draw for one in manifest.tested_episodes})):
        return f"{draws} draws of supports instead of {header.draws}"
    try:
        drawn = protocol.manifest(data, protocol.draw.task_of(header))
    except FsbenchError as error:
        return f"which cannot be drawn: {user_message(error).splitlines()[0]}"
    ours, theirs = len(drawn.episodes), len(manifest.episodes)
    if ours != theirs:
        return f"{theirs} episodes instead of {ours}"
    others = [own.number for own, one in zip(manifest.episodes, drawn.episodes, strict=True) if own != one]
    if others:
        return f"{len(others)} of {ours} episodes are others, first {others[0]}"
    stated, claims_official = manifest.entries, header.lists.startswith("official")
    keys = [
        key for key, value in drawn.entries.items() if stated.get(key) != value and (key != "lists" or claims_official)
    ]
    return "; ".join(
        f"the header's {key} is {str(stated.get(key))[:60]}, by the local data {str(drawn.entries[key])[:60]}"
        for key in keys
    )
