"""Episodes, annotations, preprocessing and metrics of the in-context protocol (incontext-protocol §7)."""

import gzip
import json
import pickle
import re
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from fsbench.data.batch import normalise
from fsbench.data.dataset import VOID
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.task import Task
from fsbench.data.label_maps import resize_labels, way_labels
from fsbench.data.transforms import resize_image
from fsbench.datamodules.datasets.lvis import Lvis
from fsbench.datamodules.datasets.paco_part import PacoPart
from fsbench.datamodules.datasets.pascal_part import PascalPart
from fsbench.datamodules.kinds.views import ViewData, view_photo
from fsbench.protocols.draws.by_word import one_stream
from fsbench.protocols.draws.incontext import OwnEpisodes
from fsbench.protocols.episode_rules.pools import Pool
from fsbench.protocols.reading import load_protocol
from fsbench.protocols.view import View
from tests.goldens.cases import Case
from tests.goldens.declared import EXACT, Check, Kind, Near, Parts, Results, Same, absolute
from tests.goldens.kinds.fss_protocol import official_pool
from tests.goldens.meters import class_sums, episode_list, listed_pool, parse_pair, same_list, truth_of

ISAID_LISTS = Path(__file__).parents[1] / "incontext" / "isaid_val_lists.txt.gz"
DRAWN = {"coco": "class_first", "pascal": "sequential", "isaid": "sequential"}


def isaid_pairs(lines: list[str], *place: str) -> list[tuple[str, int]]:
    """Return the pairs of the lines that begin with the words of `place`: a fold, or a split and a fold."""
    words = [line.split() for line in lines]
    return [parse_pair(line[-1]) for line in words if tuple(line[:-1]) == place]


def isaid_pool(fold: int) -> Pool:
    """Return the pool of a fold of iSAID, from the authors' lists."""
    lines = gzip.decompress(ISAID_LISTS.read_bytes()).decode().splitlines()
    return listed_pool(isaid_pairs(lines, str(fold)), "sequential")


def _listed_pool(case: Case, benchmark: str, fold: int) -> Pool:
    """Return queries and supports of a fold, from the authors' lists."""
    if benchmark == "isaid":
        return isaid_pool(fold)
    return official_pool(case, benchmark, "test" if benchmark == "fss" else "val", fold, DRAWN.get(benchmark, ""))


def episodes(case: Case, benchmark: str, fold: int, shot: int, seed: int) -> Results:
    """Whole runs of the data sets with lists, as text lines."""
    pool = _listed_pool(case, benchmark, fold)
    whole = Same(len(pool.pairs), len(case.data.splitlines())) if benchmark in ("isaid", "fss") else None
    return {"episodes of a run": whole, **episode_list(case, pool, "of the data set", shot, seed=seed)}


def isaid_lists(case: Case) -> Parts:
    """The authors' lists against the checksums that ours are verified with."""
    for fold in range(3):
        yield same_list("isaid", "val", fold, isaid_pairs(case.data.splitlines(), str(fold)))


