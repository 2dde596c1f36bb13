"""Episodes, annotations, preprocessing and metrics of the in-context protocol (incontext-protocol §7)."""

import gzip
import hashlib
import json
import pickle
import re
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datamodules.datasets.lvis import Lvis
from datamodules.datasets.paco_part import PacoPart
from datamodules.datasets.pascal_part import PascalPart
from datamodules.indexes.views import ViewIndex, view_photo
from datamodules.lists.official import checksums, read_official
from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD
from fsbench.data.dataset import VOID, pairs_sha256
from fsbench.data.label_maps import resize_labels, way_labels
from fsbench.data.transforms import resize_image
from fsbench.episodes.episode import Episode
from fsbench.episodes.task import EpisodeTask
from fsbench.metrics.confusion import fb_iou, mean_iou
from fsbench.protocols.geometry import Geometry
from fsbench.protocols.hsnet import hsnet_episodes
from fsbench.protocols.incontext import OwnEpisodes
from fsbench.protocols.pools import Pool
from fsbench.protocols.registry import load_protocol
from tests.goldens.harness import EXACT, Case, Comparisons, Skipped, absolute, compare, equal
from tests.goldens.kinds.fss_protocol import _fss_pool, _pascal_pair, _pool, line_of
from tests.goldens.kinds.metrics import _background_foreground, _by_class, _counts

ISAID_LISTS = Path(__file__).parents[1] / "incontext" / "isaid_val_lists.txt.gz"
DRAWN = {"coco": "class_first", "pascal": "sequential", "isaid": "sequential"}


def _listed_pool(case: Case, benchmark: str, fold: int) -> Pool:
    """Queries and supports of a fold, from the authors' lists."""
    if benchmark == "isaid":
        lines = [line.split() for line in gzip.decompress(ISAID_LISTS.read_bytes()).decode().splitlines()]
        return _pool([_pascal_pair(pair) for own, pair in lines if int(own) == fold], "sequential")
    if case.lists is None or not (case.lists / "hsnet").is_dir():
        raise Skipped("it needs the official lists: --lists DIR (with the folder hsnet) or $FSBENCH_TEST_DATA")
    if benchmark == "fss":
        return _fss_pool((case.lists / "hsnet" / "fss" / "test.txt").read_text().split(), "test")
    pairs = read_official([case.lists / "hsnet"], benchmark, "val", fold)
    assert pairs is not None
    return _pool(pairs.pairs, DRAWN[benchmark])


def episodes(case: Case) -> Comparisons:
    """Whole runs of the data sets with lists, as text lines."""
    config, lines = case.config, case.data.splitlines()
    pool = _listed_pool(case, config["benchmark"], config["fold"])
    if config["benchmark"] in ("isaid", "fss"):
        yield equal("episodes of a run", len(pool.pairs), len(lines))
    found = [line_of(e) for e in islice(hsnet_episodes(pool, shot=config["shot"], seed=config["seed"]), len(lines))]
    yield equal(f"{len(lines)} episodes", found, lines)
    if "sha256_of_text" in case.entry:
        yield equal("sha256 of the text", hashlib.sha256(case.data.encode()).hexdigest(), case.entry["sha256_of_text"])


def isaid_lists(case: Case) -> Comparisons:
    """The authors' lists against the checksums that ours are verified with."""
    lines = [line.split() for line in case.data.splitlines()]
    for fold in range(3):
        pairs = tuple(_pascal_pair(pair) for own, pair in lines if int(own) == fold)
        known = checksums("isaid")["val", fold]
        found = (len(pairs), pairs_sha256(pairs, ordered=False), pairs_sha256(pairs, ordered=True))
        yield equal(f"fold {fold}", found, (known.pairs, known.sha256_sorted, known.sha256_ordered))


