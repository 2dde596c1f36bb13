"""FSSDINO: k-means, Gram maps, whole predictions, scores of layers, metrics and episodes (fssdino.md §9)."""

from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsbench.backbones.vit import build_vit, patch_maps
from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD
from fsbench.data.large_objects import large_objects
from fsbench.ops.cosine_kmeans import cosine_kmeans, cosine_kmeans_reference
from fsbench.protocols.fssdino import fssdino_episodes
from methods.fssdino.fssdino import class_masks
from methods.fssdino.prediction import (
    Draws,
    class_features,
    class_scores,
    compare_classes,
    gram_map,
    gram_matrix,
    to_grid,
    to_size,
)
from tests.goldens.fssdino_layer_scores import fisher_ratio, gram_distance, map_entropy, register_ratio
from tests.goldens.fssdino_metric import class_iou, confusion_matrix, counted, episode_mean_iou, protocol_scores
from tests.goldens.harness import EXACT, Case, Comparisons, Tolerance, absolute, compare, equal, relative

TIE = 2e-5
"""Pixels whose two best classes are nearer than this may have either label."""
RELATIVE = Tolerance("1e-4*|ref|", lambda ref: 1e-4 * ref.abs())


def kmeans(case: Case) -> Comparisons:
    c, x = case.config, case.tensors["in.x"]
    draws = Draws(c["numpy_seed"])
    initial = draws.rows(len(x), c["clusters"])
    yield case.compare("out.initial_indices", initial, EXACT)
    for way in (cosine_kmeans, cosine_kmeans_reference):
        found = way(x, initial, draws.torch)
        yield case.compare("out.centres", found.centres, absolute(1e-5 if c["clusters"] == 1 else 1e-4))
        yield case.compare("out.labels", found.labels, EXACT)
        yield equal("passes", found.passes, c["iterations"])


def gram(case: Case) -> Comparisons:
    t = case.tensors
    for number, features in enumerate(class_features(t["in.support_features"], t["in.support_masks"] > 0)):
        if len(features):
            matrix = gram_matrix(features)
            yield case.compare(f"out.gram.{number}", matrix, absolute(1e-5))
            yield case.compare(f"out.map.{number}", gram_map(matrix, t["in.query_features"][0]), absolute(1e-5))
        yield equal(f"class {number} has a map", bool(len(features)), f"out.map.{number}" in t)


def prediction(case: Case) -> Comparisons:
    c, t = case.config, case.tensors
    size = (c["image_size"], c["image_size"])
    original = (c["original_size"][0], c["original_size"][1])
    supports = t["in.support_features"]
    masks = t["in.support_masks"] > 0
    small = to_grid(masks, *supports.shape[2:])
    yield case.compare("mid.support_masks_small", small, EXACT)
    yield from _channels(masks)
    draws = Draws(c["numpy_seed"])
    maps = compare_classes(t["in.query_features"][0], class_features(supports, small), c["n_clusters"], draws)
    for number, own in enumerate(maps):
        yield equal(f"class {number} has maps", own is not None, f"mid.sims.{number}" in t)
        if own is not None:
            yield case.compare(f"mid.prototypes.{number}", own.prototypes, absolute(1e-4))
            yield case.compare(f"mid.sims.{number}", own.cosines, absolute(1e-4))
            yield case.compare(f"mid.gram_map.{number}", own.gram, absolute(1e-4))
    scores = class_scores(maps, size)
    yield case.compare("mid.scores", scores.amax(0), absolute(1e-4))
    labels = _tied(scores, t["out.labels"])
    yield case.compare("out.labels", labels, EXACT)
    numbers = torch.arange(len(maps))[:, None, None]
    yield case.compare("out.class_masks", labels[None] == numbers, EXACT)
    yield case.compare("out.labels_original", to_size(labels[None], original)[0], EXACT)
    truth = to_size(t["in.query_masks"][0], original)
    yield case.compare("out.gt_original", torch.from_numpy(truth.numpy().argmax(0)), EXACT)


def _channels(masks: Tensor) -> Comparisons:
    """Compare masks (B, M + 1, S, S) with the method's channels of the same supports, a class for each way."""
    shown = [number for number in range(1, masks.shape[1]) if masks[:, number].any()]
    if len(masks) % len(shown):  # a way without pixels
        return
    maps = 255 - 255 * masks.any(1).to(torch.uint8)  # in no channel: padding
    for way, number in enumerate(shown, 1):
        maps[masks[:, number]] = way
    maps = maps.view(len(shown), -1, *maps.shape[1:])
    ways = torch.arange(1, len(shown) + 1)[:, None, None, None]
    own = torch.where(maps == 255, 255, (maps == ways).to(torch.uint8))
    channels = class_masks(own, torch.arange(len(masks)).view(maps.shape[:2]), maps)
    yield compare("in.support_masks", channels, masks[:, [0, *shown]], EXACT)


