"""Episodes drawn for a task: what is in them, and clear refusals; the doors that a task's fields are found behind."""

import argparse
import inspect
import re
from dataclasses import dataclass, replace

import pytest

import fsbench
from fsbench.base.errors import DataError, SettingsError
from fsbench.base.paths import REPOSITORY
from fsbench.cli.options import add_episode_options
from fsbench.data.episodes.manifest import Header
from fsbench.data.episodes.task import ManifestTask, Task
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.episodic import EpisodicDataModule
from fsbench.protocols.draws.listed import Listed
from fsbench.protocols.episode_rules.pair_lists import base_validation_pairs, pair_list
from fsbench.protocols.kit.kit import Kit
from fsbench.protocols.reading import load_protocol
from fsbench.runner.config.parse import option_names
from fsbench.runner.config.run_config import RunConfig, task_options
from fsbench.runner.grid.spec import grid_schema


@pytest.fixture
def data(blocks_folder):
    return Folder(str(blocks_folder))


PROTOCOL = load_protocol("fscs")


def test_base_validation_shows_base_classes_in_unseen_images(data):
    manifest = PROTOCOL.manifest(data, ManifestTask(0, classes="base", episodes=50))
    training_images = {name for name, _ in pair_list(data, "trn", 0).pairs}
    for episode in manifest.episodes:
        assert set(episode.classes) <= {4, 5, 6}
        assert training_images.isdisjoint([episode.query, *(n for way in episode.supports for n in way)])
    assert base_validation_pairs(data, 0, pair_list).pairs == pair_list(data, "val", 1).pairs


def test_training_has_no_novel_class_and_no_validation_image(data):
    pool = PROTOCOL.training_pool(data, Task(0))
    assert list(pool.class_ids) == [4, 5, 6]
    assert {name for name, _ in pool.pairs}.isdisjoint(name for name, _ in pair_list(data, "val", 0).pairs)


