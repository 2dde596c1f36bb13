"""Predict K shots as an ensemble of one-shot predictions, for any method that gives logits (dcama.md §8).

Shapes: N ways, K shots, S image side, (h, w) the predicted map.
"""

from dataclasses import replace

import torch
from torch import Tensor

from fsbench.ensembles import NShotStrategy, combine, label_map
from fsbench.episodes import EpisodeBatch
from fsbench.errors import SettingsError
from methods.base import FewShotMethod, Prediction


def ensemble(method: FewShotMethod, episode: EpisodeBatch, strategy: NShotStrategy) -> Prediction:
    """Predict with each shot by itself and combine. Presence, where the method decides it, goes by its mean score and
    by the majority of its decisions (half is enough).

    Raises SettingsError when the method gives no logits.
    """
    shots = [_one_shot(method, episode, shot) for shot in range(episode.support.shape[2])]
    logits = torch.stack([_logits(method, shot) for shot in shots])
    weights = _guidance(method, episode) if strategy == "cross_guided" else None
    scores, foreground = combine(logits, strategy, weights)
    decided = score = None
    if all(shot.decided is not None and shot.score is not None for shot in shots):
        decided = torch.stack([shot.decided for shot in shots if shot.decided is not None]).float().mean(0) >= 0.5
        score = torch.stack([shot.score for shot in shots if shot.score is not None]).mean(0)
    return Prediction(label_map(scores, foreground), decided, score)


def _logits(method: FewShotMethod, prediction: Prediction) -> Tensor:
    if prediction.logits is None:
        raise SettingsError(
            f"{type(method).__name__} gives no logits for each way, which nshot_strategy {method.nshot_strategy} "
            "needs; use own"
        )
    return prediction.logits


def _one_shot(method: FewShotMethod, episode: EpisodeBatch, shot: int) -> Prediction:
    one = slice(shot, shot + 1)
    prediction: Prediction = method(
        replace(
            episode,
            support=episode.support[:, :, one],
            support_labels=episode.support_labels[:, :, one],
            valid=episode.valid[:, :, one],
        )
    )
    return prediction


def _guidance(method: FewShotMethod, episode: EpisodeBatch) -> Tensor:
    """How well each shot segments all supports of its way, itself included: mean IoU (K, N)."""
    ways, shots = episode.support.shape[1:]
    side = torch.tensor([episode.support_labels.shape[-2:]], device=episode.query_sizes.device)
    found = torch.zeros(shots, ways, device=episode.support.device)
    for way in range(ways):
        for shot in range(shots):
            for query in range(shots):
                turned = replace(
                    episode,
                    query=episode.support[:, way, query],
                    query_sizes=side,
                    support=episode.support[:, way : way + 1, shot : shot + 1],
                    support_labels=episode.support_labels[:, way : way + 1, shot : shot + 1],
                    valid=episode.valid[:, way : way + 1, shot : shot + 1],
                )
                predicted = method(turned).label_map == 1
                truth = episode.support_masks[0, way, query]
                found[shot, way] += (predicted & truth).sum() / (predicted | truth).sum().clamp(min=1) / shots
    return found
