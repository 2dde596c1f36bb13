"""SAM 3 on a canvas: layout, boxes, merge, negatives, the network; the episodes and scores of fss_sam3."""

import gzip
import hashlib
import json
import random
from typing import Any
from unittest import mock

import numpy as np
import torch

from fsbench.data.episodes.episode import Episode
from fsbench.data.truth import EpisodeTruth
from fsbench.datamodules.datasets.coco.protocols import AnnotatedObject, AnnotatedObjects, load_objects
from fsbench.methods.sam3_canvas import (
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
from fsbench.networks.backbones.sam2_sam3 import SAM3S, Concept, Detections, FrozenSam3, Sam3NetConfig, detections
from fsbench.protocols.draws.boxes import BoxTest, drawn_episodes, largest_object_box, loaded_episodes, pixel_pools
from fsbench.scores.answers import SegmentationAnswer, count_answer
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Parts, Results, Same, absolute, few, relative
from tests.goldens.meters import protocol_statistics
from tests.goldens.networks import sam3_net

COCO_IDS = [number for number in range(1, 91) if number not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)]
FOLDS, EPISODES, THRESHOLD = 4, 1000, 0.5


def box_pascal(case: Case) -> Results:
    found = {}
    for item in range(case.config["items"]):
        labels, objects = (case.tensors[f"in.{kind}_{item}"].numpy() for kind in ("label", "object"))
        box = largest_object_box(labels, objects, case.config["class"])
        found[item] = torch.tensor([] if box is None else box)
    return {"out.box_": found}


def metric(case: Case) -> Results:
    numbers = case.tensors["in.class"].tolist()
    rows = []
    for episode, number in enumerate(numbers):
        truth = case.tensors[f"in.mask_{episode}"]
        size = (truth.shape[0], truth.shape[1])
        classes = np.array([number])
        label_map, present = truth.to(torch.uint8).numpy(), np.array([bool(truth.any())])
        answer = SegmentationAnswer(case.tensors[f"in.pred_{episode}"].to(torch.uint8).numpy())
        rows += count_answer(answer, EpisodeTruth(episode, size, label_map, present, classes)).rows()
    statistics = protocol_statistics("fss_sam3", rows, list(range(1, 21)), dataset="pascal")
    scores = {name: value / 100 for name, value in statistics.scores().items()}
    of = statistics.sums
    both = (of[name].total()[0] for name in ("foreground", "background"))
    fg, bg = (float(intersection / max(union, 1)) for intersection, union in both)
    return {
        "out.class_ids": sorted(set(numbers)),
        "out.intersection": of["intersection"].total()[0],
        "out.union": of["union"].total()[0],
        "out.miou": [scores["mIoU"]],
        "out.fb": [scores["FB-IoU"], fg, bg],
    }


def line_of(episode: Episode, category: int) -> str:
    return f"{category}\t{episode.query}\t{','.join(episode.supports[0])}"


def compared_lines(place: str, lines: list[str], data: dict[str, Any], end: str = "") -> Results:
    """Compare the number of lines, the first ones and the checksum of all."""
    first = data[f"{end}_first" if end else "first"]
    sha256 = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    return {
        f"{place}: {len(lines)} lines": Same(len(lines), data["n"]),
        f"{place}: first": Same(lines[: len(first)], first),
        f"{place}: sha256": Same(sha256, data[f"sha256_{end}" if end else "sha256"]),
    }


def episodes_pascal(case: Case) -> Parts:
    areas = json.loads(gzip.decompress((case.folder / case.config["areas"]).read_bytes()))
    fold, shot = case.config["fold"], case.config["shot"]
    numbers = range(5 * fold + 1, 5 * fold + 6)
    pools = pixel_pools({name: {int(k): v for k, v in pixels.items()} for name, pixels in areas.items()}, numbers)
    usable = pools.usable(numbers, shot)
    yield {
        "classes": usable,
        "targets": [len(pools.targets[number]) for number in usable],
        "supports": [len(pools.supports[number]) for number in usable],
    }
    drawn = drawn_episodes(pools, usable, shot, case.config["seed"] + fold)
    lines = [line_of(episode, episode.query_class) for episode, _ in zip(drawn, range(EPISODES), strict=False)]
    yield compared_lines("drawn", lines, case.data)
    yield {"last": lines[-len(case.data["last"]) :]}


class ByIds(BoxTest):
    """The test of annotations, whose images are called by their ids."""

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
        return Episode(episode.number, episode.query, number, (number,), (named,))


def episodes_coco(case: Case) -> Parts:
    annotations, shot, seed = case.data["index"], case.config["shot"], case.config["seed"]
    items = [
        AnnotatedObject(number, image, category, area, bool(is_crowd), tuple(box))
        for number, image, category, area, is_crowd, box in annotations["annotations"]
    ]
    objects = AnnotatedObjects(items, COCO_IDS)
    test, pools, rng = ByIds(objects, set(annotations["empty_masks"])), objects.pools(str), random.Random(seed)
    for fold in range(FOLDS):
        usable = pools.usable(range(fold + 1, len(COCO_IDS) + 1, FOLDS), shot)
        expected = case.data["expected"][f"fold{fold}"]
        yield {f"fold {fold}: classes": Same([COCO_IDS[number - 1] for number in usable], expected["classes"])}
        stream = drawn_episodes(pools, usable, shot, seed + fold)
        drawn = [episode for episode, _ in zip(stream, range(expected["n"]), strict=False)]
        loaded = [episode for episode, _ in loaded_episodes(test, drawn, rng)]
        for end, episodes in (("drawn", drawn), ("loaded", loaded)):
            lines = [line_of(episode, COCO_IDS[episode.query_class - 1]) for episode in episodes]
            yield compared_lines(f"fold {fold}, {end}", lines, expected, end)
        last = expected["loaded_last"]
        pairs = zip(drawn, loaded, strict=True)
        differ = sum((a.query_class, a.query) != (b.query_class, b.query) for a, b in pairs)
        yield {
            f"fold {fold}: last": Same(lines[-len(last) :], last),
            f"fold {fold}: replaced": Same(differ, expected["differ"]),
        }


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


