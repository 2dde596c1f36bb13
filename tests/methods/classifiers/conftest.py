"""Experiments of classification on a few drawn images."""

import pytest

from fsbench.config.build import parse
from fsbench.engine.experiment import Experiment
from tests.photos import arguments


@pytest.fixture
def experiment(photos, tmp_path):
    """experiment(method, *settings) -> an experiment of its own folder of runs."""
    return lambda method, *more, root=photos: Experiment(parse(arguments(method, root, tmp_path / "runs", *more)))
