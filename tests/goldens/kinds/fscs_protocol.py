"""Episodes, preprocessing and metrics of the FS-CS protocol (fscs-protocol)."""

from typing import Any

import numpy as np
from PIL import Image

from fsbench.core.episodic_scores import EpisodicScores
from fsbench.data.batch import normalise
from fsbench.data.dataset import VOID, PairList
from fsbench.data.episodes.episode import Episode
from fsbench.data.label_maps import resize_labels, way_labels
from fsbench.data.transforms import resize_image
from fsbench.datamodules.lists.official import read_official
from fsbench.protocols.draws.fscs import augment, size_pool
from fsbench.protocols.episode_rules.hsnet import draw_episode
from fsbench.protocols.episode_rules.pools import Pool
from fsbench.scores.answers import SegmentationResult, count
from fsbench.scores.confusion import background_intersection_union, intersection_union
from tests.goldens.cases import Case, Skipped
from tests.goldens.declared import Kind, Near, Parts, Same, absolute

QUERY_RULES = {"pascal": "sequential", "coco": "class_first"}


def preprocess(case: Case) -> Parts:
    size = case.config["size"]
    for i in sorted({name.split(".")[0] for name in case.group("in.")}):
        labels = case.tensors[f"in.{i}.mask"].numpy()
        small = resize_labels(labels, size, size)
        image = resize_image(Image.fromarray(case.tensors[f"in.{i}.image"].numpy()), size)
        yield {f"out.{i}.image": normalise(image), f"mid.{i}.mask_resized": small}
        for name in case.group(f"out.{i}."):
            words = name.split("_")
            if name.startswith("support_mask"):  # support_mask_class7_way2
                number, way = int(words[2].removeprefix("class")), int(words[3].removeprefix("way"))
                yield {f"out.{i}.{name}": (way_labels(small, [number]) == 1) * way}
            elif name.startswith("query_mask"):  # query_mask_eval_7_3, query_mask_train_7_3
                slots = way_labels(labels if words[2] == "eval" else small, [int(n) for n in words[3:]])
                yield {f"out.{i}.{name}": np.where(slots == VOID, 0, slots)}  # void is background


def metrics(case: Case) -> Parts:
    data = case.data
    class_ids = data["class_ids"]
    scores = EpisodicScores(class_ids, void="background")
    for i, episode in enumerate(data["episodes"]):
        truth, pred = (
            np.array([int(digit) for digit in episode[key]]).reshape(episode["shape"]) for key in ("truth", "pred")
        )
        present, decided = (np.array(episode[key], dtype=bool) for key in ("presence", "pred_labels"))
        counts = count(pred, truth, len(episode["classes"]))
        scores.update(SegmentationResult(i, np.array(episode["classes"]), counts, present, decided, decided, pred))
    expected, values = data["expected"], scores.compute()
    sums = scores.slots.numpy()
    intersection, union = intersection_union(sums, "background")
    intersection[0], union[0] = background_intersection_union(sums[0], "background")
    for name, result in (("intersection", intersection), ("union", union)):
        yield {f"class sums, {name}": Same({c: int(result[int(c)]) for c in expected[name]}, expected[name])}
    figures = {"mIoU": "mIoU", "FB_IoU": "FB-IoU", "accuracy": "accuracy"}
    yield {name: Near(values[own], expected[name]) for name, own in figures.items()}


def episodes(case: Case) -> Parts:
    """Episodes of a synthetic annotation list: classes, supports, presence and mask pixels of every item."""
    data = case.data
    for sub in case.data["cases"]:
        name = f"{sub['setting']} {sub['way']}-way {sub['shot']}-shot, empty {sub['empty_masks']}"
        pool, length = _synthetic_pool(data, sub)
        found = [_item(data, sub, pool, item["idx"]) for item in sub["items"]]
        yield {
            f"{name}: class ids": Same(list(pool.class_ids), sub["class_ids"]),
            f"{name}: {len(found)} episodes": Same(found, sub["items"]),
        }
        if "shuffled_pairs" in sub:
            yield {f"{name}: pairs": Same([list(pair) for pair in pool.pairs], sub["shuffled_pairs"])}
            yield {f"{name}: items": Same(length, sub["length"])}


def _synthetic_pool(data: dict[str, Any], sub: dict[str, Any]) -> tuple[Pool, int]:
    """Pool and number of items; lists come as pairs (PASCAL) or as images by class (COCO)."""
    rule = QUERY_RULES[data["dataset"]]
    size = sub["setting"].removeprefix("size ") if sub["setting"].startswith("size ") else None
    listed = data.get("pairs") if size is None else data.get("size_pairs", {}).get(size)
    if listed is None:
        by_class = data["class_lists"] if size is None else data["size_class_lists"][size]
        listed = [(name, number) for number in sorted(by_class, key=int) for name in by_class[number]]
    pairs = PairList(tuple((name, int(number)) for name, number in listed), "golden")
    if size is None:
        return Pool(pairs.pairs, pairs.images_of, sub["class_ids"], rule), 1000
    pool = size_pool(pairs, rule, way=sub["way"], shot=sub["shot"])
    lengths = data["size_list_lengths_by_fold"][size]
    others = [n for fold, n in lengths.items() if fold != str(data["fold"])]
    return pool, min(1000, max(len(pool.pairs), *others))


