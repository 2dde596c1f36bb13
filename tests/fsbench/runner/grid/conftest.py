"""Files of grids."""

from pathlib import Path

import pytest
import yaml


@pytest.fixture
def write(tmp_path):
    """write(**values) -> a grid's file."""

    def call(**values) -> Path:
        file = tmp_path / f"grid{len(list(tmp_path.iterdir()))}.yaml"
        file.write_text(yaml.safe_dump({"methods": ["prototype"], "datasets": ["demo"], "folds": [0]} | values))
        return file

    return call
