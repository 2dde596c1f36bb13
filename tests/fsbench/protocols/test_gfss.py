"""Base and novel classes at once: which images, which supports, what a method is given, the scores by definition."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from PIL import Image

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.batch import collate
from fsbench.data.episodes.task import ManifestTask, Task
from fsbench.data.label_maps import padded_shape, resize_labels_padded
from fsbench.datamodules.datasets.coco import Coco
from fsbench.datamodules.datasets.coco.protocols import CocoValidation
from fsbench.datamodules.datasets.pascal import Pascal, Pascal10
from fsbench.datamodules.loading.items import load_item
from fsbench.protocols.draws.gfss import draw_runs
from fsbench.protocols.reading import load_protocol
from fsbench.records.predictions import read_predictions
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.experiment import Experiment
from fsbench.runner.engine.run import run_experiment
from tests.data_modules import episodic
from tests.datamodules.builders import blocks, save_coco, save_names, save_pairs
from tests.datamodules.datasets.test_coco import box

NOVEL = (1, 2, 3, 4, 5)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """VOC's layout: of each novel class three images with a large object, and a base class; three others."""
    root = tmp_path_factory.mktemp("voc")
    maps = {
        f"a{number}{copy}": blocks(
            140, 180, (number, 0, 0, 130, 130 - copy), (10 + number, 0, 140, 60, 40), (255, 132, 0, 8, 180)
        )
        for number in NOVEL
        for copy in range(3)
    }
    maps["b0"] = np.zeros((140, 180), np.uint8)
    maps["b1"] = blocks(140, 180, (20, 10, 10, 50, 50))
    maps["b2"] = blocks(140, 180, (1, 0, 0, 130, 130), (2, 0, 140, 20, 20))  # large, but two novel classes
    save_pairs(root, maps)
    generator = np.random.default_rng(0)
    for name in maps:
        pixels = generator.integers(0, 256, (140, 180, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"JPEGImages/{name}.jpg")
    save_names(root, val=sorted(maps))
    return root


def test_queries_supports_and_what_the_header_says(scenes):
    manifest = load_protocol("gfss").manifest(Pascal(str(scenes)), Task(0, shot=2))
    header, episodes = manifest.header, manifest.episodes
    assert header.class_ids == [*range(6, 21), *NOVEL] and header.seed == 2023
    assert load_protocol("gfss").draw.novel_classes(header) == [*NOVEL]
    assert header.protocol_entries["run_lengths"] == [7] * 5 and header.official_episodes == len(episodes) == 35
    for number in range(5):
        of_run = episodes[7 * number : 7 * number + 7]
        assert len({episode.supports for episode in of_run}) == 1
        supports = of_run[0].supports
        assert supports[:15] == ((),) * 15 and [len(set(own)) for own in supports[15:]] == [2] * 5
        taken = {name for own in supports for name in own}
        assert all(name[1] == str(n) for n, own in zip(NOVEL, supports[15:], strict=True) for name in own)
        listed = [name for name in Pascal(str(scenes)).candidates("val") if name != "b0" and name not in taken]
        assert [episode.query for episode in of_run] == listed and "b2" in listed
    assert len({episode.supports for episode in episodes}) > 1
    few = load_protocol("gfss").manifest(Pascal(str(scenes)), Task(0, episodes=12)).header
    assert few.protocol_entries["run_lengths"] == [3, 3, 2, 2, 2] and few.official_episodes == 60
    other = load_protocol("gfss").manifest(Pascal(str(scenes)), Task(0, episodes=12, seed=7)).header
    assert other.seed == 7


def test_a_fold_of_ten_and_what_is_refused(scenes):
    data, gfss = Pascal10(str(scenes)), load_protocol("gfss")
    assert data.test_classes(1) == [*range(11, 21)] and data.folds == 2
    with pytest.raises(
        DataError, match=r"no validation image can support bus, .*: of 16384 pixels or more, without another"
    ):
        gfss.manifest(data, Task(0))
    header = gfss.manifest(data, Task(0, drop_small=True)).header
    assert header.dropped_classes == [6, 7, 8, 9, 10] and gfss.draw.novel_classes(header) == [*NOVEL]
    with pytest.raises(SettingsError, match="asks for all classes at once, found way 2; leave way 1"):
        gfss.manifest(data, Task(0, way=2))
    with pytest.raises(SettingsError, match="has no base classes to validate on"):
        gfss.manifest(data, ManifestTask(0, classes="base"))
    with pytest.raises(SettingsError, match="its base model is trained with --method pspnet"):
        gfss.training_pool(data, Task(0))


def test_slots_of_a_class_with_few_images():
    candidates = {1: ["a", "b", "c"], 2: ["d"]}
    shown = {name: [1] for name in "abc"} | {"d": [2]}
    official, own = (
        next(draw_runs([*"abcd"], candidates, shown.__getitem__, shot=3, runs=1, refill=rule))
        for rule in ("official", "own_class")
    )
    assert own.supports[1] == ("d", "d", "d") and own.supports[0] == official.supports[0]
    assert official.supports[1] == ("d", official.supports[0][0], official.supports[0][0])
    with pytest.raises(DataError, match="class 2 has no image that may be a support"):
        next(draw_runs([*"abcd"], {1: ["a"], 2: ["d"]}, {"a": [1], "d": [1, 2]}.__getitem__, shot=1, runs=1))


def test_a_method_is_given_padded_images_and_all_novel_classes_of_supports(scenes):
    data = episodic(Pascal(str(scenes)), "gfss", shot=2, image_size=41, workers=0, episodes=10)
    batch = next(iter(data.test_dataloader()))
    (episode,) = batch.split()
    assert episode.support.shape == (1, 20, 2) and episode.valid[0].any(1).tolist() == [False] * 15 + [True] * 5
    height, width = padded_shape(140, 180, 41)
    assert (height, width) == (24, 40) and episode.query_sizes.tolist() == [[41, 41]]
    assert episode.truth.label_maps[0].shape == (24, 40)
    assert not episode.counted_pixels[0, 24:].any() and not episode.counted_pixels[0, :, 40:].any()
    labels = data.dataset.label_map(episode.image_names[int(episode.query[0])])
    counted = resize_labels_padded(labels, 41) != 255
    assert np.array_equal(episode.counted_pixels[0].numpy(), counted)
    maps = episode.support_ways[0][episode.valid[0]]
    assert set(maps.unique().tolist()) <= {0, 255, *range(1, 21)} and (maps[0] == 16).any()
    assert set(maps[0].unique().tolist()) == {0, 16, 255}  # a base class is background there (gfss.md, support label)
    config = data._loading(replace(data.protocol.view, tells_void=False))
    item = load_item(data.protocol.draw, data.dataset, data.manifest.episodes[0], config, config.files(data.dataset))
    assert item.counted_pixels[0, :24, :40].all() and item.counted_pixels.sum() == 24 * 40
    joined = collate([item, item])
    assert [len(one.counted_pixels) for one in joined.split()] == [1, 1] and len(joined.counted_pixels) == 2


def experiment(scenes, folder, *more, method="diam"):
    small = [
        "--data.image_size=41",
        "--data.loading.workers=0",
        f"--data.dataset.root={scenes}",
        "--trainer.accelerator=cpu",
        *more,
    ]
    request = RunConfig(
        method, "pascal", fold=0, runs=str(folder), weights="random", keep_predictions="masks", extra=small
    )
    return Experiment(request.parse())


@pytest.mark.slow(4)
def test_scores_are_those_of_the_definition(scenes, tmp_path):
    """Batches of five go over the ends of runs of two; what they answer is that of each alone (below)."""
    small = ("--model.iterations=2", "--data.test.episodes=10")
    record = run_experiment(experiment(scenes, tmp_path / "one", *small, "--data.loading.eval_batch_size=5"))
    found, header = record.scores, record.header
    stored, data = read_predictions(record), Pascal(str(scenes))
    sums = np.zeros((5, 20, 2))
    for episode in record.manifest.episodes:
        labels = resize_labels_padded(data.label_map(episode.query), 41)[:24, :40]
        answer = stored.label_map(episode.number)
        number = np.searchsorted(np.cumsum(header.protocol_entries["run_lengths"]), episode.number, side="right")
        for column, class_id in enumerate(header.class_ids):
            true, given = labels == class_id, (answer == column + 1) & (labels != 255)
            sums[number, column] += (true & given).sum(), (true | given).sum()
    with np.errstate(invalid="ignore"):
        iou = sums[..., 0] / sums[..., 1]
    base, novel = (100 * np.nanmean(iou[:, part], 1).mean() for part in (slice(0, 15), slice(15, None)))
    assert found["mIoU-base"] == pytest.approx(base) and found["mIoU-novel"] == pytest.approx(novel)
    assert found["mIoU-mean"] == pytest.approx((base + novel) / 2)
    answers = record.episodes.filter((pl.col("slot") > 0) & (pl.col("pred") > 0))
    assert answers["class_id"].n_unique() > 1
    assert set(record.episodes.filter(pl.col("slot") > 0)["slot"].unique().to_list()) == set(range(1, 21))


@pytest.mark.slow(1)
def test_other_methods_and_foreign_base_models_are_refused(scenes, tmp_path):
    with pytest.raises(SettingsError, match="asks for base classes too, and prototype labels those"):
        experiment(scenes, tmp_path, "--data.test.protocol=gfss", method="prototype")
    for name, message in (("upperbound", "reads the query's true labels"), ("selv", "did you mean 'self'")):
        with pytest.raises(SettingsError, match=message):
            experiment(scenes, tmp_path, f"--model.pi={name}")


def test_an_object_of_coco_is_its_first_polygon(tmp_path):
    """Later objects lie over earlier ones, run-length masks and crowds are as in other tests (gfss.md §2)."""
    parts = [box(2, 2, 9, 9), box(20, 20, 29, 29)]
    objects = [{"class": 3, "segmentation": parts}, {"class": 5, "segmentation": [box(8, 8, 15, 15), box(0, 0, 5, 5)]}]
    name = "COCO_val2014_000000000007.jpg"
    save_coco(tmp_path, "val2014", {name: (40, 40, objects)})
    data, gfss = Coco(str(tmp_path)), load_protocol("gfss")
    seen = gfss.draw.data(data)
    assert gfss.draw.data(seen) is seen and seen.name == "coco" and seen.class_names == data.class_names
    for one, pixels in ((data, {3: 64 + 100 - 4 - 16, 5: 64 + 36}), (seen, {3: 64 - 4, 5: 64})):
        one.count_pixels("val", [f"val2014/{name}"])
        assert one.class_pixels(f"val2014/{name}")[0] == pixels | {0: 1600 - sum(pixels.values())}


def test_the_real_samples_of_coco(real_data, tmp_path):
    data, gfss = Coco(str(real_data / "coco-mini")), load_protocol("gfss")
    manifest = gfss.manifest(data, Task(0, drop_small=True, episodes=10))
    assert (
        manifest.header.lists == "derived"
        and len(manifest.header.class_ids) + len(manifest.header.dropped_classes) == 80
    )
    few = replace(gfss, draw=replace(gfss.draw, episodes={"others": 7}))
    header = few.manifest(data, Task(0, drop_small=True)).header
    assert header.protocol_entries["run_lengths"] == [7] * 5
    names, origin = CocoValidation(data).images()
    assert origin == "derived"
    path = tmp_path / "gfss/coco/val.txt"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{name} val/x.png\n" for name in reversed(names)))
    with pytest.raises(DataError, match=r"val.txt was altered: found sha256 .*; expected 9581a9be"):
        CocoValidation(Coco(data.root, [str(tmp_path)])).images()
    listed = CocoValidation(Coco(data.root, [str(tmp_path)], allow_unverified_lists=True)).images()
    assert listed == ([*reversed(names)], "official, unverified")
