"""`fsbench start`: questions that options answer, a file that is kept, and commands that are shown."""

import builtins
import subprocess
from importlib.metadata import PackageNotFoundError

import pytest

from fsbench.cli import start
from fsbench.cli.main import main
from fsbench.networks.weights import table
from fsbench.runner.grid.spec import read_grid


@pytest.fixture
def called(monkeypatch, tmp_path):
    """The commands that were run, in an empty folder; each ends well."""
    commands = []

    def run(command, **options):
        commands.append(command[3:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FSBENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(start.subprocess, "run", run)
    return commands


@pytest.fixture
def answers(monkeypatch):
    """answers(*lines): what a person types."""

    def give(*lines):
        typed = iter(lines)

        def read(prompt):
            try:
                return next(typed)
            except StopIteration:
                raise EOFError from None

        monkeypatch.setattr(start, "can_ask", lambda: True)
        monkeypatch.setattr(builtins, "input", read)

    return give


def test_without_a_terminal_the_option_is_named(called, capsys):
    assert main(["start"]) == 2
    assert "Expected --goal VALUE, or --yes for 'try'" in capsys.readouterr().err
    assert main(["start", "--goal", "compair", "--yes"]) == 2
    assert "did you mean 'compare'?" in capsys.readouterr().err
    assert not called


def test_a_first_look_needs_no_answer(called, tmp_path):
    assert main(["start", "--yes"]) == 0
    cells = read_grid([tmp_path / "study.yaml"])
    assert [(cell.method, cell.request.dataset, cell.fold) for cell in cells] == [
        ("prototype", "demo", 0),
        ("emat", "demo", 0),
    ]
    plan, run, table = called
    assert plan == ["grid", "study.yaml", "--runs", "runs"]
    assert run == ["grid", "study.yaml", "--run", "--runs", "runs"] and table == ["table", "runs"]


COMPARE = ["start", "--goal", "compare", "--yes", "--dataset", "pascal", "--method", "emat,dcama", "--fold", "0,1"]


def test_a_study_is_kept_as_a_grid_and_what_lacks_is_fetched(called, capsys, tmp_path):
    assert main([*COMPARE, "--shot", "5", "--accept-licence", "--data-root", "d'ata", "--from", "have"]) == 1
    cells = read_grid([tmp_path / "study.yaml"])
    assert {(cell.method, cell.fold) for cell in cells} == {(m, f) for m in ("emat", "dcama") for f in (0, 1)}
    for cell in cells:
        request = cell.request
        assert (request.shot, request.protocol, request.data_root, request.fast) == (5, "fscs", "d'ata", False)
    assert called == [
        ["data", "prepare", "pascal", "--root", "d'ata", "--from", "have"],
        ["weights", "fetch", "dinov2_vits14", "--from", "have", "--accept-licence"],
        ["weights", "fetch", "swin_base", "--from", "have", "--accept-licence"],
    ]
    shown = capsys.readouterr().out
    assert "missing: data pascal" in shown and "once what is absent is here: fsbench grid study.yaml --run" in shown


def test_a_network_that_is_here_is_offered_where_weights_are_missing(called, answers, capsys, tmp_path):
    """By name; who asks for the weights, or for the methods as they are, gets no other network."""
    blocks = [*COMPARE[:3], "--yes", "--dataset", "pascal", "--method", "prototype,emat", "--no-run"]
    main([*blocks, "--no-fetch", "--out", "a.yaml"])
    assert [cell.method for cell in read_grid([tmp_path / "a.yaml"])] == ["prototype_efficientnet_lite0", "emat"]
    assert (
        "efficientnet_lite0 is taken; a better network: fsbench weights fetch dinov2_vits14" in capsys.readouterr().out
    )
    main([*blocks, "--fetch", "--out", "b.yaml"])
    assert [cell.method for cell in read_grid([tmp_path / "b.yaml"])] == ["prototype", "emat"]
    main([*blocks, "--no-fetch", "--backbone", "dinov2_vitb14", "--out", "c.yaml"])
    assert {cell.request.backbone for cell in read_grid([tmp_path / "c.yaml"])} == {"dinov2_vitb14"}


def test_another_file_is_never_overwritten(called, capsys, tmp_path):
    assert main([*COMPARE, "--no-fetch"]) == 1
    assert main([*COMPARE, "--no-fetch"]) == 1  # the same once more
    (tmp_path / "study.yaml").write_text("mine")
    capsys.readouterr()
    assert main([*COMPARE, "--no-fetch"]) == 2
    assert "study.yaml is there already and is another" in capsys.readouterr().err
    assert (tmp_path / "study.yaml").read_text() == "mine" and not called


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "ematt"], "did you mean 'emat'?"),
        (["--method", "fort"], "fort is no method of segmentation"),
        (["--dataset", "pascall"], "did you mean 'pascal'?"),
        (["--fold", "one"], "expected whole numbers"),
        (["--fold", "9"], "fold"),
        (["--shot", "0"], "shot is 0, expected 1 or more"),
        (["--protocol", "hsnett"], "did you mean 'hsnet'?"),
        (["--out", "no/such/study.yaml"], "no/such"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_written(called, capsys, tmp_path, options, words):
    assert main([*COMPARE, *options]) == 2
    assert words in capsys.readouterr().err
    assert not called and not list(tmp_path.iterdir())


def test_a_person_is_asked_and_may_correct(called, answers, capsys, tmp_path):
    answers("3 apples", "2", "demo", "prototype,hsnett", "prototype,hsnet", "", "", "", "y", "", "no")
    assert main(["start"]) == 0
    shown = capsys.readouterr().out
    assert "--goal is '3 apples', expected one of try, compare, photos, method" in shown
    assert "did you mean 'hsnet'?" in shown and "run it with: fsbench grid study.yaml --run" in shown
    cells = read_grid([tmp_path / "study.yaml"])
    assert [cell.method for cell in cells] == ["prototype", "hsnet"] and cells[0].request.fast
    assert called == [["grid", "study.yaml", "--runs", "runs"]]


def test_the_end_of_the_input_names_the_option(called, answers, capsys):
    answers("compare", "demo")
    assert main(["start"]) == 2
    assert "the input ended at a question; expected an answer, or the option --method" in capsys.readouterr().err
    answers("a", "b", "c")
    assert main(["start"]) == 2
    assert "--goal is 'c'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--goal", "try", "--fold", "1"],
            "--fold was given, which the goal try does not take; expected --goal compare",
        ),
        (["--goal", "compare", "--name", "x"], "expected --goal method"),
        (["--fold", "1", "--query", "x"], "--fold was given, which the goal try"),
    ],
)
def test_an_option_in_vain_is_refused(called, capsys, options, words):
    assert main(["start", "--yes", *options]) == 2
    assert words in capsys.readouterr().err and not called


