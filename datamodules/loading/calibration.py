"""Labelled episodes of base classes, with which training-free methods choose their thresholds."""

from collections.abc import Iterator

import numpy as np

from fsbench.base.errors import DataError
from fsbench.data.batch import EpisodeBatch
from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.task import Task
from fsbench.datamodules.loading.items import LoadingConfig, load_episode
from fsbench.protocols.draws.further import redraw_copies_in
from fsbench.protocols.episode_rules.hsnet import draw_episode
from fsbench.protocols.episode_rules.pools import Pool


def calibration_episodes(
    data: SegmentationData, pool: Pool, task: Task, config: LoadingConfig, count: int
) -> Iterator[EpisodeBatch]:
    """Yield `count` episodes of base classes with ground truth, with the test's numbers of ways and shots.

    Raises:
        DataError: a base class has too few training images for the test's shots, or there are fewer base classes than
            ways.
    """
    enough = [number for number in pool.class_ids if len(pool.images_of.get(number, ())) > task.shot]
    if len(enough) < len(pool.class_ids) or len(enough) < task.way:
        raise DataError(
            f"{data.name} fold {task.fold} has {len(enough)} of {len(pool.class_ids)} base classes with "
            f"more than {task.shot} training images; expected all, and {task.way} or more, to calibrate on; lower "
            "WAY or SHOT"
        )
    files, apart = config.files(data), redraw_copies_in(data, pool)
    for i in range(count):
        episode = draw_episode(i, np.random.RandomState(i), pool, way=task.way, shot=task.shot, background=task.empty)
        yield load_episode(data, apart(episode, i, 0), config, files)
