"""Each rule at each door: a run, Lightning's Trainer by hand, `evaluate`, `score`, `Predictor` and `check-method`.

A rule has an entry for every door: what holds there, or in words why the rule has no meaning there.
"""

import json
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

import fsbench
from fsbench.base.errors import CheckpointError, ContractError, FsbenchError, NumericsError, RecordError, SettingsError
from fsbench.cli.main import main
from fsbench.core.answering import THREADS
from fsbench.core.global_state import allow_tf32, kept_global_state
from fsbench.core.released_format import ADAPTED_TO, TRAINED_ON, WRITTEN_BY
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.episodic import EpisodicDataModule
from fsbench.datamodules.options import EpisodicTest, Loading, Training
from fsbench.methods.classifiers import LinearProbe
from fsbench.methods.prototype import Prototype
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone
from fsbench.protocols.reading import load_protocol
from fsbench.runner.config.merge import stated_values
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.contract.suite import build_subject, run_check
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.run import run
from fsbench.runner.evaluation.code import code_sha256
from tests import rule_methods
from tests.config_words import parse_run, settings_file

SIDE = 32
FILE = Path(rule_methods.__file__)
TRAINED = (
    "--trainer.max_epochs=2", "--trainer.limit_train_batches=2", "--run.first_validation=0",
    "--run.middle_validation=null", "--run.patience=null",
)  # fmt: skip


KEPT: dict[str, dict[str, Any]] = {}
"""Folder of the data -> what is made of it once."""


class Place:
    """A folder, its data set, and the doors.

    Args:
        folder: where it writes.
        blocks: the data set.
        capture: pytest's capture of what is printed.
        patch: pytest's monkeypatch.
    """

    def __init__(self, folder: Path, blocks: Path, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch):
        self.folder, self.blocks, self.capture, self.patch = folder, blocks, capture, patch
        self.around: Callable[[], AbstractContextManager[Any]] = nullcontext
        self._number = 0

    @property
    def kept(self) -> dict[str, Any]:
        """What is made once for all tests."""
        return KEPT.setdefault(str(self.blocks), {})

    @property
    def new(self) -> Path:
        """A path of its own for each use."""
        self._number += 1
        return self.folder / str(self._number)

    def backbone(self, **options: Any) -> BackboneConfig:
        return BackboneConfig("demo", **{"weights": "random:0"} | options)

    def method(self, name: str = "Ready", backbone: BackboneConfig | None = None, **options: Any) -> Any:
        """Return a method of `rule_methods` with weights that follow from a seed."""
        torch.manual_seed(0)
        return getattr(rule_methods, name)(backbone or self.backbone(), **options)

    def data(self, training: dict[str, Any] | None = None, loading: dict[str, Any] | None = None, **test: Any) -> Any:
        more = {name: test.pop(name) for name in ("image_size", "source") if name in test}
        usual = {"validation": "base", "validation_episodes": 4, "batch_size": 4}
        return EpisodicDataModule(
            Folder(str(self.blocks)),
            EpisodicTest(**{"way": 2, "episodes": 4} | test),
            Training(**usual | (training or {})),
            Loading(**{"workers": 0} | (loading or {})),
            **{"image_size": SIDE} | more,
        )

    # The doors --------------------------------------------------------------------------------------------------------

    def request(self, name: str = "Ready", *extra: str, **options: Any) -> RunConfig:
        method = name if name.islower() or ":" in name else f"{FILE}:{name}"
        words = (
            "--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={self.blocks}",
            f"--data.image_size={options.pop('image_size', SIDE)}", "--data.loading.workers=0",
            "--data.training.validation_episodes=4", "--data.training.validation=base", "--data.training.batch_size=4",
            "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", *extra,
        )  # fmt: skip
        usual = {"way": 2, "episodes": 4, "weights": "random:0", "backbone": "demo", "runs": str(self.new)}
        given = settings_file(stated_values(words), self.folder)  # the parser takes as long for one word as for a file
        return RunConfig(method, "demo", **usual | options, extra=(given,))

    def experiment(self, name: str = "Ready", *extra: str, **options: Any) -> Experiment:
        return Experiment(parse_run(self.request(name, *extra, **options)))

    def run(self, name: str = "Ready", *extra: str, **options: Any) -> Any:
        request = self.request(name, *extra, **options)
        with self.around():
            return run(request)

    def train(self, name: str = "Lin", *extra: str, **options: Any) -> Any:
        return self.run(name, *TRAINED, *extra, **options)

    def trainer(self, **options: Any) -> L.Trainer:
        usual = {
            "accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False,
            "enable_progress_bar": False, "enable_model_summary": False, "max_epochs": 2, "limit_train_batches": 2,
            "deterministic": "warn",
        }  # fmt: skip
        return L.Trainer(**usual | options)

    def fit(self, method: Any = "Lin", data: Any = None, ckpt: Path | None = None, **options: Any) -> Any:
        """Fit a method, and return its Trainer."""
        method = self.method(method) if isinstance(method, str) else method
        trainer = self.trainer(**options)
        with self.around():
            trainer.fit(method, datamodule=data or self.data(), ckpt_path=ckpt)
        return trainer

    def stage(
        self, stage: str, method: Any = "Ready", data: Any = None, ckpt: Path | None = None, **options: Any
    ) -> Any:
        method = self.method(method) if isinstance(method, str) else method
        trainer = self.trainer(**options)
        asked = {} if stage == "predict" else {"verbose": False}
        with self.around():
            found = getattr(trainer, stage)(method, datamodule=data or self.data(), ckpt_path=ckpt, **asked)
        return found if stage == "predict" else {name.split("/")[1]: value for name, value in found[0].items()}

    def test(self, method: Any = "Ready", data: Any = None, **options: Any) -> Any:
        return self.stage("test", method, data, **options)

    def named(self, name: str = "Ready", **options: Any) -> Any:
        """Evaluate a method by its name, as a program does."""
        usual = {"backbone": "demo", "weights": "random:0", "image_size": SIDE, "runs": self.new, "progress": False}
        with self.around():
            return fsbench.evaluate(f"{FILE}:{name}", self.opened(), **usual | options)

    def opened(self, **options: Any) -> Any:
        return fsbench.load_test("folder", root=self.blocks, **{"way": 2, "episodes": 4} | options)

    def evaluate(self, model: Any = "Ready", test: Any = None, **options: Any) -> Any:
        """Evaluate a method as an object."""
        method = self.method(model) if isinstance(model, str) else model
        options = {"image_size": SIDE} | options
        with self.around():
            return fsbench.evaluate(method, test or self.opened(), runs=self.new, progress=False, **options)

    def ask(self, model: Any, test: Any = None, **options: Any) -> Any:
        """Evaluate a function or a network."""
        options = {"name": "model", "progress": False} | options
        with self.around():
            return fsbench.evaluate(model, test or self.opened(), runs=self.new, **options)

    def score(self, model: Any, test: Any = None, numbers: Any = None, **options: Any) -> Any:
        """Write a function's answers to a file, and score it."""
        test, file = test or self.opened(), self.new.with_suffix(".fsa")
        with fsbench.Answers(file, test) as answers:
            for episode in test:
                if numbers is None or episode.number in numbers:
                    output = model(episode)
                    answers.add(episode, *(output if isinstance(output, tuple) else (output,)))
        with self.around():
            return fsbench.score(file, test, name="model", runs=self.new, progress=False, **options)

    def predict(self, name: str = "Ready", shots: int = 1, **options: Any) -> Any:
        """Predict an image with a Predictor; return its label map."""
        usual = {"weights": "random:0", "backbone": "demo", "image_size": SIDE, "device": "cpu", "dataset": "demo"}
        method = name if name.islower() else f"{FILE}:{name}"
        with self.around():
            predictor = fsbench.Predictor(method, **usual | options)
            test = self.opened(shot=shots, way=1)
            pairs = [(support.image, support.mask == 1) for support in test[0].supports[0]]
            return predictor.support("one", pairs).predict(test[0].query).label_map

    def check(self, name: str, check: str, *, size: int = 64, **options: Any) -> Any:
        """Run a check of the contract, and return its outcome."""
        method = name if name.islower() else f"{FILE}:{name}"
        with self.around():
            return run_check(check, build_subject(method, backbone="demo", size=size, memory_episodes=4, **options))

    def command(self, *words: object) -> str:
        """Run a command; return what it says, and raise SettingsError where it refuses."""
        self.capture.readouterr()
        status = main([str(word) for word in words])
        said = "".join(self.capture.readouterr())
        if status:
            raise SettingsError(said)
        return said

    def checkpoint(self, **changed: Any) -> Path:
        """Write a checkpoint of a short training of `Lin` on fold 0, with changed entries."""
        path = self.new.with_suffix(".ckpt")
        if "checkpoint" not in self.kept:
            self.fit(max_epochs=1, limit_train_batches=1, limit_val_batches=0).save_checkpoint(path)
            self.kept["checkpoint"] = torch.load(path, weights_only=True)
        torch.save(self.kept["checkpoint"] | changed, path)
        return path

    @property
    def scores(self) -> dict[str, float]:
        """Scores of `Ready` in a run."""
        if "scores" not in self.kept:
            self.kept["scores"] = scores(self.run())
        return dict(self.kept["scores"])

    @property
    def trained(self) -> Any:
        """The record of a run of `Lin`, whose folder stays."""
        if "trained" not in self.kept:
            self.kept["trained"] = self.train()
        return self.kept["trained"]

    @property
    def novel(self) -> dict[str, Any]:
        """What a training on the test's own classes says of itself."""
        return self.data(fold=1).trained_on


