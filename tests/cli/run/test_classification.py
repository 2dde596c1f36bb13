"""Classification from the command line: tables, comparisons, explanations and refusals."""

import json
import re

import pytest
import torch

from fsbench.base.errors import SettingsError
from fsbench.cli.main import main
from fsbench.networks.backbones.timm_networks import Encoder
from fsbench.predict.predictor import compose_run
from fsbench.runner.config.merge import stated_values
from fsbench.runner.config.registry import aliases, config_files, names, task_of
from tests.config_words import parse, settings_file
from tests.photos import DATA, INDEX, arguments

METHODS = [name for name in names("methods") if task_of("methods", name) == "classification"]
METHODS += [name for name, choice in aliases().items() if choice.method in METHODS]
OFTEN = ("nn", "metaoptnet", "ft", "fort_lora_swin")
"""Without training, with a solver, with a network that is tuned, and an alias."""


@pytest.fixture
def bench(photos):
    """bench(method, runs, *more) -> arguments of `fsbench bench`."""

    def make(method, runs, *more, root=photos):
        extra = [
            f"--data.dataset={INDEX}", f"--data.dataset.root={root}", "--data.test.way=5", "--data.test.queries=4",
            "--data.loading.workers=0",
        ]  # fmt: skip
        extra += [option for option in more if "." in option]
        others = [option for option in more if "." not in option]
        file = settings_file(stated_values(extra), root.parent)
        return ["bench", "--method", method, "--dataset", DATA, "--runs", str(runs), file, *others]

    return make


def zeros(encoder, seed):
    return {name: torch.zeros(value.shape) for name, value in encoder.meta_network().state_dict().items()}


@pytest.mark.parametrize(
    "method", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow(1)) for name in METHODS]
)
def test_paper_settings_of_every_method(method, photos, monkeypatch):
    monkeypatch.setattr(Encoder, "_random_state", zeros)  # which takes seconds for 86 million
    given = [f"--config={path}" for path in config_files(method)]  # without the data set's backbone
    data = [f"--data.dataset={INDEX}", f"--data.dataset.root={photos}"]
    cli = parse([*given, *data, "--model.backbone.weights=random"])
    test = cli.datamodule.test
    assert (test.way, test.queries, test.episodes) == (20, 15, 2000)
    found = cli.model.num_trainable_parameters(20)
    vit, swin = (  # fort.md §13, and the head
        {"ft": 85_798_656, "lora": 221_184, "ssf": 205_824, "vpt": 92_160},
        {"ft": 27_519_354, "lora": 105_984, "ssf": 104_448},
    )
    kind = method.removesuffix("_swin").replace("fort_", "").replace("fort", "ft")
    tuned = (swin if method.endswith("_swin") else vit).get(kind)
    assert found == (15_380 if method == "lp" else 0 if tuned is None else tuned + 15_380)


def test_bench_prints_the_table(bench, photos, tmp_path, capsys):
    settings = ["--model.patches=6", "--model.epochs=1", "--data.test.episodes=2", "--data.image_size=64"]
    assert main(["bench", *arguments("fort", photos, tmp_path / "runs", *settings)]) == 0
    assert main(bench("fort", tmp_path / "runs", *settings)) == 0
    told = capsys.readouterr()
    assert ": done before, in " in told.err  # the run that is there: another one would be a process of its own
    assert "imagefolder · classification · 5-way 1-shot, 4 queries a class · protocol fort v1" in told.out
    assert re.search(r"fort +\d+\.\d\d  +[\[(]", told.out) and re.search(r"\(best without a model\) +20\.00", told.out)
    assert "hyper-parameters are fsbench's own: none are published for imagefolder 1-shot" in told.out
    assert "mIoU" not in told.out
    (folder,) = (tmp_path / "runs").glob("fort-*")
    run = json.loads((folder / "run.json").read_text())
    assert run["cost"]["trainable_parameters"] == run["cost"]["total_parameters"]
    assert run["told"] == {"supervision": ["image labels"], "saw_test_classes": "no"}


@pytest.mark.slow(3)
def test_compare_explain_and_formats(photos, tmp_path, capsys):
    from fsbench.runner.engine.experiment import Experiment
    from fsbench.runner.engine.run import run_experiment

    runs = tmp_path / "runs"
    fort = ["--model.patches=6", "--model.epochs=1", "--data.image_size=64"]
    folders = {
        method: run_experiment(Experiment(parse(arguments(method, photos, runs, "--data.test.episodes=4", *more)))).path
        for method, more in {"nn": [], "lp": [], "fort_ssf": fort}.items()
    }
    capsys.readouterr()
    assert main(["compare", str(runs), "--metrics", "accuracy", "--format", "json"]) == 0
    (compared,) = json.loads(capsys.readouterr().out)
    assert [line["images"] for line in compared["tables"]["all"]["accuracy"]] == [56] * 3  # query images
    assert main(["compare", str(runs), "--by", "class"]) == 0
    assert "other images of these classes" in capsys.readouterr().out
    for words, said in (
        (["compare", "--by", "size"], "classification has no object sizes"),
        (["compare", "--by", "presence"], "classification has no query without its class"),
        (["table", "--by", "size"], "classification has no object sizes"),
        (["table", "--metrics", "mIoU"], "--metrics mIoU: classification has accuracy alone"),
        (["table", "--protocol", "hsnet"], "is a run of classification, which has one metric"),
    ):
        assert main([words[0], str(runs), *words[1:]]) == 2
        assert said in capsys.readouterr().err
    for form in ("markdown", "csv", "latex", "json"):
        assert main(["table", str(runs), "--by", "class", "--published", "--format", form]) == 0
        assert "class_3" in capsys.readouterr().out.replace("\\", "")
    assert main(["explain", str(folders["fort_ssf"])]) == 2
    assert "is a run of classification" in capsys.readouterr().err


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*given):
        assert main(list(given)) == 2
        err = capsys.readouterr().err
        message = err[err.index("fsbench: error: ") :].strip()
        assert len(message.splitlines()) == 1 and "Traceback" not in err
        return message

    return call


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--data.test.way=7"], "way 7 is more than the 6 classes of the data set; lower WAY"),
        (
            ["--shot=9"],
            "6 of 6 classes have fewer than 13 images (class 'class_0' has 12), expected 9 for support and 4 queries",
        ),
        (["--model.backbone.name=vgg16"], "unknown backbone 'vgg16' of a classifier"),
        (["--protocol=hsnet"], "classification has no PROTOCOL (--protocol), and demo-cls is a data set for it"),
        (["--run.nshot_strategy=vote"], "nshot_strategy is vote, but classifiers see all shots; expected own"),
        (["--data.test.queries=0"], "expected 1 or more of each"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_settings(refused, bench, more, expected):
    assert expected in refused(*bench("nn", "runs", *more))


def test_methods_and_data_sets_that_do_not_belong_together(refused, bench):
    assert "emat is a method of segmentation, and" in refused("bench", "--method=emat", f"--dataset={DATA}")
    message = refused("bench", "--method=nn", "--dataset=pascal")
    assert "nn is a method of classification, and pascal a data set for segmentation; data sets for nn: " in message
    message = refused(*bench("fort_swin", "runs", "--weights=random"))
    assert "image size is 128, but ibot_swin_tiny takes 224 only" in message  # not with the demo's own backbone
    with pytest.raises(SettingsError, match="nn classifies images; expected a method that segments"):
        compose_run("nn", None, None, None, None)
    assert "for classification without label maps" in refused(
        "data", "manifest", "build", f"--dataset={DATA}", "--out=x.jsonl", "--fold=0"
    )
