"""`fsbench why` as readers type it, on runs and answers: what it prints, and one line for bad input."""

import json

import numpy as np
import pytest

import fsbench
from fsbench.cli.main import main
from fsbench.protocols.kit.kit import write_kit


@pytest.fixture(scope="module")
def test():
    return fsbench.load_test("demo", protocol="pfenet", episodes=30)


def dark(episode):
    return episode.query.mean(-1) < 100


@pytest.fixture(scope="module")
def run(test, tmp_path_factory):
    return fsbench.evaluate(dark, test, name="dark", runs=tmp_path_factory.mktemp("runs"), progress=False)


def asked(capsys, *words):
    status = main(["why", *map(str, words)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_rule_is_named_with_the_figure_that_a_table_by_it_prints(run, capsys):
    assert main(["table", str(run.path), "--void", "background", "--format", "json"]) == 0
    (group,) = json.loads(capsys.readouterr().out)
    value = group["lines"][1]["scores"]["mIoU"]["value"]
    status, out, err = asked(capsys, "--claimed", f"{value:.3f}", "--mine", run.path, "--json")
    found = json.loads(out)
    assert (status, err) == (0, "") and found["causes"][0]["words"][0] == {
        "axis": "void", "own": "ignored", "other": "background",
    }  # fmt: skip
    assert found["causes"][0]["figure"] == pytest.approx(value) and found["causes"][0]["exact"]
    assert found["mine"]["value"] == pytest.approx(run.scores["mIoU"]) and not found["nothing"]
    status, out, _ = asked(capsys, "--claimed", f"{value:.3f}", "--mine", run.path)
    assert "void as background" in out.splitlines()[0].lower() and f"would make {value:.2f}" in out
    assert max(map(len, out.splitlines())) <= 160


def test_nothing_explains_and_the_next_steps_are_named(run, capsys):
    status, out, _ = asked(capsys, "--claimed", "97.3", "--mine", run.path)
    assert status == 0 and "it lies in the predictions" in out.splitlines()[0]
    assert all(word in out for word in ("weights", "backbone", "precision", "resize of the input"))
    assert "| look at |" in asked(capsys, "--claimed", "97.3", "--mine", run.path, "--format", "markdown")[1]
    assert "\\begin{tabular}" in asked(capsys, "--claimed", "97.3", "--mine", run.path, "--format", "latex")[1]


@pytest.mark.slow(4)
def test_answers_in_a_file_and_in_a_folder_are_those_of_a_run(run, test, tmp_path, capsys):
    from PIL import Image

    kit = tmp_path / "kit"
    write_kit(test, kit, dataset="demo", copy_images=True)
    (tmp_path / "masks").mkdir()
    with fsbench.Answers(tmp_path / "mine.fsa", test) as answers:
        for episode in test:
            mask = dark(episode)
            answers.add(episode, mask)
            Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "masks" / f"{episode.number}.png")
    _, of_run, _ = asked(capsys, "--claimed", "50.1", "--mine", run.path, "--json")
    for mine in ("mine.fsa", "masks"):
        status, out, _ = asked(capsys, "--claimed", "50.1", "--mine", tmp_path / mine, "--kit", kit, "--json")
        assert status == 0 and json.loads(out)["causes"] == json.loads(of_run)["causes"]


def test_python_gives_what_the_command_prints(run, capsys):
    _, out, _ = asked(capsys, "--claimed", "50.1", "--mine", run.path, "--json")
    answer = fsbench.load_runs(run.path.parent)["dark"].why(claimed="50.1")
    assert answer.as_values() == json.loads(out)
    assert answer.sentence in json.loads(out)["answer"] and "<pre>" in answer._repr_html_()
    assert "claimed 50.1, mine" in repr(answer)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--claimed", "many"], "the claimed figure is 'many', expected a percentage"),
        ([], "no figure is claimed; expected --claimed, --claimed-folds or --row"),
        (["--claimed-folds", "0:57"], "--claimed-folds has '0:57', expected FOLD=FIGURE"),
        (["--claimed-folds", "0=57,0=58"], "--claimed-folds has fold 0 twice"),
        (["--claimed-folds", "7=57"], "a figure of fold 7 is claimed, and the test has folds 0 to 3"),
        (["--row", "hmnet/pascal-5i/resnet-51"], "the atlas has no entry 'hmnet/pascal-5i/resnet-51'; did you mean"),
        (["--row", "hmnet/pascal-5i/resnet-50"], "is on PASCAL-5i, and the run on demo"),
        (["--claimed", "50", "--kit", "kit"], "--kit and --manifest are of answers"),
        (["--claimed", "50", "--runs", "nowhere"], "nowhere is no folder"),
    ],
)
def test_bad_input_is_one_line(run, capsys, words, message):
    status, out, err = asked(capsys, *words, "--mine", run.path)
    assert (status, out) == (2, "") and err.count("\n") == 1 and message in err


def test_paths_that_are_no_predictions_are_one_line(run, tmp_path, capsys):
    (tmp_path / "some.txt").write_text("none")
    for mine, message in ((tmp_path / "nothing", "is not there"), (tmp_path / "some.txt", "found neither --kit")):
        status, out, err = asked(capsys, "--claimed", "50", "--mine", mine)
        assert (status, out) == (2, "") and err.count("\n") == 1 and message in err
