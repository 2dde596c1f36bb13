"""Across domains: episodes, frames, votes and scores, DeepGlobe's crops, support-blind baselines (cd-fss-protocol)."""

import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from PIL import Image
from torch import Tensor

from fsbench.core.shot_ensemble import combine
from fsbench.data.batch import normalise
from fsbench.data.dataset import PairList
from fsbench.data.image_io import read_pixels
from fsbench.data.transforms import resize_image
from fsbench.datamodules.datasets.deepglobe import DeepGlobe, crops
from fsbench.datamodules.datasets.isic import CLASS_LIST, Isic, lesion_classes
from fsbench.datamodules.datasets.lung import Lung
from fsbench.datamodules.datasets.suim import Suim
from fsbench.datamodules.kinds.binary_masks import ListedMasks
from fsbench.methods.blind import Blind, centre_mask, otsu_threshold, saliency, saliency_mask
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.protocols.draws.by_word import one_stream
from fsbench.protocols.episode_rules.pools import Pool, ordinary_pool
from fsbench.protocols.reading import load_segmentation
from fsbench.protocols.view import View
from fsbench.scores.confusion import COUNTS
from fsbench.scores.ifa_figure import ifa_figure, ifa_sums
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Parts, Results, Same, absolute, relative
from tests.goldens.kinds.fss_protocol import fss_pool
from tests.goldens.meters import class_sums, counts_of, same_text

PROTOCOLS = {
    "patnet": "cdfss", "dr_adapter": "cdfss", "gfsam": "cdfss", "ifa": "cdfss_ifa", "abcdfss": "cdfss_abcdfss",
}  # fmt: skip


def _make(folder: Path, dataset: str, layout: str) -> ListedMasks:
    """Return the data set that a layout's program has in `folder`, whose marks are made where they are not there."""
    for mark in {"deepglobe": DeepGlobe, "isic": Isic, "lung": Lung, "suim": Suim}[dataset].declaration.marks:
        (folder / mark).mkdir(parents=True, exist_ok=True)
    if dataset == "deepglobe":
        return DeepGlobe(str(folder), "ifa" if layout == "ifa" else "patnet")
    if dataset == "isic":
        return Isic(str(folder), layout if layout in ("dr_adapter", "gfsam") else "ifa")  # type: ignore[arg-type]
    if dataset == "lung":
        return Lung(str(folder), "dr_adapter" if layout == "dr_adapter" else "patnet")
    return Suim(str(folder))


def _draw_folder(folder: Path, files: dict[str, list[str]], empty: set[str]) -> None:
    """Write the listed files; masks of SUIM as images, which are opened to leave out the `empty` ones."""
    for place, names in files.items():
        (folder / place).mkdir(parents=True)
        for name in names:
            if place.startswith("masks/"):
                grey = 0 if f"{place}/{name}" in empty else 255
                Image.new("L", (2, 2), grey).save(folder / place / name, "png")
            else:
                (folder / place / name).touch()


def episodes(case: Case, layout: str, dataset: str, shot: int, seed: int) -> Results:
    """Episodes of folders with decoys, through the data set and the protocol."""
    count = load_segmentation(PROTOCOLS[layout]).draw.episode_count

    def drawn(pool: Pool, suffix: str = "") -> list[list[Any]]:
        """Return as many episodes as the case stores, as it stores them."""
        found = islice(one_stream("of the data set", pool, shot=shot, seed=seed), len(case.data["episodes"]))
        return [[e.query_class - 1, f"{e.query}{suffix}", [f"{name}{suffix}" for name in e.supports[0]]] for e in found]

    if dataset == "fss":
        pool = fss_pool(case.data["classes_unsorted"], case.config["split"])
        return {"episodes": drawn(pool, ".jpg"), "length": count("fss1000", len(pool.pairs))}
    with tempfile.TemporaryDirectory() as root:
        _draw_folder(Path(root), case.data["files"], set(case.data["empty_masks"]))
        data = _make(Path(root), dataset, layout)
        pairs = [(name, number) for number, names in data.names.items() for name in names]
        pool = ordinary_pool(data, PairList(tuple(pairs), "golden"), data.test_classes(0))
        return {"episodes": drawn(pool), "length": count(data.name, len(pairs))}


def names(case: Case) -> Parts:
    for item in case.data["items"]:
        listed, layout, dataset = item["listed"], item["layout"], item["dataset"]
        found = [listed, f"{listed.removesuffix('.jpg')}.png"]
        if dataset != "fss":
            with tempfile.TemporaryDirectory() as root:
                place, _, file = listed.rpartition("/")
                _draw_folder(Path(root), {place: [file]}, set())
                data = _make(Path(root), dataset, layout)
                files = (data.image_path(listed), data.label_file(listed))
                found = [str(path.relative_to(root)) for path in files]
        yield {f"{layout} {dataset} {listed}": Same(found, [item["image"], item["mask"]])}


