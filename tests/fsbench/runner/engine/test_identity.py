"""The identity of a run says what was computed: the code that is the user's own, and only settings with an effect."""

import hashlib
import importlib
import json
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch

from fsbench.base import class_file, own_modules
from fsbench.base.errors import SettingsError
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.identity import _modules_of_classes, _own, changed_modules
from fsbench.runner.engine.origins import plug_in_origins
from tests.cli.commands import images_of
from tests.plugged import METHOD, install, installed

LEARNS = METHOD.replace("    learns = False\n", "    step_is_a_mean = True\n").replace(
    "        self.value = value\n",
    "        self.value = value\n        self.weight = torch.nn.Parameter(torch.zeros(1))\n",
)
NORMALISES = LEARNS.replace("torch.nn.Parameter(torch.zeros(1))", "torch.nn.BatchNorm2d(3)")
STOPS = f"{LEARNS}\n    ends_early = True\n"
ADAM = {"optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1}}}


@pytest.fixture
def small_data(blocks_folder) -> list[str]:
    """Arguments of a small data set."""
    return ["--data.test.episodes=3", *images_of(blocks_folder)]


@pytest.fixture
def here(tmp_path, monkeypatch, small_data):
    """experiment(*words, source, **options) -> the run of ./mine.py:Constant, in a folder on sys.path."""
    monkeypatch.setenv("FSBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(class_file, "_named", {})
    monkeypatch.setattr(own_modules, "_imported", {})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)

    def make(*words: str, source: str = LEARNS, method: str = "./mine.py:Constant", **options) -> Experiment:
        (tmp_path / "mine.py").write_text(source)
        return Experiment(RunConfig(method, "demo", extra=(*small_data, *words), **options).parse())

    yield make
    for name in [name for name in sys.modules if name.startswith((f"{class_file.PACKAGE}.", "zhelp", "fsb_edit"))]:
        del sys.modules[name]


def forget_helper() -> None:
    """As another process would begin."""
    for name in [name for name in sys.modules if name.startswith(("zhelp", "fsb_edit", f"{class_file.PACKAGE}."))]:
        del sys.modules[name]
    own_modules._imported.clear()


def test_the_modules_that_a_methods_file_imports_are_part_of_it(here, tmp_path):
    source = f"import zhelp\n{METHOD}"
    ids = []
    for text in ("value = 1\n", "value = 2\n", "value = 1\n"):
        forget_helper()
        (tmp_path / "zhelp.py").write_text(text)
        run = here(source=source)
        digest = hashlib.sha256(text.encode()).hexdigest()
        assert run.identity.method.as_json()["own_modules"] == {"zhelp": digest[:12]}
        method, module = plug_in_origins(run)
        assert method["part"] == "method" and method["file"] == "mine.py"
        assert module == {"part": "module", "name": "zhelp", "file": "zhelp.py", "sha256": digest}
        ids.append(run.folder)
    assert ids[0] == ids[2] != ids[1]
    assert str(tmp_path) not in json.dumps(run.identity.as_json())


def test_a_module_that_changes_beneath_a_process_is_told(here, tmp_path):
    (tmp_path / "zhelp.py").write_text("value = 1\n")
    _ = here(source=f"import zhelp\n{METHOD}").identity
    (tmp_path / "zhelp.py").write_text("value = 2\n")
    with pytest.raises(SettingsError, match=r"zhelp\.py has changed since this process imported it"):
        _ = here(source=f"import zhelp\n{METHOD}").identity


def test_a_module_that_no_import_names_is_part_of_it_and_told_if_it_changes(here, tmp_path):
    load = "from importlib.util import spec_from_file_location\nfrom pathlib import Path\n"
    load += "spec = spec_from_file_location('zhelp', Path(__file__).with_name('zhelp.py'))\n"
    (tmp_path / "zhelp.py").write_text("value = 1\n")
    run = here(source=load + METHOD)
    before = run.identity.method.as_json()["own_modules"]
    assert list(before) == ["zhelp.py"] and changed_modules(run) == []
    (tmp_path / "zhelp.py").write_text("value = 2\n")
    assert changed_modules(run) == ["zhelp.py"]
    assert here(source=load + METHOD).identity.method.as_json()["own_modules"] != before


def test_a_file_that_the_code_reads_is_part_of_it_and_one_that_it_writes_is_not(here, tmp_path):
    source = "from pathlib import Path\nREAD = Path(__file__).with_suffix('.json')\nopen('log.txt', 'a').close()\n"
    runs = []
    for text in ("1", "2", "1"):
        forget_helper()
        (tmp_path / "mine.json").write_text(text)
        runs.append(here(source=source + METHOD))
        assert list(runs[-1].identity.method.as_json()["own_modules"]) == ["mine.json"]
    assert (tmp_path / "log.txt").is_file() and runs[0].folder == runs[2].folder != runs[1].folder
    assert changed_modules(runs[0]) == [] and changed_modules(runs[1]) == ["mine.json"]


def test_functions_and_classes_as_settings_and_the_module_that_a_class_path_names_are_followed(here, tmp_path):
    (tmp_path / "zhelp").mkdir()
    (tmp_path / "zhelp" / "__init__.py").write_text("from zhelp.make import make\nMine = make()\n")
    (tmp_path / "zhelp" / "make.py").write_text("def make():\n    return type('Mine', (), {'__module__': __name__})\n")
    made = importlib.import_module("zhelp")
    for one in (made.make, made.Mine, made.Mine(), partial(map, made.make)):
        assert "zhelp.make" in _modules_of_classes({"init_args": {"loss": [one]}})
    assert "zhelp" in {name.rpartition(".")[0] for name in _modules_of_classes({"class_path": "zhelp.Mine"})}
    assert list(_own(_modules_of_classes({"class_path": "zhelp.Mine"}))) == ["zhelp", "zhelp.make"]
    assert _own(_modules_of_classes({"a": [1, "text", None, torch.relu], "class_path": "torch.optim.SGD"})) == {}


def test_an_editable_packages_code_is_part_of_it_and_an_installed_ones_is_not(here, tmp_path):
    """Its code lies where it is edited, and what pip notes of it in another folder."""
    groups = {"fsbench.methods": {"constant": "fsb_edit.mine:Constant"}}
    places = {"edited": tmp_path / "checkout", "placed": tmp_path / "site"}
    folders = {}
    for name, place in places.items():
        forget_helper()
        site = install(tmp_path / "site" / name, "fsb-edit", groups, {})
        code = site if name == "placed" else place
        (code / "fsb_edit").mkdir(parents=True)
        (code / "fsb_edit" / "mine.py").write_text(METHOD)
        with installed(site), installed(code):
            own = here(method="constant").identity.method.as_json().get("own_modules")
        folders[name] = own
    digest = hashlib.sha256(METHOD.encode()).hexdigest()[:12]
    assert folders == {"edited": {"fsb_edit.mine": digest}, "placed": None}


def test_an_optimiser_and_a_callback_of_ones_own_are_part_of_the_training(here, tmp_path):
    (tmp_path / "zhelp.py").write_text(
        "import torch, lightning\nclass Mine(torch.optim.SGD):\n    pass\nclass Note(lightning.Callback):\n    pass\n"
    )
    plain = here().identity
    assert "own_modules" not in plain.training | plain.method.as_json() | plain.dataset | plain.as_json()
    words = ("--optimizer=zhelp.Mine", "--optimizer.lr=0.1"), ("--trainer.callbacks+=zhelp.Note",)
    for given in words:
        assert list(here(*given).identity.training["own_modules"]) == ["zhelp"]


SAME = [
    ("--trainer.min_epochs=1",), ("--trainer.min_steps=2",), ("--trainer.benchmark=true",),
    ("--trainer.sync_batchnorm=true",), ("--trainer.inference_mode=false",), ("--trainer.detect_anomaly=true",),
    ("--trainer.limit_train_batches=1.0",), ("--trainer.limit_val_batches=1.0",),
    ("--trainer.gradient_clip_val=0",), ("--trainer.limit_test_batches=1.0",), ("--trainer.num_sanity_val_steps=0",),
    ("--trainer.fast_dev_run=0",), ("--trainer.overfit_batches=0",), ("--trainer.use_distributed_sampler=false",),
]  # fmt: skip


def test_a_setting_without_effect_is_no_other_run(here):
    usual = here().identity.as_json()
    for words in SAME:
        assert here(*words).identity.as_json() == usual, words


OTHERWISE = [
    (("--trainer.limit_train_batches=4",), ("--trainer.limit_train_batches=4.0",)),
    (("--trainer.limit_val_batches=4",), ("--trainer.limit_val_batches=4.0",)),
    (("--trainer.precision=bf16",), ("--trainer.precision=bf16-mixed",)),
    (
        ("--trainer.gradient_clip_val=1", "--trainer.gradient_clip_algorithm=norm"),
        ("--trainer.gradient_clip_val=1.0",),
    ),
    (("--optimizer=torch.optim.adam.Adam", "--optimizer.lr=1"), ("--optimizer=Adam", "--optimizer.lr=1.0")),
    (
        ("--trainer.callbacks=lightning.pytorch.callbacks.Timer",),
        ("--trainer.callbacks+=lightning.pytorch.callbacks.timer.Timer",),
    ),
]


@pytest.mark.parametrize(("words", "others"), OTHERWISE)
def test_a_setting_that_is_given_otherwise_is_no_other_run(here, words, others):
    assert here().folder != here(*words).folder == here(*others).folder


def test_a_file_that_a_setting_names_stands_in_it_by_name_and_content(here, tmp_path):
    source = METHOD.replace("value: int", "table: str = 'none', value: int")
    assert source != METHOD
    (tmp_path / "table.txt").write_text("1")
    paths = "table.txt", tmp_path / "table.txt"
    stated = [here(f"--model.table={path}", source=source).identity.method.as_json()["table"] for path in paths]
    (tmp_path / "table.txt").write_text("2")
    stated.append(here("--model.table=table.txt", source=source).identity.method.as_json()["table"])
    digests = [hashlib.sha256(text).hexdigest()[:12] for text in (b"1", b"1", b"2")]
    assert stated == [f"table.txt#sha256={digest}" for digest in digests]


@pytest.mark.parametrize(
    ("words", "source", "entry"),
    [
        (("--run.patience=3", "--trainer.min_epochs=2"), LEARNS, ("min_epochs", 2)),
        (("--trainer.min_steps=2",), STOPS, ("min_steps", 2)),
        (("--trainer.max_time=00:01:00:00", "--trainer.min_epochs=2"), LEARNS, ("min_epochs", 2)),
        (("--trainer.sync_batchnorm=true", "--trainer.devices=5"), NORMALISES, ("sync_batchnorm", True)),
        (("--trainer.sync_batchnorm=true", "--trainer.devices=5"), LEARNS, ("sync_batchnorm", False)),
        (("--trainer.sync_batchnorm=true",), NORMALISES, ("sync_batchnorm", False)),
        (("--trainer.gradient_clip_val=0.5",), LEARNS, ("gradient_clip_val", 0.5)),
        (("--trainer.limit_val_batches=1",), LEARNS, ("limit_val_batches", 1)),  # one batch; 1.0 is all of them
        (("--trainer.val_check_interval=1",), LEARNS, ("val_check_interval", 1)),
        (("--trainer.deterministic=true",), LEARNS, ("deterministic", True)),
    ],
)
def test_a_setting_stands_in_the_identity_where_it_has_an_effect(here, words, source, entry):
    assert here(*words, source=source).identity.training[entry[0]] == entry[1]


def test_settings_that_are_no_plain_values_stand_in_it_by_type_and_value(here):
    callback = "--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint"
    runs = [here(callback, f"--trainer.callbacks.train_time_interval=0:0{n}:00") for n in (3, 4, 3)]
    assert runs[0].folder == runs[2].folder != runs[1].folder
    stated = runs[0].identity.training["callbacks"][0]["init_args"]["train_time_interval"]
    assert stated == {"type": "datetime.timedelta", "value": "datetime.timedelta(seconds=180)"}


@pytest.mark.parametrize(
    ("words", "source", "expected"),
    [
        (("--lr_scheduler=torch.optim.lr_scheduler.StepLR", "--lr_scheduler.step_size=1"), LEARNS, "give --optimizer"),
        (("--optimizer=torch.optim.Adam",), METHOD, "optimizer is torch.optim.Adam, but the method does not learn"),
        (("--data.training.validation=none", "--trainer.limit_val_batches=3"), LEARNS, "trainer.limit_val_batches"),
        (("--data.training.validation=none", "--trainer.check_val_every_n_epoch=2"), LEARNS, "check_val_every_n_epoch"),
        (
            ("--trainer.callbacks+=lightning.pytorch.callbacks.GradientAccumulationScheduler",
             "--trainer.callbacks.scheduling={0: 3}"),
            LEARNS, "trainer.callbacks has GradientAccumulationScheduler, which sets accumulate_grad_batches",
        ),
    ],
)  # fmt: skip
def test_a_setting_that_nothing_reads_is_refused(here, words, source, expected):
    with pytest.raises(SettingsError) as error:
        here(*words, source=source)
    assert expected in str(error.value) and "\n" not in str(error.value)


def test_an_optimiser_beside_a_checkpoint_is_refused_if_the_command_gives_it(here, small_data, tmp_path):
    """A configuration states that of its training, and is taken."""
    torch.save({"state_dict": {"weight": torch.zeros(1)}}, tmp_path / "x.ckpt")
    (tmp_path / "mine.py").write_text(LEARNS)
    run = RunConfig("./mine.py:Constant", "demo", extra=tuple(small_data), checkpoint=str(tmp_path / "x.ckpt"))
    (tmp_path / "adam.yaml").write_text(json.dumps(ADAM))
    given = replace(run, extra=(*run.extra, "--optimizer=torch.optim.Adam"))
    stated = replace(run, extra=(*run.extra, "--config=adam.yaml"))
    with pytest.raises(SettingsError, match=r"optimizer is torch\.optim.Adam, but a checkpoint is given"):
        Experiment(given.parse())
    assert Experiment(stated.parse()).identity == Experiment(run.parse()).identity
