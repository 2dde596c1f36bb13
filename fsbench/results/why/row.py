"""The claim of a row of the atlas: its figures, and the conditions in which its test and a run's differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from fsbench.base.errors import SettingsError, did_you_mean
from fsbench.data.episodes.header import Header
from fsbench.protocols.conditions import ATLAS_NAMES, UNKNOWN, is_unsure
from fsbench.protocols.parts.comparison import PARTS as SIZES
from fsbench.protocols.segmentation import segmentation_of
from fsbench.results.atlas.atlas import Atlas, Entry
from fsbench.results.atlas.figures import Figure as PrintedFigure
from fsbench.results.atlas.words import LABELS
from fsbench.results.why.changes import LEAST_OBJECT, LargeObjects
from fsbench.results.why.claims import Claim, Figure
from fsbench.results.why.scores import POOLED
from fsbench.results.why.spreads import MeanOfFolds

EPISODES = ("image_lists", "min_object", "episode_draw", "episodes_per_fold", "seeds", "depends_on")
"""Conditions that make other episodes."""
SEEN = ("geometry", "network_size", "checkpoint")
"""Conditions that make other predictions."""
COUNTED = ("void", "compared_at", "metric")
"""Conditions that the counts of a run can follow."""
_FEWEST_ROWS = 5
"""Published rows below which their folds tell nothing of others'."""


@dataclass(frozen=True)
class ClaimedRow:
    """A row of the atlas as a claim about a run's test.

    Attributes:
        entry: its id.
        source: where its figures are printed; "" where it has none of this test.
        claim: its figures; None where it has none.
        expected: (axis, word) of changes in which its test differs from the run's.
        sizes: words of `compared_at` that its test has.
        differs: conditions that differ and that no stored prediction can follow, in words.
    """

    entry: str
    source: str
    claim: Claim | None
    expected: tuple[tuple[str, str], ...]
    sizes: tuple[str, ...]
    differs: tuple[str, ...]


def claimed_row(atlas: Atlas, name: str, header: Header, image_size: int | None, metric: str = "mIoU") -> ClaimedRow:
    """Return what a row of the atlas claims of a run's test.

    Args:
        atlas: published figures.
        name: id of an entry, such as hmnet/pascal-5i/resnet-50.
        header: of the run's manifest.
        image_size: side of the images that the run's method saw; None where it is not known.
        metric: of the figures.

    Raises:
        SettingsError: there is no such entry, or it is of another data set.
    """
    entry = atlas.entry(name)
    if entry is None:
        near = did_you_mean(name[:100], [one.id for one in atlas.entries if one.figures])
        raise SettingsError(
            f"the atlas has no entry '{name[:100]}'{near or '; expected <method>/<data set>/<backbone>'} (see: fsbench "
            "atlas page)"
        )
    if ATLAS_NAMES.get(header.dataset) != entry.dataset:
        raise SettingsError(f"{entry.id} is on {entry.dataset}, and the run on {header.dataset}; expected one data set")
    claim, source = _claim(entry, header, metric)
    expected, sizes, differs = _differences(entry, header, image_size)
    return ClaimedRow(entry.id, source, claim, expected, sizes, differs)


def _claim(entry: Entry, header: Header, metric: str) -> tuple[Claim | None, str]:
    """Return the figures of the source that prints most of them, an own one first, and that source."""
    by_source: dict[str, dict[str, PrintedFigure]] = {}
    for each in entry.figures:
        figure = each.figure
        if (figure.way, figure.shot, figure.metric) == (str(header.way), str(header.shot), metric):
            key = "mean" if figure.is_whole else figure.fold
            by_source.setdefault(figure.source, {}).setdefault(key, figure)
    if not by_source:
        return None, ""
    source = max(by_source, key=lambda name: len(by_source[name]))  # the first of equal ones: own sources come first
    found = by_source[source]
    means = [own["mean"] for own in by_source.values() if "mean" in own]
    mean_of = found.get("mean") or (means[0] if means else None)
    folds = {int(key): _printed(figure) for key, figure in found.items() if key.isdecimal()}
    return Claim(None if mean_of is None else _printed(mean_of), folds), source


