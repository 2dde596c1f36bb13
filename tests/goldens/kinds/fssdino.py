"""FSSDINO: k-means, Gram maps, whole predictions, scores of layers, metrics and episodes (fssdino.md §9)."""

from itertools import islice

import numpy as np
import torch
from torch import Tensor

from fsbench.data.batch import normalise
from fsbench.data.large_objects import large_objects
from fsbench.methods.fssdino import (
    Draws,
    class_features,
    class_masks,
    class_scores,
    compare_classes,
    gram_map,
    gram_matrix,
    support_classes,
    to_grid,
    to_size,
)
from fsbench.networks.backbones.timm_networks import patch_maps
from fsbench.networks.ops.cosine_kmeans import cosine_kmeans, cosine_kmeans_reference
from fsbench.protocols.draws.large_objects import fssdino_episodes
from tests.goldens.cases import Case
from tests.goldens.declared import EXACT, Clear, Kind, Near, Parts, Results, Same, absolute, proportional, relative
from tests.goldens.fssdino_layer_scores import fisher_ratio, gram_distance, map_entropy, register_ratio
from tests.goldens.fssdino_metric import class_iou, confusion_matrix, counted, episode_mean_iou, protocol_scores
from tests.goldens.networks import small_dinov3

TIE = 2e-5
"""Pixels whose two best classes are nearer than this may have either label."""
RELATIVE = proportional(1e-4)


def kmeans(numpy_seed: int, clusters: int, iterations: int, x: Tensor) -> Parts:
    draws = Draws(numpy_seed)
    initial = draws.rows(len(x), clusters)
    yield {"out.initial_indices": initial}
    for way in (cosine_kmeans, cosine_kmeans_reference):
        found = way(x, initial, draws.torch)
        yield {"out.centres": found.centres, "out.labels": found.labels, "passes": Same(found.passes, iterations)}


def gram(case: Case, support_features: Tensor, support_masks: Tensor, query_features: Tensor) -> Parts:
    for number, features in enumerate(class_features(support_features, support_masks > 0)):
        if len(features):
            matrix = gram_matrix(features)
            yield {f"out.gram.{number}": matrix, f"out.map.{number}": gram_map(matrix, query_features[0])}
        yield {f"class {number} has a map": Same(bool(len(features)), f"out.map.{number}" in case.tensors)}


def prediction(
    case: Case, image_size: int, original_size: list[int], numpy_seed: int, n_clusters: int, support_features: Tensor,
    support_masks: Tensor, query_features: Tensor, query_masks: Tensor,
) -> Parts:  # fmt: skip
    t, original = case.tensors, (original_size[0], original_size[1])
    small = to_grid(support_masks > 0, *support_features.shape[2:])
    yield {"mid.support_masks_small": small}
    yield channels(support_masks > 0)
    classes = support_classes(class_features(support_features, small), n_clusters, Draws(numpy_seed))
    maps = compare_classes(query_features[0], classes)
    for number, (shown, own) in enumerate(zip(classes, maps, strict=True)):
        yield {f"class {number} has maps": Same(own is not None, f"mid.sims.{number}" in t)}
        if shown is not None and own is not None:
            found = {"prototypes": shown.prototypes, "sims": own.cosines, "gram_map": own.gram}
            yield {f"mid.{name}.{number}": value for name, value in found.items()}
    scores = class_scores(maps, (image_size, image_size))
    found_labels = labels_of(scores)
    labels = torch.where(found_labels.clear, found_labels.labels, t["out.labels"].long())
    yield {
        "mid.scores": scores.amax(0),
        "out.labels": found_labels,
        "out.class_masks": labels[None] == torch.arange(len(maps))[:, None, None],
        "out.labels_original": to_size(labels[None], original)[0],
        "out.gt_original": to_size(query_masks[0], original).numpy().argmax(0),
    }


def channels(masks: Tensor) -> Results:
    """Return the method's channels of supports, a class for each way, with a case's masks (B, M + 1, S, S)."""
    shown = [number for number in range(1, masks.shape[1]) if masks[:, number].any()]
    if len(masks) % len(shown):  # a way without pixels
        return {}
    maps = 255 - 255 * masks.any(1).to(torch.uint8)  # in no channel: padding
    for way, number in enumerate(shown, 1):
        maps[masks[:, number]] = way
    maps = maps.view(len(shown), -1, *maps.shape[1:])
    ways = torch.arange(1, len(shown) + 1)[:, None, None, None]
    own = torch.where(maps == 255, 255, (maps == ways).to(torch.uint8))
    channels = class_masks(own, torch.arange(len(masks)).view(maps.shape[:2]), maps)
    return {"in.support_masks": Near(channels, masks[:, [0, *shown]])}


