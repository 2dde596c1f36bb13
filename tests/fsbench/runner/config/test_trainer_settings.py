"""Every argument of Lightning's Trainer is obeyed by a run, changes none of its results, or is refused."""

import inspect

import lightning as L
import pytest

from fsbench.base.errors import SettingsError
from fsbench.cli.main import main
from fsbench.runner.config.limits import check_trainer
from fsbench.runner.config.trainer_settings import INDIFFERENT, OBEYED, REFUSED


def test_each_argument_of_the_trainer_has_one_place():
    parameters = inspect.signature(L.Trainer).parameters
    assert parameters.keys() <= OBEYED | INDIFFERENT | REFUSED.keys()
    assert len(OBEYED | INDIFFERENT | REFUSED.keys()) == len(OBEYED) + len(INDIFFERENT) + len(REFUSED)
    check_trainer({name: one.default for name, one in parameters.items()})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accumulate_grad_batches", 2), ("barebones", True), ("default_root_dir", "here"),
        ("enable_model_summary", True), ("fast_dev_run", True), ("fast_dev_run", 1), ("limit_predict_batches", 3),
        ("limit_test_batches", 1), ("limit_test_batches", 0.5), ("num_sanity_val_steps", 2), ("overfit_batches", 1),
    ],
)  # fmt: skip
def test_what_a_run_does_not_obey_is_refused(capsys, monkeypatch, tmp_path, name, value):
    """By the command line, before anything is written."""
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "--method", "prototype", "--dataset", "demo", f"--trainer.{name}={value}"]) == 2
    said = capsys.readouterr().err
    assert f"trainer.{name} is {value}, but " in said and "Traceback" not in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "settings",
    [{"limit_test_batches": 1.0}, {"num_sanity_val_steps": 0}, {"fast_dev_run": 0}, {"overfit_batches": 0}],
)
def test_what_asks_for_nothing_else_than_a_run_does_is_taken(settings):
    check_trainer(settings)


def test_an_error_that_is_told_of_a_value_says_it():
    with pytest.raises(SettingsError, match=r"trainer\.limit_test_batches is 3, but a run predicts all episodes"):
        check_trainer({"limit_test_batches": 3})
