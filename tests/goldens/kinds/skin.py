"""FoB's test of skin lesions: folds, episodes, frames and scores (skin-ds.md §1)."""

import gzip
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from fsbench.data.episodes.task import Task
from fsbench.data.image_io import image_pixels
from fsbench.data.label_maps import way_labels
from fsbench.data.transforms import RESIZES
from fsbench.datamodules.datasets.isic import IMAGES, MASKS, NUMBERINGS, IsicFolds
from fsbench.datamodules.kinds.binary_masks import file_stem
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import load_segmentation
from fsbench.scores.answers import SegmentationAnswer
from tests.fsbench.scores.once import scores_once
from tests.goldens.cases import Case, Skipped
from tests.goldens.declared import Kind, Near, Parts, Same, absolute
from tests.goldens.kinds.distillfss import ellipse, grey_image, save

SIDE = 256
"""Side of the frame, at which the program counts."""
NEAR = 1e-4
"""Distance of a value to the threshold within which a pixel may be decided otherwise."""


def evaluation(case: Case, setting: int) -> Parts:
    if setting != 1:
        raise Skipped(f"setting {setting} is not built: its program seeds no NumPy, which draws its episodes (§2)")
    salt, tau, fold, folds, items = (case.config[name] for name in ("salt", "tau", "fold", "folds", "items"))
    out, protocol = case.data["out"], load_segmentation("fob_skin")
    with TemporaryDirectory() as folder:
        data = _drawn_data(Path(folder), salt, folds, items)
        number = fold - 1 if f"fold_{fold}" in folds else fold
        manifest = protocol.manifest(data, Task(fold=number))
        pairs = [(_id(one.query), _id(one.supports[0][0])) for one in manifest.episodes]
        listed = [pair for own in out["episodes"].values() for pair in own]
        kinds = [kind for kind, own in out["episodes"].items() for _ in own]
        named = [data.name_of(one.query_class) for one in manifest.episodes]
        yield {"episodes": Same([list(pair) for pair in pairs], listed), "classes": Same(named, kinds)}
        rows: list[dict[str, Any]] = []
        for episode, expected in zip(manifest.episodes, out["pixels"], strict=True):
            truth = protocol.view.episode_truth(data, episode, SIDE)
            support, mask = _frame(protocol, data, episode.supports[0][0])
            distance = np.abs(_frame(protocol, data, episode.query)[0] - support[mask].mean())
            answer = SegmentationAnswer((distance < tau).astype(np.uint8))
            unclear = int((np.abs(distance - tau) < NEAR).sum())
            found = [int(mask.sum()), int((truth.label_map == 1).sum()), int(answer.label_map.sum())]
            is_near = found[:2] == expected[:2] and abs(found[2] - expected[2]) <= unclear
            yield {f"pixels of episode {episode.number}": Same(found if not is_near else expected, expected)}
            rows += [row | {"query": episode.query} for row in protocol.count(answer, truth).rows()]
        frame = pl.DataFrame(rows, schema_overrides={"rom": pl.Float64, "rum": pl.Float64})
        scores = _by_image(frame)
        yield {"scores": Near(scores.tolist(), out["scores"])}
        found = scores_once([protocol.statistics(frame, manifest.header)])
        classes = np.array(kinds)
        means = {kind: scores[classes == kind].mean(0) for kind in dict.fromkeys(kinds)}
        figures = {"Mean": scores.mean(0), **{f"Category {kind}": mean for kind, mean in means.items()}}
        for place, (word, metric) in enumerate((("Dice", "Dice-by-image"), ("IoU", "IoU-by-image"))):
            own = {f"{name} {word}": values[place] for name, values in figures.items()}
            yield {
                f"figures {word}": Near(
                    [own[name] for name in out["figures"] if name in own],
                    [value for name, value in out["figures"].items() if name.endswith(word)],
                ),
                f"mean over classes {word}": Near(
                    found[metric].value / 100,
                    float(np.mean([out["figures"][f"Category {kind} {word}"] for kind in means])),
                ),
            }


def _id(name: str) -> str:
    return file_stem(name)


def _drawn_data(
    root: Path, salt: str, folds: Mapping[str, Mapping[str, Sequence[str]]], items: Sequence[Mapping[str, Any]]
) -> IsicFolds:
    """Return the data set of a drawn folder with a list of folds of its own."""
    for item in items:
        shown = ellipse(*item["size"], *item["blob"])
        image = grey_image(salt + item["id"], shown, item["lift"])
        place = NUMBERINGS["ifa"].index(item["category"]) + 1
        save(root / IMAGES / f"{place}/{item['id']}.jpg", np.repeat(image[..., None], 3, 2))
        save(root / MASKS / f"{item['id']}_segmentation.png", shown * np.uint8(255))
    for place in (1, 2, 3):
        (root / IMAGES / str(place)).mkdir(parents=True, exist_ok=True)
    text = io.StringIO("id,class,fold\n")
    text.seek(0, io.SEEK_END)
    for fold, kinds in folds.items():
        text.writelines(f"{name},{kind},{fold[5:]}\n" for kind, names in kinds.items() for name in names)
    (root / "folds.csv.gz").write_bytes(gzip.compress(text.getvalue().encode()))
    drawn = type("DrawnFolds", (IsicFolds,), {"fold_list": root / "folds.csv.gz", "folds": len(folds)})
    return drawn(str(root))  # type: ignore[no-any-return]


def _frame(protocol: Protocol, data: IsicFolds, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return channel 0 of an image (S, S) float64 as the program prepares it, and its mask (S, S) bool."""
    image, labels = RESIZES[protocol.view.resize]
    pixels = image(image_pixels(data, name), SIDE).numpy().astype(np.float32)
    values = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    mask = labels(way_labels(data.label_map(name), [1]), SIDE, SIDE)
    return values[0].astype(np.float64), mask > 0


def _by_image(frame: pl.DataFrame) -> np.ndarray:
    """Return Dice and IoU (n, 2) of each image."""
    hits, predicted, true = (
        frame.filter(pl.col("slot") == 1)[name].to_numpy().astype(float) for name in ("tp", "pred", "gt")
    )
    with np.errstate(invalid="ignore"):
        return np.stack([2 * hits / (predicted + true), hits / (predicted + true - hits)], 1)


KINDS = {"skin_evaluation": Kind(evaluation, {"": absolute(1e-4)})}
