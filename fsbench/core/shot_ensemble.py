"""Ensembles of K one-shot predictions, which DCAMA's one pass is compared with (dcama.md §8).

They need nothing of a method but its two-class logits, so any method that can do one shot can do K this way.

Shapes: K shots, N ways, S image side, (h, w) the predicted map.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn.functional import softsign

from fsbench.base.errors import SettingsError
from fsbench.core.prediction import Prediction
from fsbench.data.batch import EpisodeBatch, Hints
from fsbench.networks.ops.first_largest import first_largest

NShotStrategy = Literal["own", "one_pass", "vote", "average", "average_logit", "hsnet_vote", "cross_guided"]
"""How K shots become one prediction: "own" in the method's own way; "one_pass" the same, only for methods that take all
shots at once; the others are ensembles, see `combine`."""

Predict = Callable[[EpisodeBatch], Prediction]

ENSEMBLES = tuple(name for name in get_args(NShotStrategy) if name not in ("own", "one_pass"))


def ensemble(predict: Predict, episode: EpisodeBatch, strategy: NShotStrategy) -> Prediction:
    """Predict with each shot alone and combine the K predictions.

    Presence, where the method decides it, is the majority of the K decisions (half is enough) with their mean score.
    The attention map is the mean over the shots that have one.

    Args:
        predict: the method, as a function from a batch of one 1-shot episode to its prediction.
        episode: one episode with K shots.
        strategy: name of the rule for combining, one of `ENSEMBLES`.

    Raises:
        SettingsError: the method gives no logits, or ways that have supports have different numbers of them.
    """
    counts = [count for count in episode.valid[0].sum(1).tolist() if count]  # base classes have none
    if len(set(counts)) > 1:
        raise SettingsError(
            f"the episode's classes have {', '.join(map(str, counts))} supports, and nshot_strategy {strategy} needs "
            "equally many; use own"
        )
    shots = [_one_shot(predict, episode, shot) for shot in range(episode.support.shape[2])]
    logits = [_logits(shot, strategy) for shot in shots]
    weights = _guidance(predict, episode) if strategy == "cross_guided" else None
    prediction = predict_from(combine(logits, strategy, weights))
    present = presence_score = None
    if all(shot.present is not None and shot.presence_score is not None for shot in shots):
        present = torch.stack([shot.present for shot in shots if shot.present is not None]).float().mean(0) >= 0.5
        presence_score = torch.stack([shot.presence_score for shot in shots if shot.presence_score is not None]).mean(0)
    maps = [shot.attention for shot in shots if shot.attention is not None]
    attention = torch.stack(maps).mean(0) if maps else None
    return replace(prediction, present=present, presence_score=presence_score, attention=attention)


def _logits(prediction: Prediction, strategy: str) -> Tensor:
    if prediction.logits is None:
        raise SettingsError(f"the method gives no logits for each way, which nshot_strategy {strategy} needs; use own")
    return prediction.logits


def _one_shot(predict: Predict, episode: EpisodeBatch, shot: int) -> Prediction:
    one, ways = slice(shot, shot + 1), range(episode.support.shape[1])
    return predict(
        replace(
            episode,
            support=episode.support[:, :, one],
            support_labels=episode.support_labels[:, :, one],
            valid=episode.valid[:, :, one],
            support_ways=None if episode.support_ways is None else episode.support_ways[:, :, one],
            hints=None if episode.hints is None else [hints.part(ways, one) for hints in episode.hints],
        )
    )


def _guidance(predict: Predict, episode: EpisodeBatch) -> Tensor:
    """Return the mean IoU (K, N) with which each shot segments all supports of its way, itself included."""
    ways, shots = episode.support.shape[1:]
    side = torch.tensor([episode.support_labels.shape[-2:]], device=episode.query_sizes.device)
    ious = torch.zeros(shots, ways, device=episode.support.device)
    for way in range(ways):
        for shot in range(shots):
            for query in range(shots):
                one_way, one_shot = slice(way, way + 1), slice(shot, shot + 1)
                as_query = replace(
                    episode,
                    query=episode.support[:, way, query],
                    query_sizes=side,
                    support=episode.support[:, one_way, one_shot],
                    support_labels=episode.support_labels[:, one_way, one_shot],
                    valid=episode.valid[:, one_way, one_shot],
                    support_ways=None,
                    counted_pixels=None,  # the support's mask lies in the square as its image does
                    hints=_hints_with_query(episode.hints, way, query, one_shot),
                )
                predicted = predict(as_query).label_map == 1
                truth = episode.support_masks[0, way, query]
                ious[shot, way] += (predicted & truth).sum() / (predicted | truth).sum().clamp(min=1) / shots
    return ious


def _hints_with_query(given: list[Hints] | None, way: int, query: int, shots: slice) -> list[Hints] | None:
    """Return the hints of a way and `shots`, with the support `query` of the way as the query."""
    if given is None:
        return None
    return [
        replace(hints.part([way], shots), query=hints.supports[way][query] if hints.supports is not None else None)
        for hints in given
    ]


class Combined(NamedTuple):
    """K one-shot predictions of N ways combined into one.

    Attributes:
        scores: (N, h, w), by which ways that claim the same pixel are compared: foreground minus background of the
            combined logits; with votes the share of votes, and that difference only between equal shares.
        foreground: (N, h, w) bool, pixels that each way claims.
        probability: (N, h, w) in [0, 1], the soft mask of each way: the averaged foreground probability.
    """

    scores: Tensor
    foreground: Tensor
    probability: Tensor


def predict_from(combined: Combined) -> Prediction:
    """Return the prediction with the label map and soft masks of combined one-shot predictions; it has no presence."""
    return Prediction(label_map(combined.scores, combined.foreground), probability=combined.probability)


def combine(logits: Iterable[Tensor], strategy: str, weights: Tensor | None = None) -> Combined:
    """Combine K one-shot predictions by the named rule; one is held in memory at a time.

    Args:
        logits: K tensors (N, 2, h, w), background before foreground.
        strategy: "vote": foreground where at least half of the hard masks agree. "average": mean probability above 0.5.
            "average_logit": mean logits. "hsnet_vote": a pixel's votes, divided by the most votes of any pixel (at
            least 1), are 0.5 or more. "cross_guided": mean of probabilities weighted with `weights`.
        weights: (K, N), how well each shot segments the supports of a way; where all K are 0, all count alike.
    """
    shares = None if weights is None else torch.where(weights.sum(0) > 0, weights, 1.0).log()[:, :, None, None, None]
    add = torch.add if strategy == "average_logit" else _log_sum
    shots, total, votes = 0, torch.tensor(0.0), torch.tensor(0)
    for shot, own in enumerate(logits):
        value = own if strategy == "average_logit" else own.log_softmax(1)
        value = value if shares is None else value + shares[shot]
        hard = (own[:, 1] > own[:, 0]).long()
        total, votes = (value, hard) if shot == 0 else (add(total, value), votes + hard)
        shots = shot + 1
    mean = total / shots if strategy == "average_logit" else total
    lead, probability = mean[:, 1] - mean[:, 0], mean.softmax(1)[:, 1]
    if strategy not in ("vote", "hsnet_vote"):
        return Combined(lead, lead > 0, probability)
    most = votes.amax((1, 2), keepdim=True).clamp(min=1) if strategy == "hsnet_vote" else shots
    agreed = votes / most
    # shares of votes differ by 1 / shots² at least: the rest decides between equal ones
    return Combined(agreed * shots**2 + softsign(lead) / 2, agreed >= 0.5, probability)


def _log_sum(a: Tensor, b: Tensor) -> Tensor:
    """Add probabilities as logarithms, which rounds none to 1; of `logaddexp` exported files lose small ones."""
    return torch.stack([a, b]).logsumexp(0)


def label_map(scores: Tensor, foreground: Tensor) -> Tensor:
    """Return the label map (h, w) int64: at each pixel the foreground way with the highest score, 0 if there is none.

    On equal scores the first way wins.

    Args:
        scores: (N, h, w), scores of the ways, numbered from 1 in the label map.
        foreground: (N, h, w) bool, pixels that each way claims.
    """
    way = first_largest(torch.where(foreground, scores, -torch.inf))
    return torch.where(foreground.any(0), way + 1, 0)
