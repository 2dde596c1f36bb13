"""Figures of fsbench are known by their mark, whatever their format; a picture of somebody is not."""

import pytest
from matplotlib.figure import Figure

from fsbench.base.errors import SettingsError
from fsbench.base.files.figures import STAMPS, check_figure
from fsbench.runner.config.limits import check_replaced


@pytest.mark.parametrize("suffix", STAMPS)
@pytest.mark.parametrize("marked", [True, False])
def test_only_a_figure_with_the_mark_is_replaced(tmp_path, suffix, marked):
    figure, path = Figure((1, 1)), tmp_path / f"a{suffix}"
    check_replaced(path, "--plot", "figure of fsbench", check_figure)  # absent
    figure.savefig(path, format=suffix[1:], metadata=STAMPS[suffix] if marked else {})
    if marked:
        check_replaced(path, "--plot", "figure of fsbench", check_figure)
    else:
        with pytest.raises(SettingsError, match="which is there and cannot be read as a figure of fsbench"):
            check_replaced(path, "--plot", "figure of fsbench", check_figure)
