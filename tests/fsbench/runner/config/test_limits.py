"""Settings of the trainer that no run has are refused before anything starts."""

import pytest
from lightning.pytorch.cli import LightningCLI

from fsbench.base.errors import SettingsError
from fsbench.cli.main import main
from fsbench.results.sheets.cells import CONDITIONAL, MARKS, STAR
from fsbench.results.sheets.trainings import BORROWED, ROUGH, THESE
from fsbench.results.studies.sweep.curves import BEYOND
from fsbench.results.tables.trivial import NOT_ABOVE
from fsbench.runner.config.limits import check_label, check_name, check_trainer


@pytest.mark.parametrize("precision", ["32-true", "32", 32, "16-mixed", "16", 16, "bf16-mixed", "bf16", None])
def test_precisions_with_weights_in_float32_are_taken(precision):
    check_trainer({"precision": precision})


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true", "64", 64, "transformer-engine", "half"])
def test_other_precisions_are_refused_in_one_line(precision):
    with pytest.raises(SettingsError) as error:
        check_trainer({"precision": precision})
    text = f"trainer.precision is {precision}, expected 32-true, 16-mixed or bf16-mixed: weights and images stay in "
    assert str(error.value).startswith(text) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"accumulate_grad_batches": -1}, "trainer.accumulate_grad_batches is -1, expected 1 or more"),
        ({"max_epochs": -2}, "trainer.max_epochs is -2, expected -1 or more"),
        ({"num_nodes": 0}, "trainer.num_nodes is 0, expected 1 or more"),
        ({"devices": 100_000}, "100000 processes are asked for, expected at most 4096"),
        ({"devices": 64, "num_nodes": 65}, "4160 processes are asked for, expected at most 4096"),
    ],
)
def test_numbers_that_no_run_has_are_refused(settings, words):
    with pytest.raises(SettingsError) as error:
        check_trainer(settings)
    assert str(error.value) == words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../../evil", "expected a name of 1 to 100 bytes without / and control characters"),
        ("x" * 101, "expected a name of 1 to 100 bytes"),
        ("", "expected a name of 1 to 100 bytes"),
        (".hidden", "expected a name that does not begin with a dot"),
    ],
)
def test_names_that_no_folder_of_a_run_has_are_refused(name, words):
    check_name("x" * 100, "run.name")
    with pytest.raises(SettingsError) as error:
        check_name(name, "run.name")
    assert str(error.value).startswith(f"run.name is {name!r}, {words}")


def test_a_command_refuses_them_before_it_builds_anything(capsys, tmp_path, monkeypatch):
    """Neither the method nor the data, which are not built at all here."""
    monkeypatch.setattr(LightningCLI, "instantiate_classes", lambda cli: pytest.fail("something was built"))
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "--method=hsnet", "--dataset=demo", "--trainer.precision=bf16-true"]) == 2
    err = capsys.readouterr().err
    assert "trainer.precision is bf16-true, expected 32-true, 16-mixed or bf16-mixed" in err
    assert "Traceback" not in err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "label",
    [
        "of 28 Nov, 10:49", "of 3 May 2025, 10:49:03", "knn.py as it is now", "Seed 1", "rough", "202611281049",
        "DEADBEEFCAFE", "as it is NOW",
        *(f"best{mark}" for mark in (*MARKS, STAR, CONDITIONAL, BORROWED, THESE, ROUGH, NOT_ABOVE, BEYOND, "≠")),
    ],
)  # fmt: skip
def test_labels_that_look_like_what_tables_say_are_refused(label):
    """Tables set all these marks behind names and scores."""
    with pytest.raises(SettingsError, match=r"could be taken for what tables say .* 12 hexadecimal digits, which look"):
        check_label(label)


@pytest.mark.parametrize(
    "label",
    ["of all supports, seed as before", "knn+crf", "30° turned", "thorough", "rough masks", "20261128", "", None],
)
def test_other_labels_are_taken(label):
    check_label(label)