Cell = str | Callable[[Place], None]
"""What holds at a door, or why a rule has no meaning there."""


@dataclass(frozen=True)
class Rule:
    """A rule at each door; a field without a default is a door that no rule may pass over."""

    name: str
    run: Cell
    trainer: Cell
    method: Cell
    function: Cell
    score: Cell
    predictor: Cell
    check: Cell


def refused(error: type[FsbenchError], found: str, *calls: Callable[[Place], Any]) -> Cell:
    """Each call is refused by an error that names what was found."""

    def cell(place: Place) -> None:
        for call in calls:
            with pytest.raises(error) as raised:
                call(place)
            assert found in str(raised.value)

    return cell


def equal(found: Callable[[Place], Any], expected: Callable[[Place], Any]) -> Cell:
    def cell(place: Place) -> None:
        first, second = found(place), expected(place)
        if isinstance(first, np.ndarray):
            assert np.array_equal(first, second) and first.any()
        elif isinstance(first, dict) and "mIoU" in first:
            assert first == pytest.approx(second, abs=0, rel=0, nan_ok=True) and first["mIoU"] > 0
        else:
            assert first == second

    return cell


def told(words: str, *calls: Callable[[Place], Any], stays: bool = True) -> Cell:
    """Each call says these words: in a warning, in the terminal or in its record, and in that if there is one."""

    def cell(place: Place) -> None:
        for call in calls:
            place.capture.readouterr()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                result = call(place)
            record = getattr(result, "record", result)
            if hasattr(record, "run"):
                said = " ".join(record.run.remarks)
            else:
                said = "".join((*place.capture.readouterr(), *(str(one.message) for one in caught)))
            assert (words in said) is stays, said

    return cell


def fails(check: str, found: str, name: str) -> Cell:
    """A check of the contract finds it."""

    def cell(place: Place) -> None:
        outcome = place.check(name, check)
        assert outcome.status == "failed" and found in outcome.text, outcome

    return cell


def holds(call: Callable[[Place], Any]) -> Cell:
    """A call whose method or network itself asserts the rule ends well."""

    def cell(place: Place) -> None:
        call(place)

    return cell


def slow(seconds: int, cell: Cell) -> Cell:
    """A cell that takes long."""
    SECONDS[id(cell)] = seconds
    return cell


SECONDS: dict[int, int] = {}


SEES_TESTS = "sees no test"
NO_TRAINING = "trains nothing"
NO_METHOD = "has no method of the suite"
OWN_EPISODES = "makes its own episodes"
OF_METHODS: Any = dict.fromkeys(("function", "score"), NO_METHOD)
OF_TRAINING: Any = dict.fromkeys(("method", "function", "score", "predictor"), NO_TRAINING)
"""Doors that rules pass over together."""


def everywhere(episode: Any) -> Any:
    return np.ones(episode.size, np.uint8)


def presence_of_some(episode: Any) -> Any:
    mask = np.ones(episode.size, np.uint8)
    return mask if episode.number else (mask, np.ones(episode.way, bool))


def without_autocast(episode: Any) -> Any:
    assert not torch.is_autocast_enabled("cpu")
    return everywhere(episode)


def draws(episode: Any) -> Any:
    return np.full(episode.size, np.random.randint(2), np.uint8)


def not_finite(episode: Any) -> Any:
    return np.full(episode.size, np.nan)


def smaller(episode: Any) -> Any:
    return np.ones((episode.size[0] - 1, episode.size[1]), np.uint8)


def writes(episode: Any) -> Any:
    """Write to what it is given, if it may; answer by the support's brightness alone."""
    image = np.asarray(episode.query)
    light = float(image.mean())
    if image.flags.writeable:
        image[:] = 0
    return np.full(episode.size, light > 100, np.uint8)


def reads(episode: Any) -> Any:
    return np.full(episode.size, float(np.asarray(episode.query).mean()) > 100, np.uint8)


def with_variable(call: Callable[[Place], Any]) -> Callable[[Place], Any]:
    def within(place: Place) -> Any:
        with place.patch.context() as patch:
            patch.setenv("PL_TRAINER_PRECISION", "bf16-mixed")
            return call(place)

    return within


def with_strange_base(call: Callable[[Place], Any]) -> Callable[[Place], Any]:
    """The frozen network says that it was trained on the test's classes."""

    def within(place: Place) -> Any:
        novel = place.novel
        with place.patch.context() as patch:
            patch.setattr(FrozenBackbone, "trained_on", property(lambda _: novel, lambda *_: None))
            return call(place)

    return within


def within_program(call: Callable[[Place], Any]) -> Callable[[Place], Any]:
    """The program around the call computes in other types."""

    def around() -> Any:
        stack = ExitStack()
        stack.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float64)
        stack.enter_context(torch.autocast("cpu", dtype=torch.bfloat16))
        return stack

    def within(place: Place) -> Any:
        place.around = around
        try:
            return call(place)
        finally:
            place.around = nullcontext

    return within


def unmoved(call: Callable[[Place], Any]) -> Cell:
    """What is set in this process is the caller's again afterwards."""

    def cell(place: Place) -> None:
        def states() -> list[Any]:
            return [
                torch.get_num_threads(), torch.get_default_dtype(), torch.get_deterministic_debug_mode(),
                torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.get_rng_state().tolist(),
                np.random.get_state(legacy=True)[1].tolist(),
            ]  # fmt: skip

        before = states()
        call(place)
        assert states() == before

    return cell


def switched(call: Callable[[Place], Any]) -> Cell:
    """An answer has the switches of an evaluation, whatever the program has set."""

    def cell(place: Place) -> None:
        def around() -> Any:
            stack = ExitStack()
            stack.enter_context(kept_global_state())
            torch.set_num_threads(THREADS + 1)
            allow_tf32(True, True)
            return stack

        place.around = around
        call(place)

    return cell


def stages(*names: str, **options: Any) -> list[Callable[[Place], Any]]:
    """Return a call of each stage of a Trainer, with `make` and `data` as functions of the place."""
    make, data = options.pop("make", lambda p: "Ready"), options.pop("data", lambda p: None)
    ckpt = options.pop("ckpt", lambda p: None)

    def call(name: str) -> Callable[[Place], Any]:
        def within(p: Place) -> Any:
            if name == "fit":
                return p.fit(make(p), data(p), ckpt(p), **options)
            return p.stage(name, make(p), data(p), ckpt(p), **options)

        return within

    return [call(name) for name in names]


