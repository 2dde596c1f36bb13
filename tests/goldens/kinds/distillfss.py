"""DistillFSS's test: its data sets on drawn folders, their supports, and the scores of a stub (fixed-supports.md A)."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from fsbench.data.batch import normalise
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.task import Task
from fsbench.data.image_io import image_pixels
from fsbench.data.label_maps import way_labels
from fsbench.data.transforms import RESIZES
from fsbench.datamodules.datasets.distillfss import Kvasir, Nucleus, Pothole, WeedMap
from fsbench.datamodules.datasets.industrial import Industrial
from fsbench.datamodules.datasets.isic import IsicListed
from fsbench.datamodules.datasets.lungcancer import LungCancer
from fsbench.datamodules.kinds.two_lists import TwoLists
from fsbench.datamodules.prepare.job import Job
from fsbench.protocols.draws.fixed_supports import EvenlySpaced
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.reading import load_segmentation
from fsbench.scores.answers import SegmentationAnswer
from fsbench.scores.confusion import COUNTS
from tests.fsbench.scores.once import scores_once
from tests.goldens.cases import Case, Skipped
from tests.goldens.declared import Kind, Near, Parts, Results, Same, absolute
from tests.goldens.hashed import hashed

Item = Mapping[str, Any]

# Drawing


def ellipse(height: int, width: int, cy: int, cx: int, ry: int, rx: int) -> np.ndarray:
    """Return the pixels (H, W) bool of an ellipse (`about.ellipse`)."""
    y, x = np.arange(height)[:, None], np.arange(width)[None]
    return (y - cy) ** 2 * rx**2 + (x - cx) ** 2 * ry**2 < ry**2 * rx**2


def blocks(key: str, height: int, width: int) -> np.ndarray:
    """Return numbers (H, W) in [-1, 1] that are the same in each block of 8 x 8 pixels."""
    rough = hashed(key, (-(-height // 8), -(-width // 8))).numpy()
    return rough.repeat(8, 0).repeat(8, 1)[:height, :width]


def grey_image(key: str, shown: np.ndarray, lift: float) -> np.ndarray:
    """Return the image (H, W) uint8 that shows a mask (H, W), brighter by `lift`."""
    values = 100 + 50 * blocks(key, *shown.shape) + lift * shown.astype(np.float64)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, kind: str = "PNG") -> None:
    """Write an image under its official name, whatever the name's ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, kind)


def _blobs(item: Item) -> list[np.ndarray]:
    return [ellipse(*item["size"], *blob) for blob in item["blobs"]]


