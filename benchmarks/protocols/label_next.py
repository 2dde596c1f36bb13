"""Measure whether the choice of `fsbench predict --label-next` beats a random one, on runs with several draws.

Of every query of a run with DRAWS=M the suite knows the score with M supports. A rule chooses one of them without
seeing a mask; the score with its choice, less the mean over the M, which a random choice has, is what it gains.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from fsbench.base.errors import SettingsError
from fsbench.data.clutter import clutter
from fsbench.data.image_io import read_view
from fsbench.data.transforms import resize_image
from fsbench.networks.backbones.patch_features import patch_features
from fsbench.predict.label_next import Queries, patch_grid
from fsbench.records.grouping import comparable, variants
from fsbench.records.record import Record, find_distinct_records
from fsbench.results.tables.layout import corrected_p, moved
from fsbench.results.tables.supports.sensitivity import episode_table
from fsbench.runner.engine.restore import load_run
from fsbench.runner.engine.stored_data import open_dataset
from fsbench.scores.decisions import holm
from fsbench.scores.estimate import Estimate
from fsbench.scores.rank_correlation import clustered_mean

RULES = {
    "--label-next, one query": "likeness of the patches to those of the query itself",
    "--label-next, all queries": "likeness of the patches to those of all queries of the class, as the command ranks",
    "mean feature, one query": "cosine of the mean features of both images",
    "mean feature, all queries": "cosine of the mean features, mean over all queries of the class",
    "least clutter": "smallest steps in brightness of the whole image",
}
"""Rules that are tried, with what they rank by."""


@dataclass(frozen=True)
class RuleResult:
    """A rule on the runs of one method.

    Attributes:
        dataset, method: of the runs.
        rule: name of `RULES`.
        random: mean score of an episode over all draws.
        best: that of the best draw of every query.
        gain: of the rule's choice over the mean of the draws, mean over queries.
        p: of the gain, by Holm's method over the rules.
        queries: number of queries.
    """

    dataset: str
    method: str
    rule: str
    random: float
    best: float
    gain: Estimate
    p: float
    queries: int


def measure_label_next(folders: Sequence[Path]) -> str:
    """Return the table of all rules on the finished 1-way 1-shot runs in `folders` that have several draws.

    Raises:
        SettingsError: there are none.
    """
    records = [record for record in find_distinct_records(folders) if _is_usable(record)]
    if not records:
        raise SettingsError(
            "no finished 1-way 1-shot run has several draws; expected those of: fsbench bench --draws 8"
        )
    results = [
        result
        for group in comparable(records)
        for label, members in variants(group).items()
        for result in compare_rules(label, members)
    ]
    return _markdown(results)


def _is_usable(record: Record) -> bool:
    header = record.header
    return record.protocol.has_masks and header.draws > 1 and header.shot == header.way == 1


def compare_rules(label: str, records: Sequence[Record]) -> list[RuleResult]:
    """Compare all rules with a random choice, on a method's runs of all folds."""
    gains: dict[str, list[np.ndarray]] = {}
    scores, images = [], []
    for record in records:
        table = episode_table(record)
        score = table.by_query()
        values = rule_values(record)
        first = np.lexsort((table.draw, table.query))[:: score.shape[1]]
        images.append(table.image[first])
        scores.append(score)
        for rule, value in values.items():
            gains.setdefault(rule, []).append(gain_of_choice(score, value))
    score, image = np.concatenate(scores), np.concatenate(images)
    found = {rule: clustered_mean(np.concatenate(gain), image) for rule, gain in gains.items()}
    corrected = dict(zip(found, holm([gain.p for gain in found.values()]), strict=True))
    random, best = float(score.mean()), float(score.max(1).mean())
    dataset = records[0].header.dataset
    return [
        RuleResult(dataset, label, rule, random, best, gain, corrected[rule], len(score))
        for rule, gain in found.items()
    ]


def gain_of_choice(scores: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the score with the draw of the highest value less the mean of all draws, (Q,); of equal ones their mean.

    Args:
        scores: (Q, draws), percent.
        values: (Q, draws), what a rule ranks by.
    """
    chosen = values == values.max(1, keepdims=True)
    gain: np.ndarray = (scores * chosen).sum(1) / chosen.sum(1) - scores.mean(1)
    return gain


def rule_values(record: Record) -> dict[str, np.ndarray]:
    """Return what every rule of `RULES` gives the draws of each query, (Q, draws), by ascending number of the query."""
    index, experiment = open_dataset(record), load_run(record.path)
    side, backbone = experiment.data.image_size, experiment.method.backbone
    grids, steps = {}, {}
    for name in record.manifest.image_names:
        pixels = read_view(index.image_path(name), index.crop(name))
        with torch.inference_mode():
            grids[name] = patch_grid(patch_features(backbone, resize_image(pixels, side)))
        steps[name] = clutter(pixels)
    means = {name: F.normalize(grid.mean(0), dim=0) for name, grid in grids.items()}

    official, draws = record.manifest.official_episodes, record.header.draws
    episodes = {episode.index: episode for episode in record.manifest.episodes}
    supports = [
        [episodes[episode.index + draw * len(official)].supports[0][0] for draw in range(draws)]
        for episode in sorted(official, key=lambda episode: episode.index)
    ]
    asked = [(episode.query, episode.classes[0]) for episode in sorted(official, key=lambda episode: episode.index)]
    by_class: dict[int, list[str]] = {}
    for name, number in dict.fromkeys(asked):
        by_class.setdefault(number, []).append(name)
    compared = {number: Queries([grids[name] for name in names]) for number, names in by_class.items()}
    covers = {  # (Q of the class,): mean over patches; an image is no example for itself
        (number, shot): np.where(
            [name == shot for name in by_class[number]], np.nan, compared[number].cover(grids[shot]).mean(1)
        )
        for (_, number), shots in zip(asked, supports, strict=True)
        for shot in dict.fromkeys(shots)
    }

    def table(value: Callable[[str, int, str], float]) -> np.ndarray:
        rows = zip(asked, supports, strict=True)
        return np.array([[value(query, number, shot) for shot in shots] for (query, number), shots in rows])

    alone = {name: Queries([grids[name]]) for name in dict.fromkeys(name for name, _ in asked)}
    others = {
        (number, shot): [name for name in names if name != shot] for number, names in by_class.items() for shot in grids
    }
    return dict(
        zip(
            RULES,
            (
                table(lambda query, number, shot: float(alone[query].cover(grids[shot]).mean())),
                table(lambda query, number, shot: float(np.nanmean(covers[number, shot]))),
                table(lambda query, number, shot: float(means[query] @ means[shot])),
                table(
                    lambda query, number, shot: float(
                        np.mean([means[name] @ means[shot] for name in others[number, shot]])
                    )
                ),
                table(lambda query, number, shot: -steps[shot]),
            ),
            strict=True,
        )
    )


def _markdown(results: Sequence[RuleResult]) -> str:
    """Lay the results out as a table."""
    lines = [
        "| data set | method | rule | random | best | gain of the choice | corrected p | queries |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        cells = [
            result.dataset, result.method, result.rule, f"{result.random:.1f}", f"{result.best:.1f}",
            moved(result.gain, 1), corrected_p(result.p).rstrip(),
            str(result.queries),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