def _tied(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the labels of scores (M + 1, H, W), those given where two classes are all but equal."""
    best = scores.topk(2, dim=0).values
    return torch.where(best[0] - best[1] < TIE, labels.long(), scores.argmax(0))


def end_to_end(case: Case) -> Comparisons:
    c, t = case.config, case.tensors
    side = c["image_size"]
    arguments = {
        "network": "vit_small_patch16_dinov3_qkvb",
        "patch_size": c["patch"],
        "embed_dim": c["embed_dim"],
        "depth": c["depth"],
        "num_heads": c["heads"],
    }
    model: Any = build_vit(arguments, case.state(), side, side)
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    images = torch.cat([t["in.query_image"][None], t["in.support_images"]])
    features = torch.cat(
        [patch_maps(model, ((image.float() / 255 - mean) / std)[None], norm=False) for image in images]
    )
    yield case.compare("mid.features", features.flatten(2).transpose(1, 2), relative(1e-4))
    small = to_grid(t["in.support_masks"] > 0, *features.shape[2:])
    draws = Draws(c["numpy_seed"])
    maps = compare_classes(features[0], class_features(features[1:], small), c["n_clusters"], draws)
    scores = class_scores(maps, (side, side))
    yield case.compare("mid.scores", scores.amax(0), absolute(1e-4))
    yield case.compare("out.labels", _tied(scores, t["out.labels"]), EXACT)


def layer_scores(case: Case) -> Comparisons:
    """Compare the authors' scores of layers, which stand on the product's features of classes and its Gram matrices.

    No product code computes the scores; they hold `class_features` and `gram_matrix` to the authors' numbers with
    several classes and support images at once.
    """
    t = case.tensors
    features, masks = t["in.features"], t["in.masks"] > 0
    supports, support_masks = t["in.support_features"], t["in.support_masks"] > 0
    yield case.compare("out.register_ratio", torch.tensor([register_ratio(t["in.tokens"])]), RELATIVE)
    fisher = [
        fisher_ratio(features, masks, metric, with_background)
        for metric in ("cosine", "euclidean")
        for with_background in (True, False)
    ]
    yield case.compare("out.fisher", torch.tensor(fisher), RELATIVE)
    distance = gram_distance(features, masks, supports, support_masks)
    yield case.compare("out.gram_distance", torch.tensor([distance]), RELATIVE)
    maps = list(case.group("in.sims.").values())
    yield case.compare("out.entropy", torch.tensor([map_entropy(maps)]), RELATIVE)


def metrics(case: Case) -> Comparisons:
    classes = case.config["classes_with_background"]
    truth, predicted = case.tensors["in.gt"].numpy(), case.tensors["in.pred"].numpy()
    confusion = confusion_matrix(truth, predicted, classes)
    yield case.compare("out.confusion", confusion, EXACT)
    counts = counted(truth, predicted, classes)
    found = counts[:, 1:, :3].sum(0).T.tolist()
    yield equal("counts", found, [v[1:].tolist() for v in (confusion.diagonal(), confusion.sum(0), confusion.sum(1))])
    scores = protocol_scores(counts)
    yield case.compare("out.class_iou", class_iou(counts), absolute(1e-4))
    yield case.compare("out.miou", np.array([scores["mIoU"]]), absolute(1e-4))
    yield case.compare("out.fb_iou", np.array([scores["FB-IoU-classes"]]), absolute(1e-4))
    yield case.compare("out.episode_miou", np.array([episode_mean_iou(of) for of in counts]), absolute(1e-4))


def coco_episodes(case: Case) -> Comparisons:
    c, d = case.config, case.data
    found = large_objects(d["instances"])
    categories = [number for number, _ in found.categories][c["fold"] :: c["folds"]]
    yield equal("fold_categories", categories, d["fold_categories"])
    images = {category: found.images_of[category] for category in categories}
    yield equal("first_image_by_category", {str(k): v for k, v in images.items()}, d["first_image_by_category"])
    drawn = list(islice(fssdino_episodes(images, way=c["way"], shot=c["shot"], seed=c["seed"]), c["episodes"]))
    for index, (episode, expected) in enumerate(zip(drawn, d["episodes"], strict=True)):
        supports = [image for way in episode.supports for image in way]
        sums = []
        for image in (episode.query, *supports):
            masks = {1 + categories.index(number): found.mask(image, number) for number in episode.classes}
            masks[0] = ~np.any(list(masks.values()), axis=0)
            sums.append({str(n): int(masks[n].sum()) for n in sorted(masks) if masks[n].any()})
        answer = {
            "categories": sorted(episode.classes, key=categories.index),
            "query": episode.query,
            "supports": supports,
            "mask_sums": sums,
        }
        yield equal(f"episode {index}", answer, expected)
    yield compare("episodes", torch.tensor(len(drawn)), torch.tensor(c["episodes"]), EXACT)


KINDS = {
    "fssdino_kmeans": kmeans,
    "fssdino_gram": gram,
    "fssdino_predict": prediction,
    "fssdino_e2e": end_to_end,
    "fssdino_layer_scores": layer_scores,
    "fssdino_metrics": metrics,
    "fssdino_coco_episodes": coco_episodes,
}