def _printed(figure: PrintedFigure) -> Figure:
    return Figure.parse(figure.printed or figure.value)


def _differences(
    entry: Entry, header: Header, image_size: int | None
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...], tuple[str, ...]]:
    own = segmentation_of(header).conditions(header.dataset)
    theirs = entry.conditions
    expected: list[tuple[str, str]] = []
    sizes: list[str] = []
    differs: list[str] = []
    for name in COUNTED:
        ours, word = getattr(own, name), theirs[name]
        if word in UNKNOWN:
            differs.append(f"{LABELS.get(name, name)}: not known of {entry.id}")
        elif word != ours and {word, ours} != {"none", "ignored"}:
            words = _open_words(name, word)
            sizes += words if name == "compared_at" else []
            expected += [(axis, each) for each in words for axis in _axes(name, each)]
    if theirs["min_object"].startswith(str(LEAST_OBJECT)) and not own.min_object.startswith(str(LEAST_OBJECT)):
        expected.append((LargeObjects.axis, LargeObjects().word))
    if theirs["episodes_per_fold"].isdecimal() and theirs["episodes_per_fold"] != str(header.requested):
        expected.append(("episodes_per_fold", theirs["episodes_per_fold"]))
    other_words = [
        f"{LABELS.get(name, name)} {theirs[name]}, here {ours}"
        for name in EPISODES
        if (ours := getattr(own, name)) != theirs[name] and theirs[name] not in UNKNOWN
    ]
    if other_words:
        expected.append(("seeds", "another seed, or another number of workers"))
        differs.append(f"other episodes: {'; '.join(other_words)}")
    if theirs["geometry"] not in (own.geometry, *UNKNOWN) and not is_unsure("geometry", theirs["geometry"]):
        differs.append(f"other predictions: images by '{theirs['geometry']}', here '{own.geometry}'")
    if image_size is not None and theirs["network_size"].isdecimal() and theirs["network_size"] != str(image_size):
        differs.append(f"other predictions: images of {theirs['network_size']}, here {image_size}")
    if theirs["checkpoint"] not in UNKNOWN:
        differs.append(f"its checkpoint is '{theirs['checkpoint']}'")
    return tuple(dict.fromkeys(expected)), tuple(sizes), tuple(differs)


def _open_words(name: str, word: str) -> list[str]:
    """Return the words that an open one may stand for; of others the word itself."""
    if name == "compared_at" and is_unsure(name, word):
        return [known for known in SIZES if known.startswith(f"{word},") and "frame" not in known]
    return [word]


def _axes(name: str, word: str) -> list[str]:
    """Return the axes of changes that a condition of the atlas may be."""
    if name != "metric":
        return [name]
    return ["void"] if word.endswith("present only") else ["absent classes"] if word.startswith(POOLED) else [name]


def mean_of_folds(atlas: Atlas, dataset: str, folds: Sequence[int], of_test: int) -> MeanOfFolds | None:
    """Return how far the mean of a data set's folds lies above some of them, by the figures of published rows.

    None where few rows print all folds.
    """
    moved = []
    for entry in atlas.entries:
        if entry.dataset != ATLAS_NAMES.get(dataset):
            continue
        by_table: dict[tuple[str, str, str], dict[str, float]] = {}
        for each in entry.figures:
            figure = each.figure
            if figure.metric == "mIoU":
                by_table.setdefault((figure.source, figure.shot, figure.setting), {})[figure.fold] = figure.value
        moved += [_moved(values, folds, of_test) for values in by_table.values() if _has_all(values, of_test)]
    if len(moved) < _FEWEST_ROWS:
        return None
    return MeanOfFolds(tuple(folds), of_test, mean(moved), stdev(moved), len(moved))


def _has_all(values: Mapping[str, float], of_test: int) -> bool:
    return all(str(fold) in values for fold in range(of_test))


def _moved(values: Mapping[str, float], folds: Sequence[int], of_test: int) -> float:
    whole = mean(values[str(fold)] for fold in range(of_test))
    return whole - mean(values[str(fold)] for fold in folds)