def _item(data: dict[str, Any], sub: dict[str, Any], pool: Pool, number: int) -> dict[str, Any]:
    """Episode `number` in the form of the golden."""
    rng = np.random.RandomState(number)
    drawn = draw_episode(number, rng, pool, way=sub["way"], shot=sub["shot"], background=sub["empty_masks"])
    episode = drawn
    if "augmented" in sub["setting"]:
        targets = sub["class_ids"] if sub["setting"].startswith("fully") else None
        total = data["image_shape"][0] * data["image_shape"][1]

        def class_pixels(name: str) -> tuple[dict[int, int], int]:
            return {int(label): n for label, n in data["masks"][name].items()}, total

        episode = augment(drawn, rng, targets, class_pixels, data["theta"])
    query = way_labels(_label_map(data, episode.query), episode.classes)
    query = np.where(query == VOID, 0, query)
    support_pixels, support_values = _support_masks(data, episode)
    labels, counts = np.unique(query, return_counts=True)
    return {
        "idx": number,
        "query": episode.query,
        "drawn": [list(names) for names in drawn.supports],
        "classes": list(episode.classes),
        "presence": [int(n in labels) for n in range(1, len(episode.classes) + 1)],
        "augmented": int(episode.augmented),
        "supports": [list(names) for names in episode.supports],
        "support_mask_pixels": support_pixels,
        "support_mask_values": support_values,
        "query_mask_hist": {str(label): n for label, n in zip(labels.tolist(), counts.tolist(), strict=True)},
        "query_mask_shape": list(query.shape),
        "query_size_WH": [query.shape[1], query.shape[0]],
    }


def _label_map(data: dict[str, Any], name: str) -> np.ndarray:
    """Labels in ascending order in consecutive runs from pixel 0, the rest 0 (the file's `note`)."""
    height, width = data["image_shape"]
    runs = sorted((int(label), n) for label, n in data["masks"][name].items())
    flat = np.zeros(height * width, dtype=np.uint8)
    labelled = np.repeat([label for label, _ in runs], [n for _, n in runs])
    flat[: len(labelled)] = labelled
    return flat.reshape(height, width)


def _support_masks(data: dict[str, Any], episode: Episode) -> tuple[list[list[int]], list[int]]:
    """Pixels of every resized support mask and, per way, the largest value in them."""
    height, width = data["support_size"]
    pixels = []
    for number, names in zip(episode.classes, episode.supports, strict=True):
        small = [resize_labels(_label_map(data, name), height, width) == number for name in names]
        pixels.append([int(mask.sum()) for mask in small])
    return pixels, [way + 1 if any(row) else 0 for way, row in enumerate(pixels)]


def official_episodes(case: Case) -> Parts:
    """Episodes drawn from the authors' list files, which are looked for outside the goldens."""
    if case.lists is None or not case.lists.is_dir():
        raise Skipped("needs the official lists: give --lists DIR or set FSBENCH_TEST_DATA")
    folders = [str(case.lists / name) for name in ("hsnet", "emat-size") if (case.lists / name).is_dir()]
    for sub in case.data:
        size = sub["setting"].removeprefix("size ") if sub["setting"].startswith("size ") else None
        name = f"{sub['dataset']} fold {sub['fold']} {sub['setting']} {sub['way']}-way {sub['shot']}-shot"
        rule = QUERY_RULES[sub["dataset"]]
        if size:
            lists = [_official(folders, sub["dataset"], size, fold) for fold in range(4)]
            pools = [size_pool(pairs, rule, way=sub["way"], shot=sub["shot"]) for pairs in lists]
            pool, length = pools[sub["fold"]], min(1000, max(len(other.pairs) for other in pools))
            yield {
                f"{name}: class ids": Same(list(pool.class_ids), sub["class_ids"]),
                f"{name}: items and pairs": Same([length, len(pool.pairs)], [sub["length"], sub["n_pairs"]]),
            }
        else:
            pairs = _official(folders, sub["dataset"], "val", sub["fold"])
            pool = Pool(pairs.pairs, pairs.images_of, sorted(pairs.images_of), rule)
        found = []
        for item in sub["items"]:
            rng = np.random.RandomState(item["idx"])
            e = draw_episode(item["idx"], rng, pool, way=sub["way"], shot=sub["shot"], background=sub["empty_masks"])
            drawn = {"idx": e.number, "query": e.query, "query_class": e.query_class, "classes": list(e.classes)}
            found.append(drawn | {"supports": [list(names) for names in e.supports]})
        yield {f"{name}, empty {sub['empty_masks']}: {len(found)} episodes": Same(found, sub["items"])}


def _official(folders: list[str], dataset: str, split: str, fold: int) -> PairList:
    pairs = read_official(folders, dataset, split, fold, allow_unverified=False)
    if pairs is None:
        raise FileNotFoundError(f"no list of {dataset} {split} fold {fold} in {', '.join(folders)}")
    return pairs


SCORES = {"mIoU": absolute(1e-3), "FB_IoU": absolute(1e-3), "accuracy": absolute(1e-9)}
KINDS = {
    "preprocess": Kind(preprocess, {"*.image": absolute(1e-5)}, accepts=lambda case: "in.0.image" in case.tensors),
    "metrics": Kind(metrics, SCORES, accepts=lambda case: isinstance(case.data, dict) and "episodes" in case.data),
    "episodes": Kind(episodes, accepts=lambda case: "dataset" in case.data),
    "episodes_official_lists": Kind(official_episodes, accepts=lambda case: not isinstance(case.data, str)),
}
