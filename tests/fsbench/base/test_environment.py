from pathlib import Path

import pytest

from fsbench.base.environment import (
    HARMLESS,
    LONGEST_TEMPORARY_FOLDER,
    RECORDED,
    REFUSED,
    check_environment,
    check_temporary_folder,
    recorded_variables,
)
from fsbench.base.errors import SettingsError


@pytest.mark.parametrize("pattern", REFUSED)
def test_a_variable_that_changes_runs_is_refused_by_name(monkeypatch, pattern):
    name = pattern.replace("*", "DEVICES")
    check_environment()
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=f"^{name} is set in the environment: .*; to do without: unset {name}$"):
        check_environment()


@pytest.mark.parametrize("name", HARMLESS)
def test_a_value_that_says_what_holds_anyway_is_taken(monkeypatch, name):
    for value in ("", *HARMLESS[name]):
        monkeypatch.setenv(name, value)
        check_environment()


def test_a_rank_that_is_no_number_is_refused_before_lightning_is_imported(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "$SLURM_LOCALID")
    with pytest.raises(SettingsError, match=r"LOCAL_RANK is '\$SLURM_LOCALID' in the environment"):
        check_environment()


def test_variables_that_choose_kernels_stand_in_the_record(monkeypatch):
    for name in RECORDED:
        monkeypatch.delenv(name, raising=False)
    assert recorded_variables() == {}
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    monkeypatch.setenv("FSBENCH_SCAN", "")
    assert recorded_variables() == {"ATEN_CPU_CAPABILITY": "default"}


def test_a_temporary_folder_is_refused_just_where_its_sockets_have_no_room(tmp_path_factory, monkeypatch):
    """The standard library's own listener is the measure."""
    from multiprocessing.connection import Listener
    from multiprocessing.util import get_temp_dir

    base = tmp_path_factory.getbasetemp()
    for length, has_room in ((LONGEST_TEMPORARY_FOLDER, True), (LONGEST_TEMPORARY_FOLDER + 1, False)):
        folder = base / ("t" * (length - len(str(base)) - 1))
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        below = folder / "pymp-xxxxxxxx"
        below.mkdir(parents=True)
        assert len(str(below)) == length + len(f"/{Path(get_temp_dir()).name}")
        if has_room:
            check_temporary_folder()
            Listener(str(below / "listener-xxxxxxxx"), "AF_UNIX").close()
            continue
        with pytest.raises(SettingsError, match=rf"\(TMPDIR\), has a path of {length} letters; .* TMPDIR=/tmp fsbench"):
            check_temporary_folder()
        with pytest.raises(OSError, match="AF_UNIX path too long"):
            Listener(str(below / "listener-xxxxxxxx"), "AF_UNIX")
