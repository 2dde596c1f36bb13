"""`fsbench regress`: no method's answers have moved, and a change of one line anywhere is seen."""

import shutil
import sys
from pkgutil import resolve_name

import numpy as np
import pytest
import yaml

from fsbench.base.paths import REPOSITORY
from fsbench.cli.main import main
from fsbench.cli.regress import compare
from fsbench.runner.regression import cases as regress
from fsbench.runner.regression.cases import diff_outcomes, read_cases
from fsbench.runner.regression.outcome import read_outcome
from fsbench.runner.regression.run import draw_dataset, observe
from fsbench.scores.answers import count


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    return draw_dataset(tmp_path_factory.mktemp("regression"))


@pytest.mark.slow(10)
@pytest.mark.parametrize("case", read_cases(), ids=lambda case: case.name)
def test_answers_are_the_accepted_ones(case, drawn):
    """The pictures of those that moved lie where `make regress` puts them."""
    verdict, *lines = compare(case, read_outcome(case.file), observe(case, drawn), REPOSITORY / "regress")
    assert verdict.startswith("ok"), "\n".join([verdict, *lines])


@pytest.fixture(scope="module")
def accepted(tmp_path_factory, small_demo):
    """A folder with two cases of few episodes, and the figures of the one without training, by the command itself."""
    folder = tmp_path_factory.mktemp("regression")
    content = yaml.safe_load((regress.FOLDER / "cases.yaml").read_text())
    content["cases"] = {name: content["cases"].get(name, content["usual"]) for name in ("prototype", "emat")}
    content["test"] = ["--data.test.episodes=4"]
    content["settings"] += ["--data.image_size=64", "--data.training.batch_size=2", "--trainer.limit_train_batches=1"]
    (folder / "cases.yaml").write_text(yaml.safe_dump(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regress, "FOLDER", folder)
        patch.setattr("fsbench.runner.regression.run.draw_dataset", lambda _: small_demo)
        assert main(["regress", "--accept", "--method", "prototype"]) == 0
        yield folder


@pytest.fixture(scope="module")
def accepted_training(accepted):
    """The folder `accepted` with the figures of EMAT as well, whose training takes seconds."""
    assert main(["regress", "--accept", "--method", "emat"]) == 0
    return accepted


@pytest.fixture
def run(accepted, small_demo, tmp_path, monkeypatch, capsys):
    """run(*arguments) -> (exit status, what was printed); pictures go to tmp_path / "out"."""
    shutil.copytree(accepted, tmp_path / "figures")
    monkeypatch.setattr(regress, "FOLDER", tmp_path / "figures")
    monkeypatch.setattr("fsbench.runner.regression.run.draw_dataset", lambda _: small_demo)

    def call(*arguments: str) -> tuple[int, str]:
        status = main(["regress", "--out", str(tmp_path / "out"), *arguments])
        return status, capsys.readouterr().out

    return call


@pytest.mark.slow(3)
def test_what_was_not_changed_has_not_moved(run, tmp_path):
    status, printed = run("--method", "prototype")
    assert status == 0 and "1 cases, 0 changed, 0 failed" in printed
    assert not (tmp_path / "out").exists()


def off_by_a_row(real):
    return lambda prediction, *args: real(np.roll(prediction, 1, 0), *args)


def another_seed(real):
    return lambda i, rng, *args, **more: real(i, np.random.RandomState(i + 1), *args, **more)


def a_row_lower(real):
    image, labels = real["pil"]
    return real | {"pil": (image, lambda *args: np.roll(labels(*args), 2, 0))}


def without_the_last_episode(real):
    return lambda self, result: None if result.episode == 3 else real(self, result)


DEFECTS = {
    "loss": (
        "fsbench.core.segmenter.Segmenter.loss",
        lambda real: lambda *given: {name: 1.01 * loss for name, loss in real(*given).items()},
        "emat",
        "loss of step 1",
    ),
    "metric": ("fsbench.scores.answers.count", off_by_a_row, "prototype", " tp "),
    "sampler": ("fsbench.protocols.episode_rules.hsnet.draw_episode", another_seed, "prototype", "another episode: "),
    "training sampler": ("fsbench.datamodules.loading.episodes.draw_episode", another_seed, "emat", "loss of step 1"),
    "resized mask": ("fsbench.datamodules.loading.items.RESIZES", a_row_lower, "prototype", "pixels differ"),
}
"""One of each figure that may move: losses, counts, episodes, predictions."""


SCORES = {
    "mIoU": ("fsbench.scores.confusion.mean_iou", lambda real: lambda *args: real(*args) / 2, "mIoU"),
    "validation": ("fsbench.core.episodic_scores.EpisodicScores.update", without_the_last_episode, "validation mIoU"),
}
"""Defects in what follows from the counts, for which no method need run."""


@pytest.fixture
def check(run, accepted, tmp_path, monkeypatch):
    """check(defect): `regress` says what has moved, and leaves the accepted figures as they are."""

    def call(defect: str) -> None:
        target, change, method, said = DEFECTS[defect]
        monkeypatch.setattr(target, change(resolve_name(target)))
        status, printed = run("--method", method)
        assert status == 1 and said in printed and "1 changed, 0 failed" in printed, printed
        assert (tmp_path / "figures" / f"{method}.json").read_bytes() == (accepted / f"{method}.json").read_bytes()
        assert (tmp_path / "out" / f"{method}.png").is_file() == ("loss" not in said)

    return call


@pytest.mark.parametrize(
    "defect", ["sampler", *(pytest.param(name, marks=pytest.mark.slow(3)) for name in ("metric", "resized mask"))]
)
def test_a_defect_of_one_line_is_seen(defect, check):
    """In the metric, the sampler, the loader."""
    check(defect)


@pytest.mark.slow(6)
@pytest.mark.usefixtures("accepted_training")
@pytest.mark.parametrize("defect", ["loss", "training sampler"])
def test_a_defect_of_training_is_seen(defect, check):
    check(defect)


@pytest.mark.parametrize("defect", SCORES)
def test_a_defect_in_a_score_is_seen_on_the_accepted_counts(defect, accepted, monkeypatch):
    target, change, score = SCORES[defect]
    real = resolve_name(target)
    changed = change(real)
    monkeypatch.setattr(target, changed)
    for module in [module for name, module in sys.modules.items() if name.startswith("fsbench.")]:
        if target.startswith("fsbench.scores.confusion.") and getattr(module, real.__name__, None) is real:
            monkeypatch.setattr(module, real.__name__, changed)  # who imported the function
    outcome = read_outcome(accepted / "prototype.json")
    assert any(line.startswith(f"{score} of the accepted counts") for line in diff_outcomes(outcome, outcome).lines)


@pytest.mark.slow(4)
def test_figures_are_accepted_on_request_only(run, tmp_path, monkeypatch):
    file = tmp_path / "figures" / "prototype.json"
    before = read_outcome(file)
    file.unlink()
    assert run("--method", "prototype")[0] == 1 and not file.exists()  # there are no figures
    monkeypatch.setattr("fsbench.scores.answers.count", off_by_a_row(count))
    status, printed = run("--method", "prototype", "--accept")
    assert status == 0 and "accepted: prototype" in printed
    moved = diff_outcomes(before, read_outcome(file)).moved
    assert [item.number for item in moved] == [0, 1, 2, 3] and all(" tp " in item.reasons[0] for item in moved)


@pytest.mark.slow(6)
@pytest.mark.usefixtures("accepted_training")
def test_a_method_that_fails_does_not_hide_the_others(run, monkeypatch):
    monkeypatch.setattr("fsbench.methods.emat.EMAT.losses_of_step", lambda *_: 1 / 0)
    status, printed = run()
    assert status == 2 and "2  emat                 failed: ZeroDivisionError" in printed
    first, *others, _ = printed.splitlines()
    assert first == "2 cases; each line says how many pixels of a mask may differ; a loss may differ by 3e-04"
    assert [line[:9] for line in others] == [" 1 of 2  ", " 2 of 2  "] and "0 of 4 moved, 0 of 8 pixels; " in printed
    assert "2 cases, 0 changed, 1 failed" in printed
