"""Single episodes of finished runs, side by side: what each method answers, how sure it is of it, and what it saw."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from fsbench.annotations import VOID
from fsbench.coarse import binary_sum
from fsbench.counts import intersection_union
from fsbench.episodes import EpisodeBatch
from fsbench.errors import RecordError, SettingsError, user_message
from fsbench.explain import Attends, Explainable, Remembers
from fsbench.explain_pictures import QUERY, SUPPORT, Panel, curves, heat, image_of, mark, overlay, sheet
from fsbench.grouping import variants
from fsbench.manifest import classifies
from fsbench.protocol import load_protocol
from fsbench.records import Record, read_record
from fsbench.reopen import check_counts, reopen_at

TILE = 200
WAYS = (QUERY, SUPPORT, (70, 190, 90), (240, 180, 40), (170, 90, 210))


@dataclass
class Answer:
    """What a method says of an episode: by way, IoU (None where there is nothing to find and nothing was predicted),
    whether it is said to be present, and how sure the method is of that; and pictures."""

    iou: list[float | None]
    present: list[bool]
    score: list[float]
    panels: list[Panel]

    @property
    def numbers(self) -> dict[str, Any]:
        return {"iou": self.iou, "present": self.present, "score": self.score}


@dataclass
class Shown:
    """An episode: its classes by way, pictures of supports and truth, and the answers by method."""

    classes: list[str]
    panels: list[Panel]
    answers: dict[str, Answer] = field(default_factory=dict)


def compare_episodes(
    folders: Sequence[Path], chosen: Sequence[int], pixel: tuple[float, float] | None
) -> tuple[dict[int, Shown], list[str]]:
    """The episodes `chosen` (indices) of the finished runs in `folders`, and remarks. `pixel`: the query's point whose
    attention is drawn, as shares of height and width; without it the middle of the object.

    Raises RecordError for folders without a record and runs on other episodes, SettingsError for an unknown episode.
    """
    records = [_segmentation(folder) for folder in folders]
    first = records[0]
    for record in records[1:]:
        if record.manifest_sha256 != first.manifest_sha256:
            raise RecordError(f"{first.path} and {record.path} are not on the same episodes; expected runs of one task")
    count = len(first.manifest.episodes)
    for number in chosen:
        if not 0 <= number < count:
            raise SettingsError(f"--episode is {number}, expected 0 to {count - 1}")
    found: dict[int, Shown] = {}
    remarks: list[str] = []
    labels = {record.path: label for label, of in variants(records).items() for record in of}
    for record in records:
        label = labels[record.path]
        label = f"{record.path.name}: {label}" if list(labels.values()).count(label) > 1 else label
        cell, episodes = reopen_at(record, chosen)
        method = cast(Any, cell.method)
        with torch.inference_mode():
            for episode in episodes:
                number = int(episode.episodes[0])
                if number not in found:
                    names = [cell.data.dataset.class_names[c - 1] for c in episode.known_truth().classes[0].tolist()]
                    found[number] = Shown(names, _given(episode, names))
                result = method.evaluate(episode)
                try:
                    check_counts(record, [result])
                except RecordError as error:
                    remarks.append(f"{label}: {user_message(error)}")
                void = load_protocol(record.header["protocol"]).void
                inside, union = intersection_union(result.counts[1:].numpy(), void)
                iou = [float(i) / float(u) if u else None for i, u in zip(inside, union, strict=True)]
                found[number].answers[label] = Answer(
                    iou, result.decided.tolist(), result.score.tolist(), _panels(method, episode, result, iou, pixel)
                )
    return dict(sorted(found.items())), remarks


def draw(path: Path, shown: Shown) -> None:
    """A row of supports and truth, then one of each method."""
    rows = [shown.panels]
    for label, answer in shown.answers.items():
        name, rest = answer.panels[0], answer.panels[1:]
        rows.append([(label, name[1]), *rest])
    sheet(path, rows, TILE)


def _segmentation(folder: Path) -> Record:
    record = read_record(folder)
    if record is None:
        raise RecordError(f"{folder} is no finished run; expected a folder that `make bench` wrote")
    if classifies(record.header):
        raise SettingsError(f"{folder} is a run of classification, which has no masks; leave --episode out")
    return record


def _given(episode: EpisodeBatch, names: Sequence[str]) -> list[Panel]:
    panels = []
    for way, name in enumerate(names):
        for shot, (image, mask) in enumerate(zip(episode.support[0, way], episode.support_masks[0, way], strict=True)):
            picture = overlay(image_of(episode.images[int(image)]), mask.cpu().numpy(), WAYS[way % len(WAYS)])
            panels.append((f"support {shot + 1}: {name}", picture))
    query = _query(episode)
    truth = episode.known_truth().label_maps[0].cpu().numpy()
    there = [name for way, name in enumerate(names, 1) if (truth == way).any()]
    return [*panels, ("query", query), (f"truth: {', '.join(there) or 'none'}", _ways(query, truth))]


def _query(episode: EpisodeBatch) -> np.ndarray:
    return image_of(episode.images[int(episode.query[0])])


def _ways(query: np.ndarray, label_map: np.ndarray) -> np.ndarray:
    """Ways in their colours over the query, void white."""
    for way in range(1, 1 + int(np.max(np.where(label_map == VOID, 0, label_map)))):
        query = overlay(query, label_map == way, WAYS[(way - 1) % len(WAYS)])
    return overlay(query, label_map == VOID, (255, 255, 255))


def _panels(
    method: Any, episode: EpisodeBatch, result: Any, iou: Sequence[float | None], pixel: tuple[float, float] | None
) -> list[Panel]:
    """The prediction, the soft mask of each way, and what the method can show of itself, if its run is 1-way."""
    query, hidden = _query(episode), episode.without_truth()
    stated = ", ".join("–" if value is None else f"{100 * value:.1f}" for value in iou)
    panels = [("", _ways(query, result.label_map.numpy()))]
    logits = method._predict(hidden).logits
    ways = len(iou)
    panels.append((f"IoU {stated}", errors(query, result.label_map.numpy(), _truth(episode))))
    if logits is not None:
        soft = logits.float().softmax(1)[:, 1].cpu().numpy()
        for way, values in enumerate(soft):
            panels.append((f"soft mask{f' {way + 1}' if ways > 1 else ''}", heat(values, query, (0, 1))))
    if ways > 1:
        return panels
    if isinstance(method, Explainable):
        size = (int(episode.query_sizes[0, 0]), int(episode.query_sizes[0, 1]))
        for scale, masks in method.coarse_masks(hidden).items():
            _, binary = binary_sum(masks, size)
            panels.append((f"1/{scale} sum", heat(masks.sum(0).cpu().numpy(), query)))
            panels.append((f"1/{scale} Otsu", overlay(query, binary.cpu().numpy() == 1, QUERY)))
    if isinstance(method, Attends):
        panels += _attention(method, hidden, query, pixel or middle(_truth(episode) == 1))
    if isinstance(method, Remembers):
        panels += _memory(method, hidden)
    return panels


def _truth(episode: EpisodeBatch) -> np.ndarray:
    return episode.known_truth().label_maps[0].cpu().numpy()


def middle(inside: np.ndarray) -> tuple[float, float]:
    """The pixel of a mask next to its centre, as shares of height and width; the picture's middle without a mask."""
    places = np.argwhere(inside)
    if not len(places):
        return 0.5, 0.5
    row, column = places[np.abs(places - places.mean(0)).sum(1).argmin()]  # of the object's pixels, so inside it
    return row / inside.shape[0], column / inside.shape[1]


