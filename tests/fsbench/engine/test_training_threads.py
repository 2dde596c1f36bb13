"""The number of torch's threads in a training."""

import pytest
import torch

from fsbench.engine.callbacks import THREADS
from fsbench.engine.trainer import build_trainer
from fsbench.errors import SettingsError
from tests.fsbench.engine.test_training_steps import experiment


def test_a_training_takes_the_threads_of_its_settings(blocks_folder, tmp_path):
    """The demo's EMAT takes one, as in its file; elsewhere there is one for each core."""
    try:
        build_trainer(experiment(blocks_folder, tmp_path), tmp_path)
        assert torch.get_num_threads() == 1
        build_trainer(experiment(blocks_folder, tmp_path, "--run.training_threads=2"), tmp_path)
        assert torch.get_num_threads() == 2
        build_trainer(experiment(blocks_folder, tmp_path, "--run.training_threads=null"), tmp_path)
        assert torch.get_num_threads() == THREADS
        with pytest.raises(SettingsError, match=r"training_threads is 0, expected a number of threads above 0"):
            build_trainer(experiment(blocks_folder, tmp_path, "--run.training_threads=0"), tmp_path)
    finally:
        torch.set_num_threads(THREADS)
