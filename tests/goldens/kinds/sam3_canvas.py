"""SAM 3 on a canvas: layout, boxes, merge, negatives, the network; the episodes and scores of fss_sam3."""

import gzip
import hashlib
import json
import random
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
import torch

from datamodules.datasets.coco.fss_sam3 import AnnotatedObject, AnnotatedObjects, load_objects
from fsbench.backbones.sam3 import (
    SAM3S,
    Concept,
    Detections,
    FrozenSam3,
    Sam3Net,
    Sam3NetConfig,
    detections,
    sam3_settings,
)
from fsbench.data.batch import EpisodeTruth
from fsbench.episodes.episode import Episode
from fsbench.metrics.episodic import SegmentationAnswer, count_answer
from fsbench.protocols.fss_sam3 import BoxTest, drawn_episodes, largest_object_box, loaded_episodes, pixel_pools
from fsbench.protocols.registry import load_protocol
from fsbench.weights.table import WeightFile
from methods.sam3_canvas import (
    Slot,
    canvas_box,
    cut_query,
    draw_canvas,
    many_shot_slots,
    mined_on_canvas,
    mined_prompts,
    one_shot_slots,
    score_map,
)
from tests.fsbench.runs import some_header
from tests.goldens.harness import EXACT, Case, Comparisons, absolute, compare, equal, relative