def labels_of(scores: Tensor) -> Clear:
    """Return the labels of scores (M + 1, H, W), unclear where two classes are all but equal."""
    best = scores.topk(2, dim=0).values
    return Clear(scores.argmax(0), best[0] - best[1] >= TIE)


def end_to_end(
    case: Case, image_size: int, numpy_seed: int, n_clusters: int, query_image: Tensor, support_images: Tensor,
    support_masks: Tensor,
) -> Results:  # fmt: skip
    model, images = small_dinov3(case), torch.cat([query_image[None], support_images])
    features = torch.cat([patch_maps(model, normalise(image)[None], norm=False) for image in images])
    small = to_grid(support_masks > 0, *features.shape[2:])
    classes = support_classes(class_features(features[1:], small), n_clusters, Draws(numpy_seed))
    scores = class_scores(compare_classes(features[0], classes), (image_size, image_size))
    tokens = features.flatten(2).transpose(1, 2)
    return {"mid.features": tokens, "mid.scores": scores.amax(0), "out.labels": labels_of(scores)}


def layer_scores(
    case: Case, features: Tensor, masks: Tensor, tokens: Tensor, support_features: Tensor, support_masks: Tensor
) -> Results:
    """Compare the authors' scores of layers, which stand on the product's features of classes and its Gram matrices.

    No product code computes the scores; they hold `class_features` and `gram_matrix` to the authors' numbers with
    several classes and support images at once.
    """
    ways = [(metric, with_background) for metric in ("cosine", "euclidean") for with_background in (True, False)]
    return {
        "out.register_ratio": [register_ratio(tokens)],
        "out.fisher": [fisher_ratio(features, masks > 0, *way) for way in ways],  # type: ignore[arg-type]
        "out.gram_distance": [gram_distance(features, masks > 0, support_features, support_masks > 0)],
        "out.entropy": [map_entropy(list(case.group("in.sims.").values()))],
    }


def metrics(classes_with_background: int, gt: np.ndarray, pred: np.ndarray) -> Results:
    confusion = confusion_matrix(gt, pred, classes_with_background)
    counts = counted(gt, pred, classes_with_background)
    sums = [v[1:].tolist() for v in (confusion.diagonal(), confusion.sum(0), confusion.sum(1))]
    scores = protocol_scores(counts)
    return {
        "out.confusion": confusion,
        "counts": Same(counts[:, 1:, :3].sum(0).T.tolist(), sums),
        "out.class_iou": class_iou(counts),
        "out.miou": [scores["mIoU"]],
        "out.fb_iou": [scores["FB-IoU-classes"]],
        "out.episode_miou": [episode_mean_iou(of) for of in counts],
    }


def coco_episodes(case: Case) -> Parts:
    c, d = case.config, case.data
    found = large_objects(d["instances"])
    categories = [number for number, _ in found.categories][c["fold"] :: c["folds"]]
    images = {category: found.images_of[category] for category in categories}
    yield {"fold_categories": categories, "first_image_by_category": {str(k): v for k, v in images.items()}}
    drawn = list(islice(fssdino_episodes(images, way=c["way"], shot=c["shot"], seed=c["seed"]), c["episodes"]))
    for episode_number, (episode, expected) in enumerate(zip(drawn, d["episodes"], strict=True)):
        supports = [image for way in episode.supports for image in way]
        sums = []
        for image in (episode.query, *supports):
            masks = {1 + categories.index(number): found.mask(image, number) for number in episode.classes}
            masks[0] = ~np.any(list(masks.values()), axis=0)
            sums.append({str(n): int(masks[n].sum()) for n in sorted(masks) if masks[n].any()})
        ordered = sorted(episode.classes, key=categories.index)
        answer = {"categories": ordered, "query": episode.query, "supports": supports, "mask_sums": sums}
        yield {f"episode {episode_number}": Same(answer, expected)}
    yield {"episodes": Same(len(drawn), c["episodes"])}


MAPS = {"mid.": absolute(1e-4), "mid.support_masks_small": EXACT}
KINDS = {
    "fssdino_kmeans": Kind(
        kmeans, {"out.centres": lambda case: absolute(1e-5 if case.config["clusters"] == 1 else 1e-4)}
    ),
    "fssdino_gram": Kind(gram, {"out.": absolute(1e-5)}),
    "fssdino_predict": Kind(prediction, MAPS),
    "fssdino_e2e": Kind(end_to_end, {"mid.features": relative(1e-4), "mid.scores": absolute(1e-4)}),
    "fssdino_layer_scores": Kind(layer_scores, {"out.": RELATIVE}),
    "fssdino_metrics": Kind(metrics, {"out.": absolute(1e-4), "out.confusion": EXACT}),
    "fssdino_coco_episodes": Kind(coco_episodes),
}