EVALUATED = ("validate", "test", "predict")


def scores(record: Any) -> dict[str, float]:
    return dict(record.scores)


def weights(place: Place, record: Any) -> Any:
    """Return the learned weights after a run's last epoch."""
    return torch.load(record.path / "checkpoints/last.ckpt", weights_only=True)["state_dict"]["head.weight"].tolist()


def fitted(trainer: L.Trainer) -> Any:
    return trainer.lightning_module.head.weight.tolist()


def chosen(**options: Any) -> ModelCheckpoint:
    return ModelCheckpoint(monitor="val/mIoU", **{"mode": "max"} | options)


def best_score(place: Place) -> float:
    best = chosen(dirpath=place.new)
    place.fit(callbacks=[best], enable_checkpointing=True)
    return float(best.best_model_score)


def strategy(place: Place, name: str, strategy: str) -> Any:
    method = place.method(name)
    method.nshot_strategy = strategy
    return method


def states_of_training(place: Place, method: Any = "Lin") -> None:
    """Every checkpoint states the classes of its training."""
    place.fit(method).save_checkpoint(path := place.new.with_suffix(".ckpt"))
    assert torch.load(path, weights_only=True)[TRAINED_ON] == place.data().trained_on


def states_what_was_learned(place: Place) -> None:
    """A checkpoint that is saved in a test names no class, and one of a second training those of both."""
    novel, path = place.data(fold=1), place.new.with_suffix(".ckpt")
    tester = place.trainer()
    tester.validate(place.method("Lin"), datamodule=place.data(), verbose=False)
    tester.save_checkpoint(path)
    assert TRAINED_ON not in torch.load(path, weights_only=True)
    method = loaded(place)
    novel.dataset.name = "another"  # so that nothing of its training is novel here
    place.fit(method, novel).save_checkpoint(path)
    assert torch.load(path, weights_only=True)[TRAINED_ON]["dataset"] == "another"
    refused(
        SettingsError,
        "novel",
        *stages(*EVALUATED, make=lambda p: "Lin", data=lambda p: p.data(fold=1), ckpt=lambda p: path),
    )(place)  # type: ignore[operator]


def without_super(place: Place) -> None:
    """Hooks of a subclass take nothing away from those of the suite."""
    states_of_training(place, place.method("ForgetsSuper"))
    unseen: Any = stages(
        *EVALUATED, "fit", make=lambda p: "ForgetsSuper", ckpt=lambda p: p.checkpoint(**{TRAINED_ON: p.novel})
    )
    refused(SettingsError, "novel", *unseen)(place)  # type: ignore[operator]
    data = place.data()
    data.setup = lambda stage: None
    refused(SettingsError, "super().setup", *stages(*EVALUATED, "fit", make=lambda p: "Lin", data=lambda p: data))(
        place
    )  # type: ignore[operator]


def loaders_alone(place: Place) -> None:
    """Loaders without their data module are refused, also where the Trainer has had another one before."""
    for before in (False, True):
        for stage, kind in (("fit", "train"), ("validate", "val"), ("test", "test"), ("predict", "predict")):
            trainer, method, data = place.trainer(), place.method("Lin"), place.data(fold=1)
            if before:
                trainer.test(method, datamodule=place.data(), verbose=False)
            given = getattr(data, f"{kind}_dataloader")()
            with pytest.raises(SettingsError, match="expected a data module"):
                getattr(trainer, stage)(method, given)


class Episodes(L.Callback):
    """Keeps the numbers of a training's episodes."""

    def __init__(self) -> None:
        self.all: list[list[int]] = []

    def on_train_batch_start(self, trainer: Any, method: Any, batch: Any, batch_idx: int) -> None:
        self.all.append(batch.episodes.tolist())


def epochs(place: Place) -> None:
    """Each epoch has its episodes, whatever a data module was used for before and how often its loader is made."""
    checkpoint = place.fit(max_epochs=1)
    checkpoint.save_checkpoint(path := place.new.with_suffix(".ckpt"))
    found = []
    for tested, options in ((False, {}), (True, {}), (False, {"reload_dataloaders_every_n_epochs": 1})):
        data = place.data(loading={"workers": 1})
        if tested:
            place.stage("test", "Lin", data, path)
        place.fit("Lin", data, callbacks=[seen := Episodes()], **options)
        found.append(seen.all)
    assert found[0] == found[1] == found[2] and found[0][:2] != found[0][2:]


def with_schedule(place: Place) -> Any:
    """A method whose rate falls where a score of the validation does not fall."""
    method = place.method("Lin")
    optimizer = torch.optim.SGD(method.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    method.configure_optimizers = lambda: {
        "optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val/mIoU"}
    }  # fmt: skip
    return method


def same_names(place: Place) -> Any:
    """Another data set with the names of the first, whose images are turned."""
    import shutil

    from PIL import Image

    other = place.new
    shutil.copytree(place.blocks, other)
    for folder in ("JPEGImages", "SegmentationClassAug"):
        for file in (other / folder).iterdir():
            turned = Image.open(file).transpose(Image.Transpose.ROTATE_180)
            turned.save(file, **({"quality": 95} if file.suffix == ".jpg" else {}))
    return other


def two_sets_by_a_trainer(place: Place) -> None:
    """Training shows one data set, and the validation within it another of the same names."""
    other = same_names(place)
    method = place.method("Lin")
    data = place.data(source=lambda: Folder(str(other)))
    method.configure_optimizers = lambda: torch.optim.SGD(method.parameters(), 0.0)
    trainer = place.fit(method, data, max_epochs=1)
    within = float(trainer.callback_metrics["val/mIoU"])
    assert within == place.stage("validate", method, data)["mIoU"] > 0


def two_sets_by_a_method(place: Place) -> None:
    """One method object is evaluated on two data sets of the same names, as a new one is."""
    other, method = same_names(place), place.method()
    test = fsbench.load_test("folder", root=other, way=2, episodes=4)
    place.evaluate(method)
    assert scores(place.evaluate(method, test)) == scores(place.evaluate("Ready", test))


def two_supports_of_a_predictor(place: Place) -> None:
    """A predictor that has seen other photos answers as a new one."""
    test = place.opened(way=1)
    used = fsbench.Predictor(f"{FILE}:Ready", weights="random:0", backbone="demo", image_size=SIDE, device="cpu")
    for number in (1, 0):
        support = test[number].supports[0][0]
        used = used.clear().support("one", [(support.image, support.mask == 1)])
        found = used.predict(test[0].query).label_map
    assert np.array_equal(found, place.predict())


def network_in_training_mode(place: Place) -> None:
    """It answers in eval mode, and has its mode and its statistics afterwards."""
    given, other = rule_methods.network(), rule_methods.network().eval()
    before = [*rule_methods.layers(given)]
    first, second = scores(place.ask(given)), scores(place.ask(other))
    assert first == second and given.training and [*rule_methods.layers(given)] == before


class Stranger(L.LightningModule):
    """A user's own module, with steps of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bool] = []

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.seen.append(batch.known_truth().label_maps[0].ndim == 2)

    validation_step = test_step

    def forward(self, batch: Any) -> Any:
        return batch


def strange_module(place: Place) -> None:
    """A user's own module gets whole batches with their truth, a line says so, and no score is logged."""
    for stage in ("validate", "test"):
        module = Stranger()
        place.capture.readouterr()
        assert getattr(place.trainer(), stage)(module, datamodule=place.data(), verbose=False) in ([{}], [])
        assert module.seen and all(module.seen)
        assert "Stranger is no method of fsbench" in "".join(place.capture.readouterr())


def limited(place: Place) -> None:
    """A limited validation is that of its first episodes: no class is counted that none of them asks about."""
    method = place.method()
    found = told_scores(place, "2 of 4 episodes were validated", limit_val_batches=2)
    alone = place.stage("validate", method, place.data({"validation_episodes": 4}))
    assert found["mIoU"] > 0 and found != alone


