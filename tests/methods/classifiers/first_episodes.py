"""The first episodes of a data set, settings that make them small, and what a fine-tuned method gets of one."""

import torch

from fsbench.core.classifier import Draws

SMALL = "--data.image_size=64"


def first_episodes(experiment, count=3):
    batches = iter(experiment.data.test_dataloader())
    return [next(batches)[0] for _ in range(count)]


def supports(method, episode):
    """Return the supports of an episode, which the method is to answer, and their labels."""
    method.draws = Draws(episode.seed, episode.number)
    return episode.pixels()[0], episode.labels(torch.device("cpu"))
