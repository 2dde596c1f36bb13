"""Matcher: matching, k-means, samples, candidate masks, scores and merging, and the whole (matcher.md §11)."""

import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.data.batch import normalise
from fsbench.methods import matcher as own
from fsbench.networks.backbones.sam import Masks, Preparation, PromptableNetwork, Prompts
from fsbench.networks.backbones.timm_networks import patch_maps
from tests.goldens.cases import Case
from tests.goldens.declared import EXACT, Kind, Result, Results, absolute, few
from tests.goldens.kinds.persam import STATED, case_sam, chw, rel
from tests.goldens.networks import small_dinov2

RELATIVE = rel(1e-5)


def settings(kind: type[Any], config: dict[str, Any]) -> Any:
    """Return the settings of a kind in a case's configuration."""
    return kind(**{name: config[name] for name in kind.__dataclass_fields__ if name in config})


def matching(
    patch: int, grid: int, use_box: bool, support_masks: Tensor, support_tokens: Tensor, query_tokens: Tensor
) -> Results:
    foreground = own.reference_foreground(support_masks > 0, patch)
    similarity = support_tokens.flatten(0, 1) @ query_tokens.T
    points, box = own.matched_points(own.match_cells(similarity, foreground), grid, patch)
    return {
        "out.reference_foreground": foreground,
        "out.cost_row_mean": own.transport_costs(similarity).mean(1),
        "out.points": points,
        "out.box": box if use_box else torch.zeros(0),
    }


def kmeans(torch_seed: int, num_centers: int, points: Tensor) -> Results:
    return {"out.centers": own.cluster_points(points, num_centers, torch.Generator().manual_seed(torch_seed))}


def padded(groups: list[Tensor], width: int) -> Tensor:
    """Join groups of samples, with points at -1 up to `width` points."""
    return torch.cat([F.pad(group, (0, 0, 0, width - group.shape[1]), value=-1) for group in groups])


def samples(sample_range: list[int], max_iterations: int, python_seed: int, points: Tensor) -> Results:
    low, high = sample_range
    groups = own.sample_points(points, (low, high), max_iterations, random.Random(python_seed))
    widest = max(group.shape[1] for group in groups)
    return {"out.groups": torch.tensor([group.shape[:2] for group in groups]), "out.samples": padded(groups, widest)}


class StoredMasks(PromptableNetwork):
    """A SAM that answers prompts by the case's logits, first those of its grid, and remembers the prompts."""

    def decode(self, encoding: Any, size: tuple[int, int], prompts: Prompts, multimask: bool, **_: Any) -> Masks:
        start = sum(map(len, self.model["asked"]))
        self.model["asked"].append(prompts)
        return Masks(*(torch.stack(self.model[part][start : start + len(prompts)]) for part in ("logits", "iou")))

    def full_size(self, low_res: Tensor, size: tuple[int, int]) -> Tensor:
        return low_res


def generator(case: Case, dense: bool, use_box: bool, size: int, groups: Tensor, samples: Tensor) -> Results:
    counts, widths = groups.T.tolist()
    given = [part[:, :width] for part, width in zip(samples.split(counts), widths, strict=True)]
    stored = [{part: case.tensors[f"in.{which}{part}"] for part in ("logits", "iou")} for which in ("dense_", "")]
    answers = {part: [row for one in stored[not dense :] for row in one[part]] for part in ("logits", "iou")}
    network = StoredMasks({**answers, "asked": []}, Preparation(size), prompts=10**9)
    prompting, box = settings(own.Prompting, case.config), torch.tensor([2, 3, size - 3, size - 2])
    query = own.Query(torch.zeros(0), network, torch.zeros(0), size, own.Draws(0, 0))
    query.add_grid(prompting)
    asked = len(network.model["asked"])  # of the grid
    found, every = query.candidates(given, box, prompting), network.model["asked"]
    prompted = [prompts.points.double() for prompts in every[asked:]]
    return {
        "out.batch_sizes": [len(prompts) for prompts in every],
        "out.dense_points": torch.cat([torch.zeros(0, 1, 2), *(prompts.points for prompts in every[:asked])]),
        "out.prompt_points": padded(prompted, case.tensors["out.prompt_points"].shape[1]),
        "out.prompt_boxes": torch.cat([p.boxes for p in every[asked:]]) if use_box else torch.zeros(0, 4),
        "out.": {"masks": found.masks, "iou": found.iou, "stability": found.stability.nan_to_num(-1)},
    }


def scores(patch: int, cost: Tensor, reference_foreground: Tensor, masks: Tensor, points: Tensor) -> Results:
    return {"out.": own.score_masks(masks > 0, points, cost[reference_foreground > 0], patch)._asdict()}


def merging(case: Case, masks: Tensor, emd: Tensor, purity: Tensor, coverage: Tensor) -> Results:
    chosen, _ = own.choose_masks(own.MaskScores(emd, purity, coverage), settings(own.Merging, case.config), 1)
    return {"out.pred": (masks[chosen] > 0).any(0)}


def end_to_end(
    case: Case, dino: dict[str, Any], use_box: bool, use_points: bool, python_seed: int, torch_seed: int, query: Tensor,
    supports: Tensor, support_masks: Tensor,
) -> Results:  # fmt: skip
    c, model, network = case.config, small_dinov2(case), case_sam(case)

    def tokens(image: Tensor) -> Tensor:
        return own.unit_tokens(patch_maps(model, normalise(chw(image))[None], norm=False)[0])

    references, prompting = torch.cat([tokens(image) for image in supports]), settings(own.Prompting, c)
    draws = own.Draws(python_seed, torch_seed)
    asked = own.Query(tokens(query), network, network.encode(chw(query)), dino["image"], draws)
    asked.add_grid(prompting)
    found = own.match_and_merge(asked, references, support_masks > 0, prompting, settings(own.Merging, c))
    # the order of the candidates is free
    measures = {name: values.sort().values for name, values in found.scores._asdict().items()}
    return {
        "mid.query_tokens": asked.tokens,
        "mid.support_tokens": references,
        "mid.points": found.points,
        "mid.box": found.box if use_box else torch.zeros(0),
        "mid.centers": torch.zeros(0, 2) if use_points else found.centres,
        "mid.sample_count": [len(group) for group in found.groups],
        "mid.mask_count": [len(found.candidates.masks)],
        "out.pred": found.masks.any(0),
        "mid.": {name: Result(x, lambda stored: stored.sort().values, "sorted") for name, x in measures.items()},
    }


WHOLE = {
    "mid.query_tokens": STATED,
    "mid.support_tokens": STATED,
    "mid.*sorted": absolute(5e-3),
    "out.pred": few(0.005),
}
KINDS = {
    "matcher_matching": Kind(matching, {"out.cost_row_mean": RELATIVE}),
    "matcher_kmeans": Kind(kmeans),
    "matcher_samples": Kind(samples),
    "matcher_generator": Kind(generator, {"out.": RELATIVE, "out.batch_sizes": EXACT, "out.masks": EXACT}),
    "matcher_scores": Kind(scores, {"out.": RELATIVE}),
    "matcher_merging": Kind(merging),
    "matcher_end_to_end": Kind(end_to_end, WHOLE),
}