def layout(case: Case) -> Results:
    side, images, slots = case.config["canvas"], photos(case, case.config["shots"]), slots_of(case.config)
    canvas = draw_canvas(images, slots, side)
    return {
        "out.": {"slots": slots, "boxes": canvas_boxes(case, images, slots), "canvas": canvas},
        "out.canvas_strided": canvas[::21, ::21],
        "out.canvas_sum": canvas.astype(np.int64).sum((0, 1)),
    }


def merged(found: Detections, slot: Slot, side: int, size: tuple[int, int]) -> Results:
    """Return the map of detections on a canvas, and what it holds of the query."""
    scores = score_map(found, side)
    return {
        "out.map": scores > 0,
        "out.query_mask": cut_query(scores, slot, size) > 0,
        "out.map_area": [int((scores > 0).sum())],
    }


def merge(case: Case) -> Results:
    c, t = case.config, case.tensors
    centre, size = t["in.pred_boxes"][:, :2], t["in.pred_boxes"][:, 2:]
    corners = torch.cat([centre - size / 2, centre + size / 2], 1)
    every = detections(t["in.pred_logits"], t["in.presence_logit"], t["in.pred_masks"], corners)
    found = every.kept(c["threshold"])
    return {
        "out.kept": (every.scores > c["threshold"]).nonzero().flatten(),
        "out.scores": found.scores,
        "out.boxes": found.boxes * c["canvas"],
        **merged(found, tuple(t["in.slot"].tolist()), c["canvas"], tuple(c["query_size"])),
    }


def negative(case: Case) -> Results:
    c, t = case.config, case.tensors
    width, height = c["support_size_wh"]
    boxes, labels = mined_prompts(t["in.boxes"], t["in.scores"], t["in.support_box"].tolist(), c["max_neg"])
    found = mined_on_canvas(boxes, (height, width), c["canvas"], c["ratio"])
    return {"out.prompt_boxes": found, "out.prompt_labels": labels}


def end_to_end(case: Case) -> Results:
    c, t = case.config, case.tensors
    side, images, slots = c["canvas"], photos(case, c["shots"]), slots_of(c)
    canvas, boxes = draw_canvas(images, slots, side), canvas_boxes(case, images, slots).float()
    with mock.patch.dict(SAM3S, {"golden": sam3_net(c["sam3"])}):
        backbone = FrozenSam3(Sam3NetConfig("golden", weights="random"))
    backbone.replace_weights(case.state(), "golden")
    pixels = torch.from_numpy(canvas).permute(2, 0, 1)
    mean = ((pixels.double() / 255 - 0.5) / 0.5).mean((1, 2))
    concept = Concept(t["in.input_ids"], t["in.attention_mask"], boxes, torch.ones(len(boxes), dtype=torch.int64))
    raw = backbone.outputs(pixels, concept, torch.device("cpu"))
    every = backbone.detect(pixels, concept, torch.device("cpu"))
    kept = every.scores > THRESHOLD
    found = every.kept(THRESHOLD)
    return {
        "mid.pixel_values_mean": mean,
        "mid.prompt_boxes": boxes,
        "mid.pred_logits": raw.pred_logits[0],
        "mid.presence_logit": raw.presence_logits[0],
        "mid.pred_boxes_xyxy": raw.pred_boxes[0],
        "mid.pred_masks": raw.pred_masks[0][kept],
        "out.kept": kept.nonzero().flatten(),
        "out.scores": found.scores,
        **merged(found, slots[-1], side, images[-1].shape[:2]),
    }


CLOSE, NEAR = relative(1e-5, 1e-8), relative(1e-3, 1e-6)
FEW_PIXELS = {"out.map": few(entries=4), "out.query_mask": few(entries=4), "out.map_area": absolute(4)}
SHARE = {"out.map": few(0.003), "out.query_mask": few(0.003), "out.map_area": absolute(4)}
KINDS = {
    "sam3_layout": Kind(layout, {"out.boxes": absolute(1e-12)}),
    "sam3_merge": Kind(merge, {"out.scores": CLOSE, "out.boxes": CLOSE, **FEW_PIXELS}),
    "sam3_negative": Kind(negative, {"out.prompt_boxes": absolute(1e-6)}),
    "sam3_end_to_end": Kind(end_to_end, {"mid.": NEAR, "out.scores": NEAR, **SHARE}),
    "sam3_box_pascal": Kind(box_pascal),
    "sam3_episodes_coco": Kind(episodes_coco),
    "sam3_episodes_pascal": Kind(episodes_pascal),
    "sam3_metric": Kind(metric, {"out.miou": absolute(1e-12), "out.fb": absolute(1e-12)}),
}
