"""The number of torch's threads in a training."""

import pytest
import torch

from fsbench.base.errors import SettingsError
from fsbench.core.answering import THREADS
from fsbench.runner.engine.trainer import build_trainer
from tests.fsbench.runner.engine.test_training_steps import experiment


@pytest.mark.slow(3)
def test_a_training_takes_the_threads_of_its_settings(blocks_folder, tmp_path):
    """The demo's EMAT takes one, as in its file; elsewhere there is one for each core."""

    def threads(*more):
        run = experiment(blocks_folder, tmp_path, *more)
        build_trainer(run, tmp_path)
        return torch.get_num_threads()

    try:
        assert threads() == 1
        assert threads("--run.training_threads=2") == 2
        assert threads("--run.training_threads=null") == THREADS
        with pytest.raises(SettingsError, match=r"training_threads is 0, expected a number of threads above 0"):
            threads("--run.training_threads=0")
    finally:
        torch.set_num_threads(THREADS)