def _drawn(item: Item, salt: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the image (H, W, 3) of an item, and its mask (H, W) bool."""
    shown = np.any(_blobs(item), axis=0) if item["blobs"] else np.zeros(item["size"], bool)
    image = grey_image(salt + item["id"], shown, item["lift"])
    return np.repeat(image[..., None], 3, 2), shown


def _draw_kvasir(root: Path, config: Mapping[str, Any]) -> None:
    for item in config["items"]:
        image, shown = _drawn(item, config["salt"])
        mask = shown * np.uint8(255)
        mask[:, : mask.shape[1] // 8] = item["edge"]
        save(root / f"Kvasir-SEG/images/{item['id']}.jpg", image)
        save(root / f"Kvasir-SEG/masks/{item['id']}.jpg", np.repeat(mask[..., None], 3, 2))


def _draw_nucleus(root: Path, config: Mapping[str, Any]) -> None:
    for item in config["items"]:
        image, _ = _drawn(item, config["salt"])
        folder = root / "Nucleus" / item["id"]
        save(folder / "images" / f"{item['id']}.png", np.dstack([image, np.full(item["size"], 255, np.uint8)]))
        for number, blob in enumerate(_blobs(item)):
            save(folder / f"masks/{number}.png", blob * np.uint8(255))


def _draw_pothole(root: Path, config: Mapping[str, Any]) -> None:
    for item in config["items"]:
        image, shown = _drawn(item, config["salt"])
        folder = root / "pothole-mix" / item["part"] / item["folder"]
        save(folder / "images" / item["file"], image)
        mask = shown[..., None] * np.array(item["colour"], np.uint8)
        save(folder / f"masks/{item['file'].partition('.')[0]}.png", mask)


def _draw_weedmap(root: Path, config: Mapping[str, Any]) -> None:
    for item in config["items"]:
        crop, weed = (blob & bool(has) for blob, has in zip(_blobs(item), item["has"], strict=True))
        image = grey_image(config["salt"] + item["id"], crop.astype(int) + 2 * weed, item["lift"])
        folder, stem = root / "RedEdge" / item["field"], item["file"].removesuffix(".png")
        for channel, share in zip("RGB", (1.0, 0.8, 0.6), strict=True):
            save(folder / "tile" / channel / item["file"], (image * share).astype(np.uint8))
        labels = np.where(crop, 10000, 0).astype(np.uint16)
        labels[weed] = 2
        save(folder / f"groundtruth/{item['field']}_{stem}_GroundTruth_iMap.png", labels)


def _draw_isic(root: Path, config: Mapping[str, Any]) -> None:
    for item in config["items"]:
        image, shown = _drawn(item, config["salt"])
        save(root / f"ISIC/ISIC2018_Task1-2_Training_Input/{item['id']}.jpg", image)
        mask = root / f"ISIC/ISIC2018_Task1_Training_GroundTruth/{item['id']}_segmentation.png"
        save(mask, shown * np.uint8(255))
    kinds = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]
    rows = [[name, *(f"{float(kind == own):.1f}" for own in kinds)] for name, kind in config["table"]]
    _write_table(root / "ISIC/ISIC_2019_Training_GroundTruth.csv", [["image", *kinds], *rows])
    _write_table(root / "ISIC/test.csv", [["id"], *([name] for name in config["test"])])


def _write_table(path: Path, rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    path.write_text(text.getvalue())


def _draw_industrial(root: Path, config: Mapping[str, Any]) -> None:
    listed: dict[str, dict[str, list[str]]] = {name: {"bad": []} for name in config["order"]}
    for item in config["items"]:
        image, shown = _drawn(item, config["salt"])
        path = root / "Industrial" / item["path"]
        save(path, image)
        save(path.with_suffix(".bmp"), shown * np.uint8(item["value"]), "BMP")
        listed[item["class"]]["bad"].append(item["path"])
    (root / "Industrial/data.json").write_text(json.dumps({"clsName": config["classes"], "clsDic": listed}))


def _draw_lungcancer(root: Path, config: Mapping[str, Any]) -> None:
    try:
        import pandas  # which the suite needs for this alone
    except ImportError as error:
        raise Skipped("pandas is not installed") from error
    tables: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    for item in config["items"]:
        shown = np.any(_blobs(item), axis=0) if item["blobs"] else np.zeros(item["size"], bool)
        values = np.rint(-400 + 300 * blocks(config["salt"] + item["id"], *item["size"]) + 5 * item["lift"] * shown)
        row = {"label1": 1, "mask": shown.astype(np.uint8), "hu_array_old": 0, "hu_array": values.astype(np.int16)}
        tables[item["part"]].append(row)
    (root / "tables").mkdir(parents=True)
    for part, rows in tables.items():
        pandas.DataFrame(rows).to_pickle(root / f"tables/lung_cancer_{part}.pkl")
    LungCancer.prepare(Job(root=root, source=root / "tables"))


Drawing = Callable[[Path, Mapping[str, Any]], None]
SETS: Mapping[str, tuple[type[TwoLists], Drawing, str]] = {
    "pothole": (Pothole, _draw_pothole, "distillfss"),
    "nucleus": (Nucleus, _draw_nucleus, "distillfss"),
    "kvasir": (Kvasir, _draw_kvasir, "distillfss"),
    "weedmap": (WeedMap, _draw_weedmap, "distillfss_weeds"),
    "isic": (IsicListed, _draw_isic, "distillfss_isic"),
    "industrial": (Industrial, _draw_industrial, "distillfss"),
    "lungcancer": (LungCancer, _draw_lungcancer, "distillfss"),
}
"""Data set of the program -> ours, the function that draws its folder, and the protocol."""
NEW_ORDER = ("kvasir", "industrial")
"""Data sets whose first run has the training list in another order."""

# The test


def test(case: Case, tau: float, K: Sequence[int], S: int) -> Parts:
    config, out = case.config, case.data["out"]
    for key in ("salt", "items", "runs", "table", "test", "classes", "order"):  # read by the drawing
        config.get(key)
    kind, draw, name = SETS[config["set"]]
    fold = config.get("fold", 0)
    protocol = load_segmentation(name)
    with TemporaryDirectory() as folder:
        draw(Path(folder), config)
        for place, run in enumerate(out["runs"]):
            first = place == 0 and len(out["runs"]) > 1 and config["set"] in NEW_ORDER
            data = kind(folder, run="first") if first else kind(folder)  # type: ignore[call-arg]
            yield from _lists(protocol, data.in_fold(fold, 1), fold, K, S, run)
        data = kind(folder).in_fold(fold, 1)
        yield _scores(protocol, data, fold, K[-1], S, tau, out)


def _id(name: str) -> str:
    return name.rpartition("/")[2]


def _lists(
    protocol: Protocol, data: TwoLists, fold: int, shots: Sequence[int], side: int, run: Mapping[str, Any]
) -> Parts:
    """Yield the lists and supports of one run of the program."""
    classes = data.test_classes(fold)
    names = {"0": "background", **{str(way): data.name_of(number) for way, number in enumerate(classes, 1)}}
    yield {
        "training": Same([_id(name) for name in data.candidates("trn")], run["train_order"]),
        "test": Same([_id(name) for name in data.candidates("val")], run["test_order"]),
        "classes": Same(
            (dict(sorted(names.items())), len(names)), (dict(sorted(run["id2class"].items())), run["num_classes"])
        ),
    }
    for shot in shots:
        expected = run["supports"][str(shot)]
        own = _support_set(protocol, data, fold, shot)
        episodes = protocol.manifest(data, Task(fold=fold, way=len(classes), shot=shot)).episodes
        shown = [[int(name in way) for way in episodes[0].supports] for name in own]
        masks = [_resized(protocol, data, name, classes, side) for name in own]
        yield {
            f"supports of {shot}": Same([_id(name) for name in own], expected["ids"]),
            f"shown of {shot}": Same(shown, expected["shown"]),
            f"pixels of {shot}": Same([_pixels(mask, len(classes)) for mask in masks], expected["pixels"]),
            f"sizes of {shot}": Same({mask.shape for mask in masks}, {tuple(expected["mask_size"])}),
            f"asked with {shot}": Same([_id(one.query) for one in episodes], run["test_order"]),
        }


def _support_set(protocol: Protocol, data: TwoLists, fold: int, shot: int) -> list[str]:
    """Return the supports as the program lists them: those of industrial's classes by the classes' names."""
    assert isinstance(protocol.draw, EvenlySpaced)
    shown = {name: set(data.class_pixels(name)[0]) for name in data.candidates("trn")}
    ((found,),) = (own.values() for own in protocol.draw.support_sets(data, Task(fold=fold, shot=shot), shown))
    if data.name != "industrial":
        return list(found)
    return sorted(found, key=lambda name: name.rpartition("_")[0])


def _resized(protocol: Protocol, data: TwoLists, name: str, classes: Sequence[int], side: int) -> np.ndarray:
    """Return the labels of ways at the size at which pixels are counted."""
    return protocol.view.truth(way_labels(data.label_map(name), classes), side)[0]


def _pixels(labels: np.ndarray, ways: int) -> list[int]:
    return [int((labels == way).sum()) for way in range(1, ways + 1)]


def _scores(
    protocol: Protocol, data: TwoLists, fold: int, shot: int, side: int, tau: float, out: Mapping[str, Any]
) -> Results:
    """Answer the test by the stub, and hold counts and scores to those of the program."""
    classes = data.test_classes(fold)
    manifest = protocol.manifest(data, Task(fold=fold, way=len(classes), shot=shot))
    levels = [_level(protocol, data, manifest.episodes[0], way, side) for way in range(len(classes))]
    rows, pixels, sizes = [], [], []
    for episode in manifest.episodes:
        truth = protocol.view.episode_truth(data, episode, side)
        answer = _answer(_channel(protocol, data, episode.query, side), levels, tau, truth.label_map.shape)
        result = protocol.count(SegmentationAnswer(answer), truth)
        rows += [row | {"query": episode.query} for row in result.rows()]
        pixels.append(_pixels(truth.label_map, len(classes)))
        sizes.append(list(truth.label_map.shape))
    frame = pl.DataFrame(rows, schema_overrides={"rom": pl.Float64, "rum": pl.Float64})
    found = scores_once([protocol.statistics(frame, manifest.header)])
    scores = {
        "MulticlassJaccardIndex_fg": found["mIoU"].value / 100,
        "MulticlassJaccardIndex": found["mIoU+background"].value / 100,
        **_by_class(frame, ["background", *map(data.name_of, classes)], classes),
    }
    return {
        "truth": Same((pixels, sizes), (out["truth_pixels"], out["truth_size"])),
        "scores": Near([scores[name] for name in out["scores"]], list(out["scores"].values())),
    }


def _channel(protocol: Protocol, data: TwoLists, name: str, side: int) -> np.ndarray:
    """Return channel 0 of an image as methods see it, (S, S) float64."""
    image = RESIZES[protocol.view.resize][0](image_pixels(data, name), side)
    return normalise(image[None])[0, 0].numpy().astype(np.float64)


def _level(protocol: Protocol, data: TwoLists, episode: Episode, way: int, side: int) -> float:
    """Return the mean of the supports over the way's masks; nan if the way has none."""
    values = []
    for name in episode.supports[way]:
        mask = RESIZES[protocol.view.resize][1](way_labels(data.label_map(name), episode.classes), side, side)
        values.append(_channel(protocol, data, name, side)[mask == way + 1])
    return float(np.concatenate(values).mean()) if values else float("nan")


def _answer(query: np.ndarray, levels: Sequence[float], tau: float, size: tuple[int, int]) -> np.ndarray:
    logits: list[Tensor] = [torch.zeros(query.shape, dtype=torch.float64)]
    logits += [torch.from_numpy(tau - np.abs(query - level)) for level in levels]
    whole = F.interpolate(torch.stack(logits)[None], size=tuple(size), mode="bilinear", align_corners=False)
    return whole[0].argmax(0).numpy()


def _by_class(frame: pl.DataFrame, names: Sequence[str], classes: Sequence[int]) -> dict[str, float]:
    """Return each class's scores and their means as the program names them, from the counts of a record."""
    table = frame.group_by("slot").agg([pl.col(name).sum() for name in COUNTS]).sort("slot")
    hits, predicted, true, valid = (table[name].to_numpy().astype(float) for name in ("tp", "pred", "gt", "valid"))
    hits[0] = valid[0] - predicted[0] - true[0] + hits[0]
    predicted[0], true[0] = valid[0] - predicted[0], valid[0] - true[0]
    found: dict[str, float] = {}
    for word, above, under in (
        ("JaccardIndex", hits, predicted + true - hits), ("F1Score", 2 * hits, predicted + true),
        ("Precision", hits, predicted), ("Recall", hits, true),
    ):  # fmt: skip
        values = above / np.maximum(under, 1)
        found |= {f"Multiclass{word}_{name}": value for name, value in zip(names, values, strict=True)}
        if word != "JaccardIndex":
            found |= {f"Multiclass{word}": values.mean(), f"Multiclass{word}_fg": values[1:].mean()}
    return found


KINDS = {"distillfss_test": Kind(test, {"": absolute(2e-4)})}