def log_classes(case: Case) -> Comparisons:
    """Classes that moved in the released logs; -1 where none did."""
    for run, logged in case.data.items():
        fold, shot = (int(number) for number in re.findall(r"fold(\d+)_(\d+)shot", run)[0])
        pool = _listed_pool(case, case.config["benchmark"], fold)
        drawn = [(e.query_class - 1 - fold) // 4 for e in islice(hsnet_episodes(pool, shot=shot), len(logged))]
        moved = [place for place, seen in enumerate(logged) if seen >= 0]
        yield equal(f"{run}: {len(moved)} episodes", [drawn[i] for i in moved], [logged[i] for i in moved])


def save_photos(folder: Path, images: dict[str, list[int]], suffix: str = "") -> None:
    """Write the images of the formula in the goldens' `about`, losslessly under the names of photos."""
    for name, (k, height, width) in images.items():
        y, x, c = np.ogrid[:height, :width, :3]
        path = folder / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(((37 * k + 5 * y + 3 * x + 11 * c) % 256).astype(np.uint8)).save(path, "png")


def in_bytes(value: Any) -> Any:
    """Turn the counts of run-length masks into bytes, as the true pickles have them."""
    if isinstance(value, dict):
        return {
            key: entry.encode() if key == "counts" and isinstance(entry, str) else in_bytes(entry)
            for key, entry in value.items()
        }
    return [in_bytes(entry) for entry in value] if isinstance(value, list) else value


def save_pickle(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(in_bytes(content)))


def lvis_folder(root: Path, data: dict[str, Any]) -> Lvis:
    save_photos(root / "coco", data["images"])
    (root / "coco" / "val2017").mkdir(parents=True, exist_ok=True)
    save_pickle(root / "lvis_val.pkl", {int(key): images for key, images in data["val"]})
    return Lvis(str(root))


def paco_folder(root: Path, data: dict[str, Any]) -> PacoPart:
    save_photos(root / "coco", data["images"])
    save_pickle(
        root / "paco/paco_part_train.pkl", {"cid2img": {k: [] for k in data["train_category_ids"]}, "img2anno": {}}
    )
    val = {"cid2img": dict(data["val_cid2img"]), "img2anno": data["val_img2anno"]}
    save_pickle(root / "paco/paco_part_val.pkl", val)
    return PacoPart(str(root))


def pascal_part_folder(root: Path, data: dict[str, Any]) -> PascalPart:
    root = root / "VOC2010"
    save_photos(root / "JPEGImages", data["images"], ".jpg")
    (root / "all_obj_part_to_image.json").write_text(json.dumps(data["all_obj_part_to_image"]))
    folder = root / "Annotations_Part_json_merged_part_classes"
    folder.mkdir()
    for name, content in data["annotations"].items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return PascalPart(str(root.parent))


def _of_annotations(make: Callable[[Path, dict[str, Any]], ViewIndex]) -> Callable[[Case], Comparisons]:
    def check(case: Case) -> Comparisons:
        with tempfile.TemporaryDirectory() as folder:
            yield from _compare_run(case, make(Path(folder), case.data))

    return check


def _compare_run(case: Case, index: ViewIndex) -> Comparisons:
    """The episodes of a run: names, class, masks, and sums of masks and images at S x S."""
    config, data = case.config, case.data
    run = OwnEpisodes.find(index).run(config["fold"], config["shot"], config["seed"])
    names = [index.class_names[number - 1] for number in run.class_ids]
    if "class_names" in data:
        yield equal("classes", names, data["class_names"])
    if "category_ids" in data:
        yield equal("classes", names, [f"category {key}" for key in data["category_ids"]])
    if "n_qualifying" in data:
        assert isinstance(index, Lvis)
        yield equal(
            "categories with enough images", len(index.frequent_categories(config["shot"])), data["n_qualifying"]
        )
    protocol = load_protocol("incontext")
    official = protocol.episode_count(index.name, 0)
    yield equal("episodes of a run", official if run.length is None else min(official, run.length), data["length"])
    task = EpisodeTask(config["fold"], shot=config["shot"], episodes=len(data["episodes"]))
    drawn = protocol.manifest(index, task).episodes
    found = {
        "class_id": [run.class_ids.index(e.query_class) for e in drawn],
        "query": [view_photo(e.query) for e in drawn],
        "supports": [[view_photo(name) for name in e.supports[0]] for e in drawn],
        "query_crop_hw": [list(index.label_map(e.query).shape) for e in drawn],
    }
    for key, values in found.items():
        yield equal(key, values, [stored[key] for stored in data["episodes"]])
    for place, (episode, stored) in enumerate(zip(drawn, data["episodes"], strict=True)):
        yield from _compare_pixels(f"episode {place}", index, episode, stored, config["image_size"])


def _compare_pixels(where: str, index: ViewIndex, episode: Episode, stored: dict[str, Any], size: int) -> Comparisons:
    from fsbench.protocols.loading import LoadingConfig, load_episode

    batch = load_episode(index, episode, LoadingConfig(size, Geometry("pil", "input")))
    query, supports = batch.known_truth().label_maps[0].numpy(), batch.support_masks[0, 0].numpy()
    yield equal(f"{where}: query mask's sum", int(query.sum()), stored["query_mask_sum"])
    yield equal(f"{where}: support masks' sums", supports.sum((1, 2)).tolist(), stored["support_mask_sums"])
    if "query_mask" in stored:
        yield equal(f"{where}: query mask", _rows(query), stored["query_mask"])
    if "support_masks" in stored:
        yield equal(f"{where}: support masks", [_rows(mask) for mask in supports], stored["support_masks"])
    sums = batch.images.double().div(255).sum((1, 2, 3))
    yield compare(f"{where}: query image's sum", sums[int(batch.query[0])], stored["query_image_sum"], absolute(1e-2))
    own = sums[batch.support[0, 0]]
    yield compare(f"{where}: support images' sums", own, stored["support_image_sums"], absolute(1e-2))


def _rows(mask: np.ndarray) -> list[str]:
    return ["".join(map(str, row)) for row in mask.astype(int).tolist()]


def preprocess(case: Case) -> Comparisons:
    size, stride = case.config["image_size"], case.config["stride"]
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    for i in case.group("in.image."):
        image = resize_image(case.tensors[f"in.image.{i}"].numpy(), size).float() / 255
        yield case.compare(f"out.image.{i}", image[:, ::stride, ::stride], absolute(1e-5))
        yield case.compare(f"out.image_mean.{i}", image.double().mean((1, 2)), absolute(1e-5))
        yield case.compare(f"out.normalised.{i}", ((image - mean) / std)[:, ::stride, ::stride], absolute(1e-5))
        labels = case.tensors[f"in.label.{i}"].numpy().astype(np.uint8)
        yield case.compare(f"out.mask.{i}", resize_labels(way_labels(labels, [7]), size, size) == 1, EXACT)


def void(case: Case) -> Comparisons:
    size, number = case.config["image_size"], case.config["class_id"] + 1
    for i, labels in case.group("in.label.").items():
        slots = resize_labels(way_labels(labels.numpy().astype(np.uint8), [number]), size, size)
        yield case.compare(f"out.mask.{i}", slots == 1, EXACT)
        yield case.compare(f"out.mask_coco.{i}", slots == 1, EXACT)
        yield case.compare(f"out.ignore.{i}", slots == VOID, EXACT)


def metrics(case: Case) -> Comparisons:
    """Counts of single episodes, and the scores of all."""
    t, class_ids = case.tensors, case.config["class_ids"]
    truth: Tensor = t["in.gt"].clone()
    if case.config["ignore"]:
        truth[t["in.ignore"] > 0] = VOID
    inter, union = _background_foreground(_counts(t["in.pred"], truth))
    yield case.compare("out.inter", inter.T, EXACT)
    yield case.compare("out.union", union.T, EXACT)
    places = [class_ids.index(number) for number in t["in.class_id"].tolist()]
    inter, union = _by_class(inter, places, len(class_ids)), _by_class(union, places, len(class_ids))
    yield case.compare("out.class_iou", inter[1] / np.maximum(union[1], 1), absolute(1e-4))
    yield case.compare("out.miou", [mean_iou(inter[1], union[1])], absolute(1e-4))
    background = (inter[0].sum(), union[0].sum())
    yield case.compare("out.fb_iou", [fb_iou(inter[1], union[1], background)], absolute(1e-4))


KINDS = {
    "incontext_episodes": episodes,
    "incontext_isaid_lists": isaid_lists,
    "incontext_log_classes": log_classes,
    "incontext_lvis": _of_annotations(lvis_folder),
    "incontext_paco_part": _of_annotations(paco_folder),
    "incontext_pascal_part": _of_annotations(pascal_part_folder),
    "incontext_preprocess": preprocess,
    "incontext_void": void,
    "incontext_metrics": metrics,
}
