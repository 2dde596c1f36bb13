"""Files of grids: their cells, the arguments and fingerprint of each, and files that are refused."""

import re
from pathlib import Path

import pytest

from fsbench.base.errors import SettingsError
from fsbench.base.paths import CONFIGS
from fsbench.runner.config.registry import aliases, names
from fsbench.runner.grid.plan import run_fingerprint
from fsbench.runner.grid.spec import read_grid
from fsbench.runner.grid.words import option_words, run_label, run_variant
from tests.fsbench.runner.grid.cells import cell_of


def test_all_combinations_in_order(write):
    file = write(methods=["prototype", "emat"], folds=[0, 2], ways=[1, 2], seeds=[0, 1], data_roots={"demo": "there"})
    cells = read_grid([file])
    assert len(cells) == len(set(cells)) == 16
    assert cells[0] == cell_of("prototype", "demo", 0, 1, None, None, 0, data_root="there")
    assert cells[1].seed == 1 and cells[2].way == 2 and cells[4].fold == 2 and cells[8].method == "emat"
    assert len(read_grid([file, file])) == 16
    assert read_grid([file], {"demo": "here"}, fast=True)[0].data_root == "here"


def test_a_run_of_a_grid_has_what_its_file_says(write):
    checkpoint = "c/{method}-{seed}-{fold}.ckpt"
    file = write(
        shots=[5], settings=["0-5"], protocol="fscs", checkpoint=checkpoint, extra=["--data.image_size=64"], seeds=[3],
        devices=2, test_seeds=[510, 365], support_annotation=["box"],
    )  # fmt: skip
    first, run = read_grid([file])
    assert run_variant(first) != run_variant(run) and "annotation box, test seed 365, 2 devices" in option_words(run)
    assert run_label(run) == "prototype demo fold 0 1-way 5-shot 0-5 fscs annotation box test seed 365 seed 3"
    values, test = run.values, run.values["data"]["init_args"]["test"]
    assert values["run"]["name"] == "prototype" and values["run"]["checkpoint"] == "c/prototype-3-0.ckpt"
    assert (values["seed_everything"], values["trainer"]["devices"]) == (3, 2)
    assert values["data"]["init_args"]["image_size"] == 64
    expected = {"shot": 5, "setting": "0-5", "seed": 365, "protocol": "fscs", "fold": 0}
    assert expected.items() <= test.items()


def test_variants_are_cells_with_further_arguments(write):
    file = write(methods=["prototype", "emat"], extra=["--model.a=1"], variants=[["--model.b=1"], []])
    cells = read_grid([file])
    assert [(cell.name, cell.extra) for cell in cells] == [
        (method, extra)
        for method in ("prototype", "emat")
        for extra in (("--model.a=1", "--model.b=1"), ("--model.a=1",))
    ]


def test_the_fingerprint_is_of_what_is_asked_for(write, tmp_path):
    def one(runs="runs", **values):
        (run,) = read_grid([write(**values)], runs=runs)
        return run_fingerprint(run)

    assert one() == one() == one(runs="elsewhere")
    checkpoint = tmp_path / "best.ckpt"
    others = [one(shots=[2]), one(seeds=[1]), one(methods="emat"), one(extra=["--model.x=1"]), one(fast=True)]
    others.append(one(checkpoint=str(checkpoint)))
    checkpoint.write_text("trained")
    others.append(one(checkpoint=str(checkpoint)))
    weights = tmp_path / "vit.pth"
    weights.write_text("these")
    others.append(one(weights=str(weights)))
    weights.write_text("others, exchanged")
    others.append(one(weights=str(weights)))
    assert len({one(), *others}) == 10


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"method": ["emat"]}, "the key 'method' is unknown; did you mean 'methods'?"),
        ({"methods": ["emta"]}, "unknown method 'emta'"),
        ({"backbone": "vit"}, "unknown backbone 'vit'"),
        ({"way": 2}, "the key 'way' is unknown; did you mean 'ways'?"),
        ({"datasets": []}, "datasets is [], expected a list of one or more"),
        ({"folds": [0, "1"]}, "folds[1] is '1', expected a number"),
        ({"seeds": []}, "seeds is [], expected a list of one or more"),
        ({"shots": [0]}, "shots[0] is 0, expected"),
        ({"fast": "yes"}, "fast is 'yes', expected true or false"),
    ],
)
def test_bad_grids_are_refused(write, values, expected):
    with pytest.raises(SettingsError) as refused:
        read_grid([write(**values)])
    assert expected in str(refused.value) and "\n" not in str(refused.value)


def test_one_value_needs_no_list(write):
    runs = read_grid([write(methods="emat", shots=[1, 5], protocol=["fscs", "hsnet"])])
    assert [(run.method, run.shot, run.protocol) for run in runs] == [
        ("emat", shot, protocol) for shot in (1, 5) for protocol in ("fscs", "hsnet")
    ]


def test_the_grid_of_the_guide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    guide = (CONFIGS.parent / "docs/guides/cluster.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    Path("mine.yaml").write_text(text)
    Path("mine.py").write_text("from fsbench.methods.prototype import Prototype\nclass Mine(Prototype): ...\n")
    runs = read_grid(["mine.yaml"])
    assert len(runs) == 2 * 2 * 3 * 2 and {run.method for run in runs} == {"prototype", "./mine.py:Mine"}
    assert {run.episodes for run in runs} == {200}


def test_a_grid_without_a_key_that_it_needs_says_which_ones(tmp_path):
    (tmp_path / "x.yaml").write_text("methods: prototype\ndatasets: demo\n")
    with pytest.raises(SettingsError, match=r"folds is missing; expected the keys methods, datasets, folds$"):
        read_grid([tmp_path / "x.yaml"])


def test_files_that_are_no_grids_are_refused(tmp_path):
    for text, expected in (("[1]", "holds list"), ("a: [", "cannot read")):
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(SettingsError, match=expected):
            read_grid([tmp_path / "x.yaml"])
    with pytest.raises(SettingsError, match="cannot read"):
        read_grid([tmp_path / "nowhere.yaml"])


@pytest.mark.parametrize("file", sorted((CONFIGS / "grids").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_grids_that_come_along(file):
    cells = read_grid([file])
    assert len(cells) >= 8 and {cell.name for cell in cells} <= {*names("methods"), *aliases()}
