"""Pictures of chosen episodes: every method predicts them once more, and its counts must be the record's."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fsbench.annotations import VOID
from fsbench.counts import COUNTS
from fsbench.errors import FsbenchError, RecordError, user_message
from fsbench.records import Record, result_rows
from fsbench.report.collect import Study
from fsbench.report.episodes import worth_a_look

if TYPE_CHECKING:
    from fsbench.annotations import AnnotationIndex
    from fsbench.metrics import EpisodeResult
    from fsbench.samplers import Episode

SIDE = 240
"""Of a thumbnail's longer edge."""
HIT, ALARM, MISSED, OTHER = 1, 2, 3, 4
"""Kinds of pixels: rightly found, found where there is none, not found, taken for another way."""
ERRORS = np.array([[0, 158, 115], [213, 94, 0], [86, 180, 233], [204, 121, 167]], dtype=np.uint8)


@dataclass
class Pictures:
    """Files, relative to the study's folder: fold -> episode -> {"support": [...], "query", "truth", "methods":
    {position of the method: [prediction, errors]}}; and why there are none of a run."""

    files: dict[int, dict[int, dict[str, Any]]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def picture(study: Study, folder: Path, count: int, say: Callable[[str], None]) -> Pictures:
    """Draw `count` episodes of each pair of methods into `folder`/gallery."""
    found = Pictures()
    if not count:
        found.missing.append("Pictures were not asked for (--gallery 0).")
        return found
    able = [
        label for label, of in study.methods.items() if all((r.path / "config.yaml").is_file() for r in of.values())
    ]
    without = [label for label in study.methods if label not in able]
    if without:
        found.missing.append(f"No pictures of {', '.join(without)}: there is no config.yaml beside the record.")
    if not able:
        return found
    labels = able if len(able) > 1 else able * 2
    for fold, positions in worth_a_look(study.folds, labels, count).items():
        chosen = {study.folds[fold].episodes[i].index: study.folds[fold].episodes[i] for i in positions}
        for label in able:
            record = study.methods[label].get(fold)
            if record is None or not chosen:
                continue
            say(f"gallery: {label}, fold {fold}: {len(chosen)} episodes")
            number = list(study.methods).index(label)
            try:
                index, results = again(record, chosen.keys())
                for result in results:
                    _keep(found, index, folder, fold, number, chosen[result.episode], result)
            except FsbenchError as error:
                found.missing.append(f"No pictures of {label}, fold {fold}: {user_message(error).splitlines()[0]}")
            except Exception as error:  # images that cannot be read, memory that is not there: numbers are shown alone
                found.missing.append(f"No pictures of {label}, fold {fold}: {type(error).__name__}: {error}")
    return found


def again(record: Record, chosen: Iterable[int]) -> "tuple[AnnotationIndex, list[EpisodeResult]]":
    """The data set and the results of the episodes `chosen`, which are those of the record.

    Raises RecordError where the data or the counts are others than the record's."""
    import torch

    from fsbench.episodes import EpisodeBatch
    from fsbench.reopen import reopen

    cell = reopen(record.path)
    data, method = cast(Any, cell.data), cast(Any, cell.method)
    if data.manifest.sha256 != record.manifest_sha256 or data.files_sha256 != record.run["identity"]["files_sha256"]:
        raise RecordError("the data at hand are not those that the run was tested on")
    wanted = set(chosen)
    data.workers = 0
    data.done = frozenset(episode.index for episode in data.manifest.episodes) - wanted
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    method.to(device)
    results: list[EpisodeResult] = []
    with torch.inference_mode():
        if method.calibrates and not cell.trains:
            method.calibrate(episode.to(device) for episode in data.calibration_episodes())
        batches: Iterable[EpisodeBatch] = data.test_dataloader()
        for batch in batches:
            results += method.test_step(batch.to(device), 0)["results"]
    check_counts(record, results)
    return data.dataset, results


def check_counts(record: Record, results: "Iterable[EpisodeResult]") -> None:
    """Raise RecordError unless the counts and decisions of `results` are the record's."""
    columns = ["class_id", *COUNTS, "decided"]
    kept = {(row["episode"], row["slot"]): [row[name] for name in columns] for row in record.episodes.to_dicts()}
    for result in results:
        for row in result_rows(result):
            if kept[row["episode"], row["slot"]] != [row[name] for name in columns]:
                raise RecordError(
                    f"episode {result.episode} has other counts now than in the record (another device, other versions "
                    "or other weights); a picture would not be of what was scored"
                )


def _keep(
    found: Pictures,
    index: "AnnotationIndex",
    folder: Path,
    fold: int,
    number: int,
    episode: "Episode",
    result: "EpisodeResult",
) -> None:
    from fsbench.pictures import COLOURS, painted, query_slots, support_slots

    name = f"gallery/f{fold}-{episode.index:06d}"
    truth = query_slots(index, episode)

    def write(what: str, image: str, slots: np.ndarray, colours: np.ndarray = COLOURS) -> str:
        shown = painted(index, image, slots, colours)
        shown.thumbnail((SIDE, SIDE))
        (folder / "gallery").mkdir(exist_ok=True)
        shown.save(folder / f"{name}-{what}.jpg", quality=85)
        return f"{name}-{what}.jpg"

    entry = found.files.setdefault(fold, {}).get(episode.index)
    if entry is None:
        supports = [
            write(f"s{way}-{n}", shot, support_slots(index, shot, number_, way))
            for way, (number_, shots) in enumerate(zip(episode.classes, episode.supports, strict=True))
            for n, shot in enumerate(shots)
        ]
        entry = {"support": supports, "query": write("q", episode.query, np.zeros_like(truth)), "methods": {}}
        entry["truth"] = write("t", episode.query, truth)
        found.files[fold][episode.index] = entry
    answer = result.label_map.numpy()
    files = [write(f"m{number}", episode.query, answer)]
    files.append(write(f"e{number}", episode.query, errors(answer, truth), ERRORS))
    entry["methods"][number] = files


def errors(answer: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Kind of every pixel of the prediction (h, w), of which the truth may have another size; void stays void."""
    from fsbench.preprocess import resize_labels

    truth = resize_labels(truth, *answer.shape)
    kinds = np.zeros(answer.shape, dtype=np.uint8)
    kinds[(answer > 0) & (truth == answer)] = HIT
    kinds[(answer > 0) & (truth == 0)] = ALARM
    kinds[(answer == 0) & (truth > 0)] = MISSED
    kinds[(answer > 0) & (truth > 0) & (truth != answer)] = OTHER
    kinds[truth == VOID] = VOID
    return kinds