def log_classes(case: Case, benchmark: str) -> Parts:
    """Classes that moved in the released logs; -1 where none did."""
    for run, logged in case.data.items():
        fold, shot = (int(number) for number in re.findall(r"fold(\d+)_(\d+)shot", run)[0])
        drawn = islice(one_stream("of the data set", _listed_pool(case, benchmark, fold), shot=shot), len(logged))
        pairs = [((e.query_class - 1 - fold) // 4, seen) for e, seen in zip(drawn, logged, strict=True) if seen >= 0]
        found, expected = [own for own, _ in pairs], [seen for _, seen in pairs]
        yield {f"{run}: {len(pairs)} episodes": Same(found, expected)}


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


def _of_annotations(make: Callable[[Path, dict[str, Any]], ViewData]) -> Check:
    def check(case: Case) -> Parts:
        with tempfile.TemporaryDirectory() as folder:
            yield from _compare_run(case, make(Path(folder), case.data))

    return check


def _compare_run(case: Case, dataset: ViewData) -> Parts:
    """The episodes of a run: names, class, masks, and sums of masks and images at S x S."""
    config, data = case.config, case.data
    run = OwnEpisodes.find(dataset).run(config["fold"], config["shot"], config["seed"])
    names = [dataset.class_names[number - 1] for number in run.class_ids]
    if "class_names" in data:
        yield {"class_names": names}
    if "category_ids" in data:
        yield {"classes": Same(names, [f"category {key}" for key in data["category_ids"]])}
    if "n_qualifying" in data:
        assert isinstance(dataset, Lvis)
        yield {"n_qualifying": len(dataset.frequent_categories(config["shot"]))}
    protocol = load_protocol("incontext")
    official = protocol.draw.episode_count(dataset.name, 0)
    yield {"length": official if run.length is None else min(official, run.length)}
    task = Task(config["fold"], shot=config["shot"], episodes=len(data["episodes"]))
    drawn = protocol.manifest(dataset, task).episodes
    found = {
        "class_id": [run.class_ids.index(e.query_class) for e in drawn],
        "query": [view_photo(e.query) for e in drawn],
        "supports": [[view_photo(name) for name in e.supports[0]] for e in drawn],
        "query_crop_hw": [list(dataset.label_map(e.query).shape) for e in drawn],
    }
    for key, values in found.items():
        yield {key: Same(values, [stored[key] for stored in data["episodes"]])}
    for place, (episode, stored) in enumerate(zip(drawn, data["episodes"], strict=True)):
        yield from _compare_pixels(f"episode {place}", dataset, episode, stored, config["image_size"])


def _compare_pixels(where: str, data: ViewData, episode: Episode, stored: dict[str, Any], size: int) -> Parts:
    from fsbench.datamodules.loading.items import LoadingConfig, load_episode

    batch = load_episode(data, episode, LoadingConfig(size, View("pil", "input")))
    query, supports = batch.known_truth().label_maps[0].numpy(), batch.support_masks[0, 0].numpy()
    yield {
        f"{where}: query mask's sum": Same(int(query.sum()), stored["query_mask_sum"]),
        f"{where}: support masks' sums": Same(supports.sum((1, 2)).tolist(), stored["support_mask_sums"]),
    }
    if "query_mask" in stored:
        yield {f"{where}: query mask": Same(_rows(query), stored["query_mask"])}
    if "support_masks" in stored:
        yield {f"{where}: support masks": Same([_rows(mask) for mask in supports], stored["support_masks"])}
    sums = batch.images.double().div(255).sum((1, 2, 3))
    yield {
        f"{where}: query image's sum": Near(sums[int(batch.query[0])], stored["query_image_sum"]),
        f"{where}: support images' sums": Near(sums[batch.support[0, 0]], stored["support_image_sums"]),
    }


def _rows(mask: np.ndarray) -> list[str]:
    return ["".join(map(str, row)) for row in mask.astype(int).tolist()]


def preprocess(case: Case, image_size: int, stride: int) -> Parts:
    for i in case.group("in.image."):
        image = resize_image(case.tensors[f"in.image.{i}"].numpy(), image_size)
        labels = case.tensors[f"in.label.{i}"].numpy().astype(np.uint8)
        yield {
            f"out.image.{i}": image[:, ::stride, ::stride].float() / 255,
            f"out.image_mean.{i}": image.double().mean((1, 2)) / 255,
            f"out.normalised.{i}": normalise(image)[:, ::stride, ::stride],
            f"out.mask.{i}": resize_labels(way_labels(labels, [7]), image_size, image_size) == 1,
        }


def void(case: Case, image_size: int, class_id: int) -> Parts:
    for i, labels in case.group("in.label.").items():
        ways = way_labels(labels.numpy().astype(np.uint8), [class_id + 1])
        slots = resize_labels(ways, image_size, image_size)
        yield {f"out.mask.{i}": slots == 1, f"out.mask_coco.{i}": slots == 1, f"out.ignore.{i}": slots == VOID}


def metrics(case: Case, class_ids: list[int], ignore: bool, pred: Tensor, gt: Tensor, class_id: Tensor) -> Results:
    """Counts of single episodes, and the scores of all."""
    columns = [class_ids.index(number) for number in class_id.tolist()]
    sums = class_sums(pred, truth_of(case) if ignore else gt, columns, len(class_ids))
    ious = sums.inter_by_class[1] / np.maximum(sums.union_by_class[1], 1)
    return {"out.": {"inter": sums.inter.T, "union": sums.union.T, "class_iou": ious} | sums.score_rows}


IMAGE_SUMS = {"episode*image's sum": absolute(1e-2), "episode*images' sums": absolute(1e-2)}
KINDS = {
    "incontext_episodes": Kind(episodes),
    "incontext_isaid_lists": Kind(isaid_lists),
    "incontext_log_classes": Kind(log_classes),
    "incontext_lvis": Kind(_of_annotations(lvis_folder), IMAGE_SUMS),
    "incontext_paco_part": Kind(_of_annotations(paco_folder), IMAGE_SUMS),
    "incontext_pascal_part": Kind(_of_annotations(pascal_part_folder), IMAGE_SUMS),
    "incontext_preprocess": Kind(preprocess, {"out.": absolute(1e-5), "out.mask.": EXACT}),
    "incontext_void": Kind(void),
    "incontext_metrics": Kind(metrics, {"out.": absolute(1e-4), "out.inter": EXACT, "out.union": EXACT}),
}
