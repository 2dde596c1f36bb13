"""The finished runs that are explained side by side: read, on the same episodes, each under a label of its own."""

from collections.abc import Sequence
from pathlib import Path

from fsbench.base.errors import RecordError, SettingsError, near_path
from fsbench.records.grouping import variants
from fsbench.records.record import Record, read_record


def read_comparable_records(folders: Sequence[Path], chosen: Sequence[int]) -> dict[str, Record]:
    """Read segmentation runs that have the same episodes.

    Args:
        folders: Folders of finished runs.
        chosen: Indices of episodes that the runs must have.

    Returns:
        {label: run}; the label is the method's name, followed by the folder if two runs have the same name.

    Raises:
        RecordError: a folder has no record, or the runs are on different episodes.
        SettingsError: a chosen episode does not exist, or a run is a classification run.
    """
    records = [_read_segmentation_record(folder) for folder in folders]
    first = records[0]
    for record in records[1:]:
        if record.manifest_sha256 != first.manifest_sha256:
            raise RecordError(f"{first.path} and {record.path} are not on the same episodes; expected runs of one task")
    known = sorted(episode.number for episode in first.manifest.episodes)
    for number in chosen:
        if number not in known:
            raise SettingsError(f"--episode is {number}, expected {_range_words(known)}")
    return dict(zip(_unique_labels(records), records, strict=True))


def standing(record: Record, number: int) -> str:
    """Say why an episode is not part of a run's scores; "" if it is.

    The reason is that the episode only calibrates, or that it draws other supports for the query of another episode.
    """
    (episode,) = (one for one in record.manifest.episodes if one.number == number)
    if episode.calibrates:
        return "only calibrates"
    official = number - episode.draw * len(record.manifest.official_episodes)
    return f"draw {episode.draw} of episode {official}" if episode.draw else ""


def _range_words(numbers: Sequence[int]) -> str:
    """Return words for the sorted numbers of a list's episodes, which in a selection of another list have gaps."""
    first, last = numbers[0], numbers[-1]
    if last - first + 1 == len(numbers):
        return f"{first} to {last}"
    some = f"{', '.join(map(str, numbers[:5]))}, ... {last}" if len(numbers) > 6 else ", ".join(map(str, numbers))
    return f"one of the {len(numbers)} of this list: {some}"


def _read_segmentation_record(folder: Path) -> Record:
    record = read_record(folder)
    if record is None:
        expected = f"expected a folder that `make bench` wrote{near_path(folder)}"
        raise RecordError(f"{folder} is no finished run; {expected}")
    if not record.protocol.has_masks:
        raise SettingsError(f"{folder} is a run of classification, which has no masks; expected one of segmentation")
    return record


def _unique_labels(records: Sequence[Record]) -> list[str]:
    label_of = {record.path: label for label, group in variants(list(records)).items() for record in group}
    labels = [label_of[record.path] for record in records]
    return [
        f"{record.path.name}: {label}" if labels.count(label) > 1 else label
        for record, label in zip(records, labels, strict=True)
    ]