def test_options_tell_the_goal(called, tmp_path):
    assert main(["start", "--yes", "--dataset", "demo", "--fold", "1", "--no-run"]) == 0
    assert [cell.fold for cell in read_grid([tmp_path / "study.yaml"])] == [1, 1]
    assert main(["start", "--yes", "--name", "own"]) == 0
    assert called[-1] == ["new", "method", "own"]


def absent_package(name):
    raise PackageNotFoundError(name)


@pytest.mark.parametrize(("installed", "network"), [(True, []), (False, ["--backbone", "demo"])])
def test_labelling_photos(called, monkeypatch, tmp_path, installed, network):
    """Without DINOv2's weights, commands take the network of `fsbench[photos]`, and without that the demo's."""
    if not installed:
        monkeypatch.setattr(table, "distribution", absent_package)
    labelled = [
        "start",
        "--goal",
        "photos",
        "--yes",
        "--no-fetch",
        "--support",
        "cat=a b.jpg:a.png",
        "--query",
        "photos",
    ]
    assert main([*labelled, "--no-run"]) == 0
    command = " ".join(["fsbench predict --support 'cat=a b.jpg:a.png' --query photos --out masks", *network])
    assert (tmp_path / "label.sh").read_text().splitlines()[-1] == command
    assert main(["start", "--goal", "photos", "--yes", "--no-fetch", "--out", "page.sh"]) == 0
    assert called == [["demo", *network]]


def test_a_method_of_ones_own(called):
    assert main(["start", "--goal", "method", "--name", "mine"]) == 0
    assert called == [["new", "method", "mine"]]
