"""What every test of the datasets uses."""

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test alone."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("FSBENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def real_data() -> Path:
    """The folder with real samples and official lists."""
    folder = os.environ.get("FSBENCH_TEST_DATA")
    if not folder:
        pytest.skip("FSBENCH_TEST_DATA does not name the folder with real samples and official lists")
    return Path(folder)
