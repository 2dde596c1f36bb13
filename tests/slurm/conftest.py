"""One SLURM for all tests of a session; where there can be none they skip and say why."""

from collections.abc import Iterator

import pytest

from tests.cli.conftest import finish as finish
from tests.cli.conftest import fsbench as fsbench
from tests.cli.conftest import ranks as ranks
from tests.cli.conftest import spawn as spawn
from tests.cli.conftest import warm as warm
from tests.slurm.cluster import Slurm, missing, started_slurm


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    reason = missing()
    if reason:
        pytest.skip(f"no SLURM can be started: {reason}")
    with started_slurm() as running:
        yield running