def frame(case: Case, dataset: str, size: int, rows: list[int]) -> Results:
    """One image and its mask, through the data set's label map."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        data, name = _framed(folder, dataset)
        for path, pixels in ((data.image_path(name), "in.image"), (data.label_file(name), "in.mask_image")):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(case.tensors[pixels].numpy()).save(path, "png")
        truth, _ = View("pil", "input").truth(data.label_map(name), size)
        image = normalise(resize_image(read_pixels(data.image_path(name)), size))
    return {"out.mask": truth, "out.image_rows": image[:, rows]}


def _framed(folder: Path, dataset: str) -> tuple[ListedMasks, str]:
    """Return a data set of one listed file, which is still to be written, and the file's name."""
    place, name = {
        "deepglobe": ("1/test/origin", "1_sat_00.jpg"),
        "isic": ("ISIC2018_Task1-2_Training_Input/1", "x.jpg"),
        "lung": ("masks", "CHNCXR_0001_0_mask.png"),
        "suim": ("masks/FV", "1.png"),
    }[dataset]
    _draw_folder(folder, {place: [name]}, set())
    return _make(folder, dataset, "patnet"), f"{place}/{name}"


def vote(masks: Tensor) -> Parts:
    """Hard masks as logits of 0 and 1; images of the batch in place of ways."""
    masks = masks.float()
    if len(masks) == 1:
        yield {"out.pred": masks[0]}
    yield {"out.pred": combine(torch.stack([1 - masks, masks], 2), "hsnet_vote")[1]}


def metric(first_class: int, classes: int, pred: Tensor, gt: Tensor, class_id: Tensor) -> Results:
    sums = class_sums(pred, gt, [number - first_class for number in class_id.tolist()], classes)
    return {"out.": {"intersection": sums.inter_by_class, "union": sums.union_by_class} | sums.score_rows}


def metric_ifa(batch: int, num_classes: int, pred: Tensor, gt: Tensor, class_id: Tensor) -> Results:
    """IFA's figure, from a count table as a record has it."""
    counts = counts_of(pred, gt)[:, 1]
    episodes = np.arange(len(counts))
    frame = {"episode": episodes, "slot": np.ones_like(episodes), "class_id": class_id.numpy() + 1}
    frame |= {name: counts[:, column] for column, name in enumerate(COUNTS)}
    sums = ifa_sums(pl.DataFrame(frame | {"query": [f"{number % 7}" for number in episodes]}), batch, num_classes)
    return {"out.miou": ifa_figure(sums.total())}


_COLOURS = np.array(
    [(0, 255, 255), (255, 255, 0), (255, 0, 255), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)], dtype=np.uint8
)
"""Colours of the classes in the order of the goldens: urban, agriculture, rangeland, forest, water, barren, unknown."""


def deepglobe_prepare(block: int, blocks: np.ndarray, odd_pixels: Tensor) -> Results:
    labels = _COLOURS[blocks].repeat(block, 0).repeat(block, 1)
    for row, column in odd_pixels.tolist():
        labels[row, column] = (1, 255, 255)
    kept, in_class = np.zeros((6, 6), np.uint8), np.zeros((6, 6, 6), np.uint8)
    centres = np.zeros((6, 6, 6, 17, 17), np.uint8)
    for crop in crops(labels):
        kept[crop.row, crop.column] = crop.is_kept
        for number, mask in crop.masks.items() if crop.is_kept else ():
            in_class[crop.row, crop.column, number - 1] = 1
            centres[crop.row, crop.column, number - 1] = mask[12::block, 12::block]
    return {"out.kept": kept, "out.in_class": in_class, "out.mask_centres": centres}


def isic_classes(case: Case) -> Results:
    ours = Same(CLASS_LIST.read_text(), case.data)
    return {"list": ours, "lines": Same(len(lesion_classes()), case.entry["lines"]), **same_text(case)}


def blind_baseline(sigma: float, height: int, width: int, radius: float, image: Tensor) -> Results:
    values = saliency(image, sigma)
    return {
        "out.saliency": values,
        "out.threshold": [otsu_threshold(values.numpy())],
        "out.mask": saliency_mask(image, sigma),
        "out.centre": centre_mask(height, width, radius),
        "out.full": Blind(BackboneConfig("none"), "full").mask(image),
    }


KINDS = {
    "blind_baseline": Kind(blind_baseline, {"out.saliency": relative(1e-5), "out.threshold": relative(1e-9)}),
    "cdfss_episodes": Kind(episodes),
    "cdfss_frame": Kind(frame, {"out.image_rows": absolute(2e-6)}),
    "cdfss_metric": Kind(metric, {"out.miou": absolute(1e-3), "out.fb_iou": absolute(1e-3)}),
    "cdfss_metric_ifa": Kind(metric_ifa, {"": absolute(1e-6)}),
    "cdfss_names": Kind(names),
    "cdfss_vote": Kind(vote),
    "deepglobe_prepare": Kind(deepglobe_prepare),
    "isic_classes": Kind(isic_classes),
}