def test_size_restricted_settings_hold_small_queries_and_supports(data):
    manifest = PROTOCOL.manifest(data, Task(0, setting="0-5", episodes=40))
    assert manifest.header.empty is False

    def share(name, number):
        pixels, total = data.class_pixels(name)
        return pixels[number] / total

    for e in manifest.episodes:
        assert all(0 < share(name, e.classes[0]) < 0.05 for name in (e.query, *e.supports[0]))
    longest = max(len(pair_list(data, "0-5", fold).pairs) for fold in (0, 1))
    assert manifest.header.episodes == min(40, longest)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Task(7), "unknown fold 7 for blocks; it has folds 0 to 1"),
        (Task(0, way=0), "way is 0, expected 1 or more"),
        (Task(0, shot=-1), "shot is -1, expected 1 or more"),
        (Task(0, episodes=0), "episodes is 0, expected 1 or more"),
        (Task(0, way=4), "way 4 is more than the 3 classes of fold 0"),
        (
            Task(0, setting="augmented"),
            "unknown setting 'augmented'; did you mean 'fully_augmented'. There are: original, ",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said(data, task, message):
    with pytest.raises(SettingsError, match=message):
        PROTOCOL.manifest(data, task)


def test_classes_with_too_few_images_are_named_and_can_be_left_out(data):
    counts = {n: len(names) for n, names in pair_list(data, "val", 0).images_of.items()}
    shot = sorted(counts.values())[0]
    smallest = data.class_names[min(counts, key=lambda n: counts[n]) - 1]
    with pytest.raises(DataError, match=rf"too few images .*{smallest} {shot}[,;] .*{shot + 1} each.*--drop-small"):
        PROTOCOL.manifest(data, Task(0, shot=shot))
    with pytest.raises(SettingsError, match=r"fold 0 has one class; .* --data.test.empty false"):
        PROTOCOL.manifest(data, Task(0, shot=shot, drop_small=True))
    task = Task(0, shot=shot, episodes=20, empty=False, drop_small=True)
    kept = PROTOCOL.manifest(data, task)
    dropped = kept.header.dropped_classes
    assert dropped and all(counts[number] <= shot for number in dropped)
    assert {c for e in kept.episodes for c in e.classes} <= set(kept.class_ids) == {1, 2, 3} - set(dropped)
    few = rf"0 of 3 classes are left, since --drop-small .*{smallest} {shot}[,;] .*1000 each are needed.*lower --shot"
    with pytest.raises(DataError, match=few):
        PROTOCOL.manifest(data, Task(0, shot=999, drop_small=True))
    with pytest.raises(
        DataError, match=r"classes are left, since --drop-small .*1000 each.*--data.training.training_shot"
    ):
        PROTOCOL.training_pool(data, Task(0, drop_small=True, shot=999))


def test_every_field_is_behind_every_door():
    """Whoever adds one declares it in `Task`, and names its variable in the Makefile."""
    options, names = task_options(), {one.name for one in Task.arguments()}
    parser = argparse.ArgumentParser()
    add_episode_options(parser)  # of `kit` and of `data manifest build`
    makefile = set(re.findall(r"\b[A-Z_]+\b", (REPOSITORY / "Makefile").read_text()))
    doors = {
        "options of a run": options.keys(),
        "runs": {name for name, one in options.items() if hasattr(RunConfig(), one.field)},
        "keys": {key.removeprefix("test.") for key in option_names(EpisodicDataModule)},
        "options of lists of episodes": {action.dest for action in parser._actions},
        "variables of make": {name for name, one in options.items() if one.make_variable in makefile},
        "grids": {name for name, one in options.items() if (one.axis or one.field) in grid_schema().model_fields},
        "load_test": inspect.signature(fsbench.load_test).parameters.keys(),
        "headers": Header.model_fields.keys(),
        "kits": Kit.model_fields.keys(),
    }
    assert {door: names - found for door, found in doors.items()} == {door: set() for door in doors}
    trained = {one.name for one in Task.arguments(trains=True)}
    assert trained <= inspect.signature(fsbench.load_training).parameters.keys()
    assert all(one.metadata["help"] for one in Task.arguments())


@pytest.mark.parametrize("load", [fsbench.load_test, fsbench.load_training])
def test_a_misspelt_argument_is_told_with_the_nearest_before_data_are_drawn(load, tmp_path):
    for wrong, meant in (("foldd", "fold"), ("rooot", "root")):
        with pytest.raises(SettingsError, match=f"has no argument {wrong}; did you mean '{meant}'") as raised:
            load("demo", root=tmp_path / "demo", **{wrong: None})
        names = str(raised.value).partition("There are: ")[2].split(", ")
        assert len(names) == len(set(names)) and {"fold", "root"} <= set(names)
    assert not any(tmp_path.iterdir())


def test_a_test_of_classification_names_none_of_the_fields_that_only_segmentation_has():
    with pytest.raises(SettingsError, match=r"no argument empty; there are: dataset, .*, way,") as raised:
        fsbench.load_test("demo-cls", empty=False)
    assert "setting" not in str(raised.value)


def test_a_test_of_a_manifest_has_no_further_choices():
    with pytest.raises(SettingsError, match="which fixes its episodes; leave out protocol, epsiodes"):
        fsbench.load_test(manifest="m.jsonl", protocol="pfenet", epsiodes=3)


@pytest.mark.parametrize("load", [fsbench.load_test, fsbench.load_training])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"fold": "1"}, "fold is '1', expected a whole number"),
        ({"shot": 2.0}, "shot is 2.0, expected a whole number"),
        ({"fold": True}, "fold is True, expected a whole number"),
        ({"empty": "no"}, "empty is 'no', expected True or False"),
        ({"seed": -1}, "seed is -1, expected 0 or more"),
    ],
)
def test_a_value_of_another_type_is_refused(load, given, expected):
    with pytest.raises(SettingsError, match=re.escape(expected)):
        load("demo", **given)


@dataclass(frozen=True)
class TwoWays(Listed):
    """A draw whose episodes have two ways, whatever is asked for."""

    def official_episodes(self, data, task):
        return super().official_episodes(data, replace(task, way=2))


@dataclass(frozen=True)
class OwnWays(TwoWays):
    """The same draw, which says so."""

    def with_own_ways(self, data, task):
        return replace(task, way=2)


def test_a_draw_sets_its_own_number_of_ways_or_is_refused_before_anything_is_evaluated(data):
    silent, told = (replace(PROTOCOL, draw=kind(**vars(PROTOCOL.draw))) for kind in (TwoWays, OwnWays))
    with pytest.raises(SettingsError, match=r"fscs draws episodes of 2 ways where 1 was asked for; .* WAY \(--way\)"):
        silent.manifest(data, Task(0, episodes=2))
    task = told.draw.with_own_ways(data, Task(0, episodes=2))
    assert told.manifest(data, task).header.way == task.way == 2
    assert PROTOCOL.draw.with_own_ways(data, Task(0, way=9)).way == 3