COCO_IDS = [number for number in range(1, 91) if number not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
FOLDS, EPISODES = 4, 1000


def box_pascal(case: Case) -> Comparisons:
    number = case.config["class"]
    for item in range(case.config["items"]):
        labels, objects = (case.tensors[f"in.{kind}_{item}"].numpy() for kind in ("label", "object"))
        box = largest_object_box(labels, objects, number)
        found = torch.tensor([] if box is None else box, dtype=torch.float64)
        yield case.compare(f"out.box_{item}", found, EXACT)


def metric(case: Case) -> Comparisons:
    numbers = case.tensors["in.class"].tolist()
    rows = []
    for episode, number in enumerate(numbers):
        truth = case.tensors[f"in.mask_{episode}"]
        size = (truth.shape[0], truth.shape[1])
        classes = torch.tensor([number])
        label_map, present = truth.to(torch.uint8), torch.tensor([bool(truth.any())])
        answer = SegmentationAnswer(case.tensors[f"in.pred_{episode}"].to(torch.uint8))
        rows += count_answer(answer, EpisodeTruth(episode, size, label_map, present, classes)).rows()
    frame = pl.DataFrame(rows).with_columns(query=pl.col("episode").cast(pl.String))
    header = some_header(protocol="fss_sam3", dataset="pascal", class_ids=list(range(1, 21)))
    statistics = load_protocol("fss_sam3").statistics(frame, header)
    yield case.compare("out.class_ids", torch.tensor(sorted(set(numbers))), EXACT)
    yield case.compare("out.intersection", statistics.intersection.sum(0), EXACT)
    yield case.compare("out.union", statistics.union.sum(0), EXACT)
    scores = {name: float(value.item()) / 100 for name, value in statistics.scores().items()}
    yield case.compare("out.miou", torch.tensor([scores["mIoU"]], dtype=torch.float64), absolute(1e-12))
    fg, bg = (
        float(sums[:, 0].sum() / max(sums[:, 1].sum(), 1)) for sums in (statistics.foreground, statistics.background)
    )
    yield case.compare("out.fb", torch.tensor([scores["FB-IoU"], fg, bg], dtype=torch.float64), absolute(1e-12))


def line_of(episode: Episode, category: int) -> str:
    return f"{category}\t{episode.query}\t{','.join(episode.supports[0])}"


def compare_lines(place: str, lines: list[str], data: dict[str, Any], end: str = "") -> Comparisons:
    name = f"_{end}" if end else ""
    text = "".join(f"{line}\n" for line in lines)
    yield equal(f"{place}: {len(lines)} lines", len(lines), data["n"])
    yield equal(
        f"{place}: first",
        lines[: len(data[f"{end}_first" if end else "first"])],
        data[f"{end}_first" if end else "first"],
    )
    yield equal(f"{place}: sha256", hashlib.sha256(text.encode()).hexdigest(), data[f"sha256{name}"])


def episodes_pascal(case: Case) -> Comparisons:
    areas = json.loads(gzip.decompress((case.folder / case.config["areas"]).read_bytes()))
    fold, shot = case.config["fold"], case.config["shot"]
    numbers = range(5 * fold + 1, 5 * fold + 6)
    pools = pixel_pools({name: {int(k): v for k, v in pixels.items()} for name, pixels in areas.items()}, numbers)
    usable = pools.usable(numbers, shot)
    yield equal("classes", usable, case.data["classes"])
    yield equal("targets", [len(pools.targets[number]) for number in usable], case.data["targets"])
    yield equal("supports", [len(pools.supports[number]) for number in usable], case.data["supports"])
    drawn = drawn_episodes(pools, usable, shot, case.config["seed"] + fold)
    lines = [line_of(episode, episode.query_class) for episode, _ in zip(drawn, range(EPISODES), strict=False)]
    yield from compare_lines("drawn", lines, case.data)
    yield equal("last", lines[-len(case.data["last"]) :], case.data["last"])


class Indexed(BoxTest):
    """The test of an index of annotations, whose images are called by their ids."""

    draws_objects = True

    def __init__(self, objects: AnnotatedObjects, empty: set[int]):
        self.objects, self.empty = objects, empty

    def load(self, episode: Episode, rng: random.Random) -> Episode | None:
        number = episode.query_class
        has_pixels = any(item.id not in self.empty for item in self.objects.plain(int(episode.query), number))
        drawn = load_objects(self.objects, number, [int(name) for name in episode.supports[0]], has_pixels, rng)
        if drawn is None:
            return None
        named = tuple(f"{name}:{item.id}" for name, item in zip(episode.supports[0], drawn, strict=True))
        return Episode(episode.index, episode.query, number, (number,), (named,))


def episodes_coco(case: Case) -> Comparisons:
    index, shot, seed = case.data["index"], case.config["shot"], case.config["seed"]
    items = [
        AnnotatedObject(number, image, category, area, bool(is_crowd), tuple(box))
        for number, image, category, area, is_crowd, box in index["annotations"]
    ]
    objects = AnnotatedObjects(items, COCO_IDS)
    test, pools, rng = Indexed(objects, set(index["empty_masks"])), objects.pools(str), random.Random(seed)
    for fold in range(FOLDS):
        usable = pools.usable(range(fold + 1, len(COCO_IDS) + 1, FOLDS), shot)
        expected = case.data["expected"][f"fold{fold}"]
        yield equal(f"fold {fold}: classes", [COCO_IDS[number - 1] for number in usable], expected["classes"])
        stream = drawn_episodes(pools, usable, shot, seed + fold)
        drawn = [episode for episode, _ in zip(stream, range(expected["n"]), strict=False)]
        loaded = [episode for episode, _ in loaded_episodes(test, drawn, rng)]
        for end, episodes in (("drawn", drawn), ("loaded", loaded)):
            lines = [line_of(episode, COCO_IDS[episode.query_class - 1]) for episode in episodes]
            yield from compare_lines(f"fold {fold}, {end}", lines, expected, end)
        last = expected["loaded_last"]
        yield equal(f"fold {fold}: last", lines[-len(last) :], last)
        pairs = zip(drawn, loaded, strict=True)
        differ = sum((a.query_class, a.query) != (b.query_class, b.query) for a, b in pairs)
        yield equal(f"fold {fold}: replaced", differ, expected["differ"])


def photos(case: Case, shots: int) -> list[np.ndarray]:
    return [case.tensors[f"in.{name}"].numpy() for name in [*(f"support_{k}" for k in range(shots)), "query"]]


def slots_of(c: dict[str, Any]) -> list[Slot]:
    if c["shots"] == 1:
        return one_shot_slots(c["canvas"], c["ratio"], c["orient"], c["swap"])
    return many_shot_slots(c["canvas"], c["shots"], c["ratio"], c["layout"])


def canvas_boxes(case: Case, images: list[np.ndarray], slots: list[Slot]) -> torch.Tensor:
    side = case.config["canvas"]
    found = [
        canvas_box(box, image.shape[:2], slot, side)
        for box, image, slot in zip(case.tensors["in.boxes"].tolist(), images, slots, strict=False)
    ]
    return torch.tensor(found, dtype=torch.float64)


def layout(case: Case) -> Comparisons:
    side, images, slots = case.config["canvas"], photos(case, case.config["shots"]), slots_of(case.config)
    yield case.compare("out.slots", torch.tensor(slots), EXACT)
    canvas = draw_canvas(images, slots, side)
    yield case.compare("out.canvas", canvas, EXACT)
    yield case.compare("out.canvas_strided", canvas[::21, ::21], EXACT)
    yield case.compare("out.canvas_sum", canvas.astype(np.int64).sum((0, 1)), EXACT)
    yield case.compare("out.boxes", canvas_boxes(case, images, slots), absolute(1e-12))


def differing(case: Case, name: str, found: np.ndarray, most: float) -> Comparisons:
    if name not in case.tensors:
        return
    case.checked.add(name)
    differ = int((torch.from_numpy(found > 0) != (case.tensors[name] > 0)).sum())
    yield compare(f"{name} (pixels that differ)", differ, 0, absolute(most))


def merged(case: Case, found: Detections, slot: Slot, size: tuple[int, int], most: tuple[float, float]) -> Comparisons:
    scores = score_map(found, case.config["canvas"])
    yield from differing(case, "out.map", scores, most[0])
    yield from differing(case, "out.query_mask", cut_query(scores, slot, size), most[1])
    yield case.compare("out.map_area", torch.tensor([int((scores > 0).sum())]), absolute(4))


def merge(case: Case) -> Comparisons:
    c, t = case.config, case.tensors
    centre, size = t["in.pred_boxes"][:, :2], t["in.pred_boxes"][:, 2:]
    corners = torch.cat([centre - size / 2, centre + size / 2], 1)
    every = detections(t["in.pred_logits"], t["in.presence_logit"], t["in.pred_masks"], corners)
    found = every.kept(c["threshold"])
    yield case.compare("out.kept", (every.scores > c["threshold"]).nonzero().flatten(), EXACT)
    yield case.compare("out.scores", found.scores, relative(1e-5, 1e-8))
    yield case.compare("out.boxes", found.boxes * c["canvas"], relative(1e-5, 1e-8))
    slot = tuple(t["in.slot"].tolist())
    yield from merged(case, found, slot, tuple(c["query_size"]), (4, 4))


def negative(case: Case) -> Comparisons:
    c, t = case.config, case.tensors
    width, height = c["support_size_wh"]
    boxes, labels = mined_prompts(t["in.boxes"], t["in.scores"], t["in.support_box"].tolist(), c["max_neg"])
    found = mined_on_canvas(boxes, (height, width), c["canvas"], c["ratio"])
    yield case.compare("out.prompt_boxes", found, absolute(1e-6))
    yield case.compare("out.prompt_labels", labels, EXACT)


def end_to_end(case: Case) -> Comparisons:
    c, t = case.config, case.tensors
    side, images, slots = c["canvas"], photos(case, c["shots"]), slots_of(c)
    canvas, boxes = draw_canvas(images, slots, side), canvas_boxes(case, images, slots).float()
    net = Sam3Net(
        "Sam3Model", sam3_settings(**{**c["sam3"], "layers": tuple(c["sam3"]["layers"])}), WeightFile("x"), side
    )
    with mock.patch.dict(SAM3S, {"golden": net}):
        backbone = FrozenSam3(Sam3NetConfig("golden", weights="random"))
    backbone.replace_weights(case.state(), "golden")
    pixels = torch.from_numpy(canvas).permute(2, 0, 1)
    mean = ((pixels.double() / 255 - 0.5) / 0.5).mean((1, 2))
    yield case.compare("mid.pixel_values_mean", mean, relative(1e-3))
    yield case.compare("mid.prompt_boxes", boxes, relative(1e-3))
    concept = Concept(t["in.input_ids"], t["in.attention_mask"], boxes, torch.ones(len(boxes), dtype=torch.int64))
    raw = backbone.outputs(pixels, concept, torch.device("cpu"))
    yield case.compare("mid.pred_logits", raw.pred_logits[0], relative(1e-3, 1e-6))
    yield case.compare("mid.presence_logit", raw.presence_logits[0], relative(1e-3, 1e-6))
    yield case.compare("mid.pred_boxes_xyxy", raw.pred_boxes[0], relative(1e-3, 1e-6))
    every = backbone.detect(pixels, concept, torch.device("cpu"))
    kept = every.scores > 0.5
    yield case.compare("out.kept", kept.nonzero().flatten(), EXACT)
    yield case.compare("mid.pred_masks", raw.pred_masks[0][kept], relative(1e-3, 1e-6))
    found = every.kept(0.5)
    yield case.compare("out.scores", found.scores, relative(1e-3, 1e-6))
    size = images[-1].shape[:2]
    yield from merged(case, found, slots[-1], size, (0.003 * side**2, 0.003 * size[0] * size[1]))


KINDS = {
    "sam3_layout": layout,
    "sam3_merge": merge,
    "sam3_negative": negative,
    "sam3_end_to_end": end_to_end,
    "sam3_box_pascal": box_pascal,
    "sam3_episodes_coco": episodes_coco,
    "sam3_episodes_pascal": episodes_pascal,
    "sam3_metric": metric,
}