def told_scores(place: Place, words: str, **options: Any) -> dict[str, float]:
    with pytest.warns(UserWarning, match=words):
        found: dict[str, float] = place.stage("validate", "Ready", **options)
    return found


def micro_batches(place: Place) -> None:
    whole = fitted(place.fit())
    parts = place.fit(data=place.data({"micro_batch": 2}), limit_train_batches=4)
    assert parts.global_step == 4 and np.allclose(fitted(parts), whole, atol=1e-5)


def other_code_of_a_predictor(place: Place) -> None:
    """A folder of predictions goes on with the same code alone."""
    found = []
    for number in range(2):
        file = place.new.with_suffix(".py")
        file.write_text(f"from tests.rule_methods import Ready\n\n\nclass Mine(Ready):\n    part = {number}\n")
        usual = {"weights": "random:0", "backbone": "demo", "image_size": SIDE, "device": "cpu", "dataset": "demo"}
        predictor = fsbench.Predictor(f"{file}:Mine", **usual)
        photo = np.zeros((SIDE, SIDE, 3), np.uint8)
        found.append(predictor.support("one", [(photo, photo[..., 0] == 0)]).identity["code"])
    assert found[0] != found[1]


def other_code(place: Place) -> None:
    """A module beside the method's file that changes in between is no code of this process any more.

    In another process it is another run: tests/fsbench/base/test_own_modules.py.
    """
    folder = place.new
    folder.mkdir()
    text = (
        "from tests.rule_methods import Ready\nfrom part_of_mine import PART\n\n\nclass Mine(Ready):\n    part = PART\n"
    )
    (folder / "mine.py").write_text(text)
    part = folder / "part_of_mine.py"
    part.write_text("PART = 1\n")
    place.patch.syspath_prepend(str(folder))
    assert place.experiment(f"{folder / 'mine.py'}:Mine").identity.digits
    part.write_text("PART = 2\n")
    refused(SettingsError, part.name, lambda p: p.experiment(f"{folder / 'mine.py'}:Mine").identity)(place)  # type: ignore[operator]


OTHER = BackboneConfig("demo", "random:1")
LARGE = "--data.loading.eval_batch_size=1000000000"
ROUNDED = ("--trainer.precision=bf16-mixed",)
DROPS = "--model.dropout=0.5"
ADAPTED = {ADAPTED_TO: {"dataset": "blocks", "labelled_images": 5}}
SCHEDULE = (
    "--lr_scheduler.class_path=torch.optim.lr_scheduler.StepLR", "--lr_scheduler.init_args.step_size=1",
)  # fmt: skip
SCHEDULED = json.dumps(
    [{
        "class_path": "lightning.pytorch.callbacks.GradientAccumulationScheduler",
        "init_args": {"scheduling": {0: 3}},
    }]
)  # fmt: skip


def classifier() -> Any:
    return LinearProbe(BackboneConfig("demo", "random:0"))


def calibrating(place: Place) -> Prototype:
    return Prototype(place.backbone(), selection="base")


def loaded(place: Place, **changed: Any) -> Any:
    """Return a method that Lightning has loaded from a checkpoint by itself."""
    return rule_methods.Lin.load_from_checkpoint(place.checkpoint(**changed), backbone=place.backbone())


def stated(place: Place) -> Path:
    """Write a checkpoint that was converted from an authors' one, whose program stated another size of images."""
    return place.checkpoint(**{WRITTEN_BY: {"form_of": "stated", "stated": {"image_size": 64}}})


def resumed(place: Place, name: str = "Lin") -> None:
    def method() -> Any:
        np.random.seed(place._number)
        return place.method(name, dropout=0.5)

    half = place.new.with_suffix(".ckpt")
    straight = fitted(place.fit(method()))
    place.fit(method(), max_epochs=1).save_checkpoint(half)
    assert fitted(place.fit(method(), ckpt=half)) == straight
    assert fitted(place.fit(method(), num_sanity_val_steps=0)) == straight


def _mode(place: Place, call: Callable[..., Any]) -> None:
    method = place.method("Trains").train()
    call(method)
    assert method.training


def _calibrated(record: Any) -> None:
    assert record.run.made.calibration


def _of_all_episodes(record: Any) -> None:
    assert record.episodes["episode"].n_unique() == 4 and record.scores["mIoU"] > 0


def _predicts_as_a_run(place: Place) -> None:
    (batch,) = place.stage("predict", "Ready", place.data(way=1, episodes=1))
    assert np.array_equal(batch[0]["label_map"], place.predict())


def _code(first: Any, second: Any) -> None:
    assert code_sha256(first) != code_sha256(second)


def _check_ok(outcome: Any) -> None:
    assert outcome.status == "ok", outcome


def _value_error(place: Place, model: Any, found: str) -> None:
    with pytest.raises((ValueError, FsbenchError)) as raised:
        place.score(model)
    assert found in str(raised.value)


