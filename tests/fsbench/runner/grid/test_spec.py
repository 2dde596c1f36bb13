"""Files of grids: their cells, the arguments and fingerprint of each, and files that are refused."""

from pathlib import Path

import pytest

from fsbench.base.errors import SettingsError
from fsbench.base.paths import CONFIGS
from fsbench.runner.config.registry import aliases, names
from fsbench.runner.grid import spec
from fsbench.runner.grid.spec import read_grid
from tests.fsbench.runner.grid.cells import cell_of


def test_all_combinations_in_order(write):
    file = write(methods=["prototype", "emat"], folds=[0, 2], ways=[1, 2], seeds=[0, 1], data_roots={"demo": "there"})
    cells = read_grid([file])
    assert len(cells) == len(set(cells)) == 16
    assert cells[0] == cell_of("prototype", "demo", 0, 1, None, None, 0, data_root="there")
    assert cells[1].request.seed == 1 and cells[2].request.way == 2 and cells[4].fold == 2 and cells[8].method == "emat"
    assert len(read_grid([file, file])) == 16
    assert read_grid([file], {"demo": "here"}, fast=True)[0].request.data_root == "here"


def test_arguments_are_those_of_bench(write):
    checkpoint = "c/{method}-{seed}-{fold}.ckpt"
    file = write(
        shots=[5], settings=["0-5"], protocol="fscs", checkpoint=checkpoint, extra=["--a=1"], seeds=[3], devices=2,
        test_seeds=[510, 365], support_annotation=["box"],
    )  # fmt: skip
    first, cell = read_grid([file])
    assert first.variant != cell.variant and "annotation box, test seed 365, 2 devices" in cell.options
    assert cell.label == "prototype demo fold 0 1-way 5-shot 0-5 fscs annotation box test seed 365 seed 3"
    arguments = cell.arguments(Path("runs"))
    assert {
        "--run.name=prototype", "--run.runs=runs", "--data.test.fold=0", "--data.test.shot=5", "--data.test.setting=0-5", "--a=1",
        "--run.checkpoint=c/prototype-3-0.ckpt", "--seed_everything=3", "--data.test.test_seed=365",
        "--trainer.devices=2", "--data.test.protocol=fscs",
    } <= set(arguments)  # fmt: skip


def test_variants_are_cells_with_further_arguments(write):
    file = write(methods=["prototype", "emat"], extra=["--a=1"], variants=[["--b=1"], []])
    cells = read_grid([file])
    assert [(cell.method, cell.request.extra) for cell in cells] == [
        (method, extra) for method in ("prototype", "emat") for extra in (("--a=1", "--b=1"), ("--a=1",))
    ]


def test_the_fingerprint_is_of_what_is_asked_for(write, tmp_path):
    def one(runs="runs", **values):
        (cell,) = read_grid([write(**values)])
        return cell.fingerprint(Path(runs))

    assert one() == one() == one(runs="elsewhere")
    checkpoint = tmp_path / "best.ckpt"
    others = [one(shots=[2]), one(seeds=[1]), one(methods=["emat"]), one(extra=["--x=1"]), one(fast=True)]
    others.append(one(checkpoint=str(checkpoint)))
    checkpoint.write_text("trained")
    others.append(one(checkpoint=str(checkpoint)))
    weights = tmp_path / "vit.pth"
    weights.write_text("these")
    others.append(one(weights=str(weights)))
    weights.write_text("others, exchanged")
    others.append(one(weights=str(weights)))
    assert len({one(), *others}) == 10


def test_files_of_one_name_are_both_in_the_fingerprint():
    texts = spec._texts("prototype", "demo", "demo", False)
    assert {"data/demo.yaml", "backbones/demo.yaml", "methods/prototype.yaml", "base.yaml"} <= set(texts)


def test_files_of_one_name_outside_configs_are_both_in_the_fingerprint(tmp_path):
    texts = {}
    for kind, name in (("methods", "prototype"), ("data", "demo")):
        (tmp_path / kind).mkdir()
        texts[kind] = (CONFIGS / kind / f"{name}.yaml").read_text() + "# mine\n"
        (tmp_path / kind / "mine.yaml").write_text(texts[kind])
    found = spec._texts(str(tmp_path / "methods/mine.yaml"), None, str(tmp_path / "data/mine.yaml"), False)
    assert set(texts.values()) <= set(found.values())


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
        ({"shots": None}, "shots is None, expected a list"),
        ({"seeds": 3}, "seeds is 3, expected a list"),
        ({"fast": "yes"}, "fast is 'yes', expected true or false"),
    ],
)
def test_bad_grids_are_refused(write, values, expected):
    with pytest.raises(SettingsError) as refused:
        read_grid([write(**values)])
    assert expected in str(refused.value) and "\n" not in str(refused.value)


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
    assert len(cells) >= 8 and {cell.method for cell in cells} <= {*names("methods"), *aliases()}