def errors(query: np.ndarray, answer: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Pixels that are right green, false alarms orange, missed ones blue, another way's purple (see the report)."""
    from fsbench.report.gallery import ERRORS
    from fsbench.report.gallery import errors as kinds

    shown = kinds(answer, truth)
    for kind, colour in enumerate(ERRORS, 1):
        query = overlay(query, shown == kind, (int(colour[0]), int(colour[1]), int(colour[2])))
    return overlay(query, shown == VOID, (255, 255, 255))


def _attention(method: Attends, episode: EpisodeBatch, query: np.ndarray, pixel: tuple[float, float]) -> list[Panel]:
    """Where a query's point looks in each support, what it would look at without the mask, and what that removed."""
    row, column = pixel
    panels = [("looks from", mark(query, int(row * query.shape[0]), int(column * query.shape[1])))]
    maps = {name: found.cpu().numpy() for name, found in method.support_attention(episode, row, column).items()}
    for shot, image in enumerate(episode.support[0, 0].tolist()):
        support = image_of(episode.images[image])
        with_mask, without = maps["attention"][shot], maps["without the mask"][shot]
        removed = float(without[with_mask == 0].sum() / max(without.sum(), 1e-12))
        panels += [(name, heat(found[shot], support)) for name, found in maps.items()]
        panels.append((f"removed: {removed:.0%}", heat(np.where(with_mask == 0, without, 0), support)))
    return panels


def _memory(method: Remembers, episode: EpisodeBatch) -> list[Panel]:
    try:
        found = method.memory_of(episode)
    except SettingsError:  # this one has no state
        return []
    of_block: dict[str, dict[str, torch.Tensor]] = {}
    for name, curve in found.items():
        block, _, what = name.partition(": ")
        of_block.setdefault(block, {})[what] = curve.cpu()
    return [(f"{block}: state ~ support", curves(of, "query, as scanned", TILE)) for block, of in of_block.items()]