RULES = [
    Rule(
        "method and data are of one task",
        run=refused(SettingsError, "folder", lambda p: p.experiment("lp")),
        trainer=refused(SettingsError, "classification", *stages(*EVALUATED, make=lambda p: classifier())),
        method=refused(SettingsError, "LinearProbe", lambda p: p.evaluate(classifier())),
        **OF_METHODS,
        predictor=refused(SettingsError, "lp", lambda p: p.predict("lp", backbone=None, image_size=None)),
        check=OWN_EPISODES,
    ),
    Rule(
        "base classes are asked of methods that segment them",
        run=refused(SettingsError, "gfss", lambda p: p.experiment(protocol="gfss", way=None)),
        trainer=refused(SettingsError, "gfss", *stages(*EVALUATED, data=lambda p: p.data(protocol="gfss", way=1))),
        method=refused(
            SettingsError, "gfss", lambda p: p.evaluate(test=replace(p.opened(), protocol=load_protocol("gfss")))
        ),
        **OF_METHODS,
        predictor=SEES_TESTS,
        check=OWN_EPISODES,
    ),
    Rule(
        "the size of images is one that the backbone takes",
        run=refused(SettingsError, "33", lambda p: p.experiment(image_size=33)),
        trainer=refused(
            SettingsError,
            "33",
            *stages(*EVALUATED, data=lambda p: p.data(image_size=33)),
            lambda p: p.fit(data=p.data(image_size=33)),
        ),
        method=refused(SettingsError, "33", lambda p: p.evaluate(image_size=33)),
        **OF_METHODS,
        predictor=refused(SettingsError, "33", lambda p: p.predict(image_size=33)),
        check=refused(SettingsError, "33", lambda p: p.check("Ready", "shapes", size=33)),
    ),
    Rule(
        "a batch fits into memory",
        run=refused(SettingsError, "1000000000 episodes", lambda p: p.experiment("Ready", LARGE)),
        trainer=refused(
            SettingsError,
            "1000000000 episodes",
            *stages(*EVALUATED, data=lambda p: p.data(loading={"eval_batch_size": 10**9})),
        ),
        method=refused(SettingsError, "image_size is 3200000", lambda p: p.evaluate(image_size=3_200_000)),
        **OF_METHODS,
        predictor=refused(SettingsError, "image_size is 3200000", lambda p: p.predict(image_size=3_200_000)),
        check=OWN_EPISODES,
    ),
    Rule(
        "a method takes the shots of the test",
        run=refused(SettingsError, "2 shots", lambda p: p.experiment("OneShot", shot=2)),
        trainer=refused(
            SettingsError, "2 shots", *stages(*EVALUATED, make=lambda p: "OneShot", data=lambda p: p.data(shot=2))
        ),
        method=refused(SettingsError, "2 shots", lambda p: p.evaluate("OneShot", p.opened(shot=2))),
        **OF_METHODS,
        predictor=refused(SettingsError, "2 shots", lambda p: p.predict("OneShot", shots=2)),
        check=OWN_EPISODES,
    ),
    Rule(
        "a training has the shots that its loss reads",
        run=refused(SettingsError, "is 5", lambda p: p.experiment("Lin", "--data.training.training_shot=5")),
        trainer=refused(SettingsError, "is 5", lambda p: p.fit(data=p.data({"training_shot": 5}))),
        **OF_TRAINING,
        check=OWN_EPISODES,
    ),
    Rule(
        "the rule of shots is known, and one pass is for methods that take it",
        run=refused(
            SettingsError,
            "nshot_strategy",
            lambda p: p.experiment("Ready", "--run.nshot_strategy=one_pass"),
            lambda p: p.experiment("Ready", "--run.nshot_strategy=vote_of_all"),
        ),
        trainer=refused(
            SettingsError,
            "nshot_strategy",
            *stages(*EVALUATED, make=lambda p: strategy(p, "Ready", "one_pass")),
            *stages(*EVALUATED, make=lambda p: strategy(p, "Ready", "vote_of_all")),
            lambda p: p.fit(strategy(p, "Lin", "vote_of_all")),
        ),
        method=refused(
            SettingsError,
            "nshot_strategy",
            lambda p: p.evaluate(strategy(p, "Ready", "one_pass")),
            lambda p: p.evaluate(strategy(p, "Ready", "vote_of_all")),
        ),
        **OF_METHODS,
        predictor="has no such option: it has that of a checkpoint's run, which was checked",
        check=OWN_EPISODES,
    ),
    Rule(
        "supports have one kind of annotation",
        run=refused(
            SettingsError,
            "is box",
            lambda p: p.experiment("Annotates", support_annotation="box"),
            lambda p: p.experiment("TakesBoxes", support_annotation="box"),
        ),
        trainer=refused(
            SettingsError,
            "is box",
            *stages(*EVALUATED, make=lambda p: "Annotates", data=lambda p: p.data(support_annotation="box")),
            *stages(*EVALUATED, make=lambda p: "TakesBoxes", data=lambda p: p.data(support_annotation="box")),
        ),
        method="a test that was opened has masks",
        function="a test that was opened has masks",
        score="a test that was opened has masks",
        predictor="supports are masks",
        check=OWN_EPISODES,
    ),
    Rule(
        "a frozen network rounds for itself alone beside 32-true",
        run=refused(
            SettingsError,
            "bf16-mixed",
            lambda p: p.experiment("Ready", *ROUNDED, backbone_precision="bf16"),
            lambda p: p.experiment("Ready", *ROUNDED, "--model.backbone.cache_dtype=bfloat16"),
        ),
        trainer=refused(
            SettingsError,
            "bf16-mixed",
            *stages(
                *EVALUATED, "fit", make=lambda p: p.method("Lin", p.backbone(precision="bf16")), precision="bf16-mixed"
            ),
            *stages(
                *EVALUATED, make=lambda p: p.method("Ready", p.backbone(cache_dtype="bfloat16")), precision="bf16-mixed"
            ),
        ),
        method="has no precision of its own; that of a program is put off",
        **OF_METHODS,
        predictor="has no precision of its own; that of a program is put off",
        check=OWN_EPISODES,
    ),
    Rule(
        "weights and images stay in float32",
        run=refused(SettingsError, "bf16-true", lambda p: p.experiment("Ready", "--trainer.precision=bf16-true")),
        trainer=refused(
            SettingsError, "bf16-true", *stages(*EVALUATED, "fit", make=lambda p: "Lin", precision="bf16-true")
        ),
        method="has no precision of its own; that of a program is put off",
        **OF_METHODS,
        predictor="has no precision of its own; that of a program is put off",
        check=OWN_EPISODES,
    ),
    Rule(
        "a checkpoint has the keys and shapes of the method",
        run=refused(
            CheckpointError, "head", lambda p: p.experiment("Lin", checkpoint=str(p.checkpoint(state_dict={})))
        ),
        trainer=refused(
            CheckpointError,
            "head",
            *stages(*EVALUATED, "fit", make=lambda p: "Lin", ckpt=lambda p: p.checkpoint(state_dict={})),
        ),
        method="the user has loaded it",
        **OF_METHODS,
        predictor=refused(CheckpointError, "head", lambda p: p.predict("Lin", checkpoint=p.checkpoint(state_dict={}))),
        check=lambda p: _check_ok(p.check("Lin", "checkpoint")),
    ),
    Rule(
        "a checkpoint is of the method's settings and backbone",
        run=refused(
            CheckpointError,
            "trained",
            lambda p: p.experiment("Lin", "--model.tau=0.5", checkpoint=str(p.checkpoint())),
            lambda p: p.experiment("Lin", weights="random:1", checkpoint=str(p.checkpoint())),
        ),
        trainer=refused(
            CheckpointError,
            "trained",
            *stages(*EVALUATED, "fit", make=lambda p: p.method("Lin", tau=0.5), ckpt=lambda p: p.checkpoint()),
            *stages(*EVALUATED, "fit", make=lambda p: p.method("Lin", OTHER), ckpt=lambda p: p.checkpoint()),
            lambda p: rule_methods.Lin.load_from_checkpoint(p.checkpoint(), backbone=OTHER),
            lambda p: rule_methods.Lin.load_from_checkpoint(p.checkpoint(), backbone=p.backbone(), tau=0.5),
        ),
        method=refused(
            CheckpointError,
            "trained",
            lambda p: p.evaluate(rule_methods.Lin.load_from_checkpoint(p.checkpoint(), backbone=OTHER)),
        ),
        **OF_METHODS,
        predictor=refused(
            CheckpointError, "trained", lambda p: p.predict("Lin", weights="random:1", checkpoint=p.checkpoint())
        ),
        check=lambda p: _check_ok(p.check("Lin", "checkpoint")),
    ),
    Rule(
        "a checkpoint has not seen the test's classes",
        run=refused(
            SettingsError, "novel", lambda p: p.experiment("Lin", checkpoint=str(p.checkpoint(**{TRAINED_ON: p.novel})))
        ),
        trainer=refused(
            SettingsError,
            "novel",
            *stages(*EVALUATED, "fit", make=lambda p: "Lin", ckpt=lambda p: p.checkpoint(**{TRAINED_ON: p.novel})),
            *stages(*EVALUATED, "fit", make=lambda p: loaded(p, **{TRAINED_ON: p.novel})),
        ),
        method=refused(SettingsError, "novel", lambda p: p.evaluate(loaded(p, **{TRAINED_ON: p.novel}))),
        **OF_METHODS,
        predictor=SEES_TESTS,
        check=OWN_EPISODES,
    ),
    Rule(
        "a checkpoint was not adapted to a test",
        run=refused(SettingsError, "adapted", lambda p: p.experiment("Lin", checkpoint=str(p.checkpoint(**ADAPTED)))),
        trainer=refused(
            SettingsError,
            "adapted",
            *stages(*EVALUATED, "fit", make=lambda p: "Lin", ckpt=lambda p: p.checkpoint(**ADAPTED)),
            *stages(*EVALUATED, make=lambda p: loaded(p, **ADAPTED)),
        ),
        method=refused(SettingsError, "adapted", lambda p: p.evaluate(loaded(p, **ADAPTED))),
        **OF_METHODS,
        predictor="has no score that would not say so",
        check=OWN_EPISODES,
    ),
    Rule(
        "an authors' checkpoint has the stated size of images",
        run=refused(CheckpointError, "image_size 64", lambda p: p.experiment("Stated", checkpoint=str(stated(p)))),
        trainer=refused(
            CheckpointError,
            "image_size 64",
            *stages(*EVALUATED, "fit", make=lambda p: "Stated", ckpt=lambda p: stated(p)),
        ),
        method="the user has loaded it",
        **OF_METHODS,
        predictor=refused(CheckpointError, "image_size 64", lambda p: p.predict("Stated", checkpoint=stated(p))),
        check=OWN_EPISODES,
    ),
    Rule(
        "the backbone has not seen the test's classes",
        run=refused(SettingsError, "novel", with_strange_base(lambda p: p.experiment())),
        trainer=refused(
            SettingsError, "novel", *map(with_strange_base, stages(*EVALUATED)), with_strange_base(lambda p: p.fit())
        ),
        method=refused(SettingsError, "novel", with_strange_base(lambda p: p.evaluate())),
        **OF_METHODS,
        predictor=SEES_TESTS,
        check=OWN_EPISODES,
    ),
    Rule(
        "a training states its classes",
        run=equal(
            lambda p: torch.load(p.trained.path / "checkpoints/last.ckpt", weights_only=True)[TRAINED_ON],
            lambda p: p.data().trained_on,
        ),
        trainer=lambda p: [call(p) for call in (states_of_training, states_what_was_learned)] and None,
        **OF_TRAINING,
        check=OWN_EPISODES,
    ),
    Rule(
        "a subclass that does not call its base class leaves no rule out",
        run=refused(
            SettingsError,
            "novel",
            lambda p: p.experiment("ForgetsSuper", checkpoint=str(p.checkpoint(**{TRAINED_ON: p.novel}))),
        ),
        trainer=without_super,
        method=refused(
            SettingsError,
            "novel",
            lambda p: p.evaluate(
                rule_methods.ForgetsSuper.load_from_checkpoint(
                    p.checkpoint(**{TRAINED_ON: p.novel}), backbone=p.backbone()
                )
            ),
        ),
        **OF_METHODS,
        predictor=SEES_TESTS,
        check=lambda p: _check_ok(p.check("ForgetsSuper", "checkpoint")),
    ),
    Rule(
        "loaders come with their data module",
        run="has no loaders of others",
        trainer=loaders_alone,
        **OF_TRAINING,
        check=OWN_EPISODES,
    ),
    Rule(
        "each epoch has its own episodes",
        run="tests/fsbench/runner/engine/test_resumed_training.py",
        trainer=slow(6, epochs),
        **OF_TRAINING,
        check=OWN_EPISODES,
    ),
    Rule(
        "no variable of the environment changes a figure",
        run=refused(
            SettingsError, "PL_TRAINER_PRECISION", with_variable(lambda p: p.command("bench", "--method", "prototype"))
        ),
        trainer=refused(
            SettingsError, "PL_TRAINER_PRECISION", *map(with_variable, [*stages(*EVALUATED), lambda p: p.fit()])
        ),
        method=refused(SettingsError, "PL_TRAINER_PRECISION", with_variable(lambda p: p.evaluate())),
        function=refused(SettingsError, "PL_TRAINER_PRECISION", with_variable(lambda p: p.ask(everywhere))),
        score=refused(SettingsError, "PL_TRAINER_PRECISION", with_variable(lambda p: p.score(everywhere))),
        predictor=refused(SettingsError, "PL_TRAINER_PRECISION", with_variable(lambda p: p.predict())),
        check=refused(
            SettingsError,
            "PL_TRAINER_PRECISION",
            with_variable(lambda p: p.command("check-method", "prototype", "--only", "truth")),
        ),
    ),
    Rule(
        "a training is seeded: first weights and each step",
        run=slow(6, equal(lambda p: weights(p, p.train("Lin", DROPS)), lambda p: weights(p, p.train("Lin", DROPS)))),
        trainer=equal(
            lambda p: weights(p, p.train("Lin", DROPS)), lambda p: fitted(p.fit(p.method("Lin", dropout=0.5)))
        ),
        **OF_TRAINING,
        check=lambda p: _check_ok(p.check("Lin", "gradients")),
    ),
    Rule(
        "a resumed training, and one after sanity steps, draws what it would have drawn",
        run="a test of the run's resumption: tests/fsbench/runner/engine/test_resumed_training.py",
        trainer=slow(8, lambda p: [resumed(p, name) for name in ("Lin", "AnotherGenerator")] and None),
        **OF_TRAINING,
        check=OWN_EPISODES,
    ),
    Rule(
        "the loss is finite",
        run=refused(NumericsError, "nan", lambda p: p.train("NotFiniteLoss")),
        trainer=refused(
            NumericsError,
            "nan",
            lambda p: p.fit("NotFiniteLoss"),
            lambda p: p.fit("NotFiniteLoss", limit_val_batches=0),
        ),
        **OF_TRAINING,
        check=fails("gradients", "NaN", "NotFiniteLoss"),
    ),
    Rule(
        "answers are finite",
        run=refused(NumericsError, "logit", lambda p: p.run("NotFinite")),
        trainer=refused(NumericsError, "logit", *stages(*EVALUATED, make=lambda p: "NotFinite")),
        method=refused(NumericsError, "logit", lambda p: p.evaluate("NotFinite")),
        function=refused(SettingsError, "NaN", lambda p: p.ask(not_finite)),
        score=lambda p: _value_error(p, not_finite, "float64"),
        predictor=refused(NumericsError, "logit", lambda p: p.predict("NotFinite")),
        check=fails("shapes", "logit", "NotFinite"),
    ),
    Rule(
        "micro-batches are summed to steps",
        run=equal(
            lambda p: np.allclose(weights(p, p.trained), weights(p, p.train(micro_batch=2)), atol=1e-5), lambda p: True
        ),
        trainer=micro_batches,
        **OF_TRAINING,
        check=fails("step-is-a-mean", "gradient", "SumOfABatch"),
    ),
    Rule(
        "nothing but the data says how many episodes a step has",
        run=refused(
            SettingsError,
            "accumulate_grad_batches",
            lambda p: p.experiment("Lin", "--trainer.accumulate_grad_batches=3"),
            lambda p: p.experiment("Lin", f"--trainer.callbacks={SCHEDULED}"),
        ),
        trainer=refused(
            SettingsError,
            "accumulate_grad_batches=3",
            lambda p: p.fit(data=p.data({"micro_batch": 1}), accumulate_grad_batches=3),
        ),
        **OF_TRAINING,
        check=OWN_EPISODES,
    ),
    Rule(
        "some validation chooses a checkpoint",
        run=refused(
            SettingsError,
            "validat",
            *(
                lambda p, option=option: p.train("Lin", option)
                for option in (
                    "--trainer.limit_val_batches=0",
                    "--trainer.check_val_every_n_epoch=3",
                    "--trainer.max_steps=1",
                    "--run.first_validation=2",
                )
            ),
        ),
        trainer=refused(
            SettingsError,
            "no validation",
            *(
                lambda p, given=given: p.fit(**{"callbacks": [chosen()], "enable_checkpointing": True} | given)
                for given in (
                    {"limit_val_batches": 0},
                    {"check_val_every_n_epoch": 3},
                    {"check_val_every_n_epoch": None, "val_check_interval": 5},
                    {"max_steps": 1},
                )
            ),
            lambda p: p.fit("Lin", p.data({"validation": "none"}), callbacks=[chosen()], enable_checkpointing=True),
        ),
        **OF_TRAINING,
        check=OWN_EPISODES,
    ),
    Rule(
        "the best checkpoint has the highest score",
        run="a run makes its own callback",
        trainer=told(
            "mode 'min'",
            lambda p: p.fit(callbacks=[chosen(mode="min", dirpath=p.new)], enable_checkpointing=True),
            lambda p: p.fit(callbacks=[L.pytorch.callbacks.EarlyStopping("val/mIoU")]),
            lambda p: p.fit(with_schedule(p)),
        ),
        **OF_TRAINING,
        check=OWN_EPISODES,
    ),
    Rule(
        "arguments of the Trainer are obeyed or refused",
        run=refused(
            SettingsError,
            "trainer.",
            *(
                lambda p, option=option: p.experiment("Lin", f"--trainer.{option}")
                for option in (
                    "barebones=true",
                    "overfit_batches=2",
                    "fast_dev_run=true",
                    "num_sanity_val_steps=2",
                    "limit_test_batches=2",
                )
            ),
        ),
        trainer=refused(
            SettingsError,
            "Trainer(",
            *stages(*EVALUATED, barebones=True, logger=None, enable_progress_bar=None, deterministic=None),
            lambda p: p.fit(overfit_batches=2),
        ),
        method="has no Trainer",
        function="has no Trainer",
        score="has no Trainer",
        predictor="has no Trainer",
        check="has no Trainer",
    ),
    Rule(
        "a limited evaluation says of how many episodes it is",
        run=refused(
            SettingsError, "limit_test_batches", lambda p: p.experiment("Ready", "--trainer.limit_test_batches=2")
        ),
        trainer=limited,
        method="has no limits",
        function="has no limits",
        score=refused(RecordError, "2", lambda p: p.score(everywhere, numbers=(0, 1))),
        predictor=SEES_TESTS,
        check=OWN_EPISODES,
    ),
    Rule(
        "a trial run by hand says so",
        run=refused(SettingsError, "fast_dev_run", lambda p: p.experiment("Lin", "--trainer.fast_dev_run=true")),
        trainer=told("1 of 4 episodes were validated", lambda p: p.fit(fast_dev_run=True)),
        **OF_TRAINING,
        check=OWN_EPISODES,
    ),
    Rule(
        "the validation has the scores of the protocol",
        run=equal(
            lambda p: p.trained.run.made.validation_mIoU,
            lambda p: float(
                p.fit(callbacks=[best := chosen(dirpath=p.new)], enable_checkpointing=True) and best.best_model_score
            ),
        ),
        trainer=equal(
            lambda p: p.stage("validate", "Ready", p.data({"validation": "novel"}, way=1, protocol="pfenet"))["mIoU"],
            lambda p: p.test(data=p.data(way=1, protocol="pfenet"))["mIoU"],
        ),
        **OF_TRAINING,
        check=OWN_EPISODES,
    ),
    Rule(
        "features are of the images of one data set",
        run="the same callback and cache as a Trainer's",
        trainer=two_sets_by_a_trainer,
        method=two_sets_by_a_method,
        **OF_METHODS,
        predictor=two_supports_of_a_predictor,
        check=lambda p: _check_ok(p.check("Ready", "other-episodes")),
    ),
    Rule(
        "the truth is withheld",
        run=holds(lambda p: p.run("Looks")),
        trainer=lambda p: [call(p) for call in stages(*EVALUATED, make=lambda p: "Looks")] and None,
        method=holds(lambda p: p.evaluate("Looks")),
        function=holds(lambda p: p.ask(lambda e: everywhere(e) if not hasattr(e, "truth") else None)),
        score="answers were made elsewhere",
        predictor=holds(lambda p: p.predict("Looks")),
        check=lambda p: _check_ok(p.check("Looks", "truth")),
    ),
    Rule(
        "threads and TF32 are those that are recorded",
        run=switched(lambda p: p.named("Switched")),
        trainer="a Trainer by hand has its program's, and no record",
        method=switched(lambda p: p.evaluate("Switched")),
        function="a function has its program's",
        score=NO_METHOD,
        predictor="has its program's, and no record",
        check=OWN_EPISODES,
    ),
    Rule(
        "the number of an episode stays",
        run=equal(lambda p: scores(p.run("Renumbers")), lambda p: p.scores),
        trainer=refused(FsbenchError, "episode", *stages("validate", "test", make=lambda p: "Renumbers")),
        method=equal(lambda p: scores(p.evaluate("Renumbers")), lambda p: p.scores),
        function="gets copies",
        score="answers are named by episodes of the test",
        predictor="has one image at a time",
        check=OWN_EPISODES,
    ),
    Rule(
        "a method calibrates before it answers",
        run=slow(8, lambda p: _calibrated(p.run("prototype", "--model.selection=base"))),
        trainer=slow(
            14, equal(lambda p: scores(p.run("prototype", "--model.selection=base")), lambda p: p.test(calibrating(p)))
        ),
        method=refused(SettingsError, "calibrates", lambda p: p.evaluate(calibrating(p))),
        **OF_METHODS,
        predictor="has settings of the method's own; tests/fsbench/predict/test_predictor.py",
        check=OWN_EPISODES,
    ),
    Rule(
        "a validation calibrates, too",
        run="validates a training alone",
        trainer=slow(
            10,
            equal(
                lambda p: p.stage("validate", calibrating(p), p.data({"validation": "novel"}, way=1))["mIoU"],
                lambda p: p.test(calibrating(p), p.data(way=1))["mIoU"],
            ),
        ),
        **OF_TRAINING,
        check=OWN_EPISODES,
    ),
    Rule(
        "a method that adapts does so, or is refused",
        run="adapts: tests/methods/ifa",
        trainer=refused(SettingsError, "adapts", *stages(*EVALUATED, make=lambda p: "Adapts")),
        method=refused(SettingsError, "adapts", lambda p: p.evaluate("Adapts")),
        **OF_METHODS,
        predictor=refused(SettingsError, "adapts", lambda p: p.predict("Adapts")),
        check=OWN_EPISODES,
    ),
    Rule(
        "a method answers within a test that begins and ends",
        run=holds(lambda p: p.run("Counts")),
        trainer=lambda p: [call(p) for call in stages(*EVALUATED, make=lambda p: "Counts")] and None,
        method=holds(lambda p: p.evaluate("Counts")),
        **OF_METHODS,
        predictor="has no test: single images",
        check=lambda p: _check_ok(p.check("Counts", "truth")),
    ),
    Rule(
        "answers are given in eval mode, and the mode is given back",
        run=holds(lambda p: p.run("Trains")),
        trainer=lambda p: [_mode(p, call) for call in (p.test, p.evaluate)] and None,
        method=lambda p: _mode(p, p.evaluate),
        function=network_in_training_mode,
        score=NO_METHOD,
        predictor=holds(lambda p: p.predict("Trains")),
        check=lambda p: _check_ok(p.check("Trains", "side-effects")),
    ),
    Rule(
        "a draw that does not follow from the episode is told",
        run=told("draws random numbers", lambda p: p.run("Draws")),
        trainer=told("draws random numbers", *stages(*EVALUATED, make=lambda p: "Draws")),
        method=told("draws random numbers", lambda p: p.evaluate("Draws")),
        function=told("draws random numbers", lambda p: p.ask(draws)),
        score="answers were made elsewhere",
        predictor=told("draws random numbers", lambda p: p.predict("Draws")),
        check=fails("determinism", "", "Draws"),
    ),
    Rule(
        "a layer in training mode is told, wherever it is kept",
        run=told("BatchNorm1d in training mode", lambda p: p.run("Hides")),
        trainer=told("BatchNorm1d in training mode", *stages(*EVALUATED, make=lambda p: "Hides")),
        method=told("BatchNorm1d in training mode", lambda p: p.evaluate("Hides")),
        function=told("BatchNorm2d, Dropout2d in training mode", lambda p: p.ask(rule_methods.hidden())),
        score="answers were made elsewhere",
        predictor=told("BatchNorm1d in training mode", lambda p: p.predict("Hides")),
        check=fails("side-effects", "BatchNorm1d in training mode", "Hides"),
    ),
    Rule(
        "no draw is told where none is made",
        run=told("draws random", lambda p: p.run(), stays=False),
        trainer=told("draws random", *stages(*EVALUATED), stays=False),
        method=told("draws random", lambda p: p.evaluate(), stays=False),
        function=told("draws random", lambda p: p.ask(everywhere), stays=False),
        score=told("draws random", lambda p: p.score(everywhere), stays=False),
        predictor=told("draws random", lambda p: p.predict(), stays=False),
        check=lambda p: _check_ok(p.check("Ready", "determinism")),
    ),
    Rule(
        "the types of a program around it change nothing",
        run=equal(within_program(lambda p: scores(p.named())), lambda p: p.scores),
        trainer=lambda p: [equal(within_program(one), one)(p) for one in stages("validate", "test")] and None,
        method=equal(within_program(lambda p: scores(p.evaluate())), lambda p: scores(p.evaluate())),
        function=holds(within_program(lambda p: p.ask(without_autocast))),
        score=equal(within_program(lambda p: scores(p.score(everywhere))), lambda p: scores(p.score(everywhere))),
        predictor=equal(within_program(lambda p: p.predict()), lambda p: p.predict()),
        check="is a command",
    ),
    Rule(
        "the types of a program around a training change nothing",
        run=equal(within_program(lambda p: weights(p, p.train())), lambda p: weights(p, p.trained)),
        trainer=equal(within_program(lambda p: fitted(p.fit())), lambda p: fitted(p.fit())),
        **OF_TRAINING,
        check=OWN_EPISODES,
    ),
    Rule(
        "settings of the process are given back",
        run=unmoved(lambda p: p.named()),
        trainer="a Trainer by hand sets what Lightning sets",
        method=lambda p: unmoved(partial(Place.evaluate, model=p.method()))(p),
        function=unmoved(lambda p: p.ask(everywhere)),
        score=unmoved(lambda p: p.score(everywhere)),
        predictor=unmoved(lambda p: p.predict()),
        check=lambda p: _check_ok(p.check("Ready", "side-effects")),
    ),
    Rule(
        "what is given to a method stays as it is",
        run=refused(ContractError, "query", lambda p: p.run("Writes")),
        trainer=refused(ContractError, "query", *stages(*EVALUATED, make=lambda p: "Writes")),
        method=refused(ContractError, "query", lambda p: p.evaluate("Writes")),
        function=equal(lambda p: scores(p.ask(writes)), lambda p: scores(p.ask(reads))),
        score="answers were made elsewhere",
        predictor=refused(ContractError, "query", lambda p: p.predict("Writes")),
        check=fails("inputs", "", "Writes"),
    ),
    Rule(
        "each episode has one answer",
        run=refused(SettingsError, "expected a list of one answer each", lambda p: p.run("AnswersFewer")),
        trainer=refused(
            SettingsError,
            "expected a list of one answer each",
            *stages("validate", "test", make=lambda p: "AnswersFewer"),
        ),
        method=refused(SettingsError, "expected a list of one answer each", lambda p: p.evaluate("AnswersFewer")),
        function=refused(SettingsError, "answer", lambda p: p.ask(lambda episode: None)),
        score=refused(RecordError, "", lambda p: p.score(everywhere, numbers=(0, 1, 2))),
        predictor="has one image at a time",
        check=fails("inputs", "answers", "AnswersFewer"),
    ),
    Rule(
        "an answer has the size of its image",
        run=refused(SettingsError, "expected", lambda p: p.run("AnswersSmaller")),
        trainer=refused(SettingsError, "expected", *stages("validate", "test", make=lambda p: "AnswersSmaller")),
        method=refused(SettingsError, "expected", lambda p: p.evaluate("AnswersSmaller")),
        function=refused(SettingsError, "expected", lambda p: p.ask(smaller)),
        score=lambda p: _value_error(p, smaller, "expected"),
        predictor="makes a map of its image's size",
        check=fails("inputs", "expected", "AnswersSmaller"),
    ),
    Rule(
        "presence is told of all episodes or of none",
        run="a method tells it by `predicts_presence`",
        trainer="a method tells it by `predicts_presence`",
        method="a method tells it by `predicts_presence`",
        function=refused(SettingsError, "presence", lambda p: p.ask(presence_of_some)),
        score=lambda p: _value_error(p, presence_of_some, "presence"),
        predictor="has one image at a time",
        check=OWN_EPISODES,
    ),
    Rule(
        "every door has the scores of one method",
        run=lambda p: _of_all_episodes(p.run()),
        trainer=equal(lambda p: p.test(), lambda p: p.scores),
        method=equal(lambda p: scores(p.evaluate()), lambda p: p.scores),
        function=equal(lambda p: scores(p.ask(everywhere)), lambda p: scores(p.score(everywhere))),
        score=equal(lambda p: scores(p.score(everywhere)), lambda p: scores(p.ask(everywhere))),
        predictor=lambda p: _predicts_as_a_run(p),
        check=OWN_EPISODES,
    ),
    Rule(
        "the first draw of a test alone is scored",
        run=equal(lambda p: scores(p.run(draws=2)), lambda p: p.scores),
        trainer=equal(lambda p: p.test(data=p.data(draws=2)), lambda p: scores(p.run(draws=2))),
        method=equal(lambda p: scores(p.evaluate(test=p.opened(draws=2))), lambda p: p.test(data=p.data(draws=2))),
        function=equal(lambda p: scores(p.ask(everywhere, p.opened(draws=2))), lambda p: scores(p.ask(everywhere))),
        score=equal(lambda p: scores(p.score(everywhere, p.opened(draws=2))), lambda p: scores(p.score(everywhere))),
        predictor=SEES_TESTS,
        check=OWN_EPISODES,
    ),
    Rule(
        "every process has an episode, and each episode one process",
        run="its own loop: tests/cli/run/test_exactness.py",
        trainer="processes: tests/datamodules/test_stages.py, test_stages_equal_runs.py",
        method="has one process",
        function="has one process",
        score="has one process",
        predictor="has one process",
        check="has one process",
    ),
    Rule(
        "other code is another run",
        run=other_code,
        trainer="has no record",
        method=lambda p: _code(p.method("Ready"), p.method("Draws")),
        function=lambda p: _code(everywhere, draws),
        score="answers were made elsewhere",
        predictor=other_code_of_a_predictor,
        check="has no record",
    ),
    Rule(
        "what is recorded is used",
        run=refused(SettingsError, "lr_scheduler", lambda p: p.experiment("Lin", *SCHEDULE)),
        trainer="has no record",
        method=refused(SettingsError, "lr", lambda p: p.evaluate(lr_scheduler="x")),
        function=refused(SettingsError, "lr", lambda p: p.ask(everywhere, lr_scheduler="x")),
        score="has no settings",
        predictor="has no record",
        check="has no record",
    ),
    Rule(
        "a module that is no method is told what it gets",
        run="takes methods by their names",
        trainer=strange_module,
        method=NO_METHOD,
        function="is a network whose forward takes an episode",
        score=NO_METHOD,
        predictor="takes methods by their names",
        check="takes methods by their names",
    ),
    Rule(
        "a module without a step of prediction is refused",
        run="takes methods by their names",
        trainer=refused(
            SettingsError, "Stranger is no method of fsbench", *stages("predict", make=lambda p: Stranger())
        ),
        method=NO_METHOD,
        function="is a network whose forward takes an episode",
        score=NO_METHOD,
        predictor="takes methods by their names",
        check="takes methods by their names",
    ),
]


@pytest.fixture
def place(tmp_path, blocks_folder, capsys, monkeypatch):
    return Place(tmp_path, blocks_folder, capsys, monkeypatch)


DOORS = [field.name for field in fields(Rule) if field.name != "name"]
TAKE_LONG = ("run", "check")
"""Doors whose cells take a second or more, where the others take less."""


def seconds(rule: Rule, door: str) -> int:
    """Return the seconds that a cell takes; 0 for a quick one."""
    return SECONDS.get(id(getattr(rule, door)), 2 if door in TAKE_LONG else 0)


CELLS = [
    pytest.param(
        getattr(rule, door),
        id=f"{rule.name}-{door}",
        marks=[pytest.mark.slow(seconds(rule, door))] if seconds(rule, door) else [],
    )
    for rule in RULES
    for door in DOORS
]


@pytest.mark.parametrize("cell", [one for one in CELLS if callable(one.values[0])])
def test_a_rule_holds_at_a_door(cell, place):
    cell(place)


def test_every_other_door_has_a_reason():
    assert all(isinstance(one.values[0], str) and one.values[0] for one in CELLS if not callable(one.values[0]))
    assert len({rule.name for rule in RULES}) == len(RULES)
