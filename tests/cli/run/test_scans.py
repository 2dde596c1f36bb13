"""Slices of scans through the four doors: a method by name, Lightning's Trainer, a function, a file of masks."""

import json
from statistics import fmean

import lightning as L
import numpy as np
import pytest
from PIL import Image

import fsbench
from fsbench.base.errors import DataError
from fsbench.cli.main import main
from fsbench.core.segmenter import Segmenter
from fsbench.datamodules.datasets.chaost2 import ChaosT2
from fsbench.datamodules.datasets.cmr import Cmr
from fsbench.datamodules.datasets.sabs import Sabs
from fsbench.datamodules.episodic import EpisodicDataModule
from fsbench.datamodules.options import EpisodicTest, Loading
from fsbench.methods.prototype import Prototype
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.records.grouping import comparable
from fsbench.records.record import find_records
from fsbench.scores.estimate import MetricParts
from fsbench.scores.volumes import Dice
from tests.drawn_volumes import draw_prepared


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return draw_prepared(tmp_path_factory.mktemp("scans"), slices=5)


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    return draw_prepared(tmp_path_factory.mktemp("hearts"), Cmr, range(1, 10), slices=5)


def dice(data, test, masks):
    """Return the mean Dice of scans and classes by plain loops; `masks` has one (H, W) bool of each episode."""
    sums = {}
    for episode, mask in zip(test.manifest.episodes, masks, strict=True):
        (cls,), (scan, _, _) = episode.classes, episode.query.partition("/")
        true = data.label_map(episode.query) == cls
        counted = sums.setdefault(cls, {}).setdefault(scan, np.zeros(3, int))
        counted += (mask & true).sum(), mask.sum(), true.sum()
    return 100 * fmean(fmean(2 * tp / (pred + gt) for tp, pred, gt in scans.values()) for scans in sums.values())


def near_the_support(query, support, mask):
    """Return where a query (H, W) is as bright as a support is on its mask."""
    return np.abs(query.astype(float) - support[mask].mean()) < 20


def answer(episode):
    support = episode.supports[0][0]
    return near_the_support(episode.query[..., 0], support.image[..., 0], support.mask == 1).astype(np.uint8)


@pytest.mark.parametrize(
    ("protocol", "kind", "fold", "slices"),
    [
        ("alpnet", ChaosT2, 6, None),
        ("adnet", Cmr, 1, 7 * 5),
        ("adnet_ep1", ChaosT2, 5, None),
        ("qnet", Cmr, 0, None),
        ("qnet", Sabs, 1, None),
        ("alpnet_all_slices", ChaosT2, 6, 4 * 5),
    ],
)
def test_a_function_and_a_file_of_masks_have_the_dice_of_plain_loops(
    root, hearts, tmp_path, monkeypatch, capsys, protocol, kind, fold, slices
):
    monkeypatch.chdir(tmp_path)
    if kind is Sabs:  # whole slices, which alpnet's test cuts
        root = draw_prepared(tmp_path / "ct", Sabs, range(9), slices=4, side=257)
    root = hearts if kind is Cmr else root
    test = fsbench.load_test(kind.name, root=root, fold=fold, protocol=protocol)
    if slices is not None:  # all of each scan
        assert len(test) == slices * len(test.manifest.header.class_ids)
    masks = [answer(episode) for episode in test]
    assert kind is not Sabs or {mask.shape for mask in masks} == {(257, 257)}
    expected = dice(test.data, test, [mask == 1 for mask in masks])
    assert 10 < expected < 100
    result = fsbench.evaluate(answer, test, name="near", runs="runs")
    assert result.scores["Dice"] == pytest.approx(expected, abs=1e-9)
    asked = ["--fold", str(fold), "--protocol", protocol]
    kit = ["kit", kind.name, "--data-root", str(root), *asked, "--out", "kit"]
    assert main(kit) == 0 and "because they are no files" in capsys.readouterr().out
    (tmp_path / "masks").mkdir()
    for line in (tmp_path / "kit/episodes.jsonl").read_text().splitlines():
        episode = json.loads(line)
        ((support,),) = episode["supports"]
        pixels = [np.array(Image.open(tmp_path / "kit" / one["image"]))[..., 0] for one in (episode["query"], support)]
        measured = [np.load(tmp_path / "kit" / one["intensities"]) for one in (episode["query"], support)]
        assert all(np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9999 for a, b in zip(pixels, measured, strict=True))
        mask = near_the_support(*pixels, np.array(Image.open(tmp_path / "kit" / support["mask"])) == 1)
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / f"masks/{episode['number']}.png")
    score = ["score", "masks", "--kit", "kit", "--data-root", str(root), "--name", "near", "--runs", "scored"]
    assert main(score) == 0
    (record,) = find_records(tmp_path / "scored")
    assert record.scores["Dice"] == pytest.approx(expected, abs=1e-9)
    assert "intensities" in (tmp_path / "kit/RULES.md").read_text()


def test_shots_of_one_scan_come_through_a_kit_together(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ["--protocol", "adnet", "--shot", "3", "--episodes", "4"]
    assert main(["kit", "chaost2", "--data-root", str(root), *asked, "--out", "kit"]) == 0
    for line in (tmp_path / "kit/episodes.jsonl").read_text().splitlines():
        (supports,) = json.loads(line)["supports"]
        assert len(supports) == 3
        assert all((np.array(Image.open(tmp_path / "kit" / one["mask"])) == 1).any() for one in supports)


def test_all_slices_of_a_scan_may_be_the_supports_of_one_shot(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "whole.yaml").write_text("base: adnet\nname: whole\nversion: 1\ndraw: {shots: whole scan}\n")
    test = fsbench.load_test("chaost2", root=root, fold=6, protocol="whole.yaml")
    assert {len(episode.supports[0]) for episode in test} == {5}
    result = fsbench.evaluate(answer, test, name="near", runs="runs")
    assert result.scores["Dice"] == pytest.approx(dice(test.data, test, [answer(one) == 1 for one in test]), abs=1e-9)


@pytest.mark.slow(30)
def test_a_scan_that_two_folds_ask_is_one_sample_and_tests_of_scans_share_no_table(tmp_path, warm):
    root = draw_prepared(tmp_path / "all", Cmr, range(1, 36), slices=3, side=32)
    place = ["--data-root", str(root), "--runs", str(tmp_path / "runs"), "--data.image_size=32"]
    asked = ["--method", "prototype", "--backbone", "demo", "--weights", "random:0", "--no-trivial"]
    for protocol in ("adnet", "qnet", "alpnet"):
        more = ["--dataset", "cmr", "--protocol", protocol, "--fold", "0,1,2,3,4"]
        done = warm("bench", *more, *asked, *place)
        assert done.returncode == 0, done.stderr
    records = [record for record in find_records(tmp_path / "runs") if record.header.protocol == "adnet"]
    assert len(records) == 5 and {record.header.folds for record in records} == {5}
    statistics = [record.protocol.statistics(record.episodes, record.header) for record in records]
    whole = MetricParts.from_statistics(Dice(), statistics, range(5))
    assert whole.design.clusters["query"].number == 34  # of 35 queries: scan 1 is asked twice, scan 35 never
    table = warm("table", str(tmp_path / "runs"), "--all").stdout
    for protocol in ("adnet", "qnet", "alpnet"):
        assert f"cmr · 1-way 1-shot · slices of scans · protocol {protocol} v1" in table
    assert "Scores of different tests cannot be compared" in table
    assert "nothing of a query's truth is used" in table and "the scan at place 2, from 0, of each" in table
    assert "in the last fold, the first scan is asked (as in fold 0)" in table
    assert len(comparable(find_records(tmp_path / "runs"))) == 3


@pytest.mark.slow(40)
def test_a_model_of_one_modality_is_tested_on_the_same_organs_of_the_other(tmp_path, warm):
    """CT -> MR (scan-tests.md §7): trained on superpixels of SABS, tested on CHAOS, fold by fold."""
    ct = draw_prepared(tmp_path / "ct", Sabs, range(9), slices=4, side=128)
    mr = draw_prepared(tmp_path / "mr", ids=(1, 2, 3, 5, 8, 10, 13), slices=4, side=128)
    asked = ["--method", "alpnet", "--backbone", "demo", "--weights", "random", "--no-trivial", "--protocol", "qnet"]
    sizes = ["--data.image_size=128", "--runs", str(tmp_path / "runs")]
    small = ["--data.training.epoch_length=2", "--trainer.max_epochs=1", "--fold", "5,6"]
    done = warm("bench", "--dataset", "sabs", "--data-root", str(ct), *asked, *sizes, *small)
    assert done.returncode == 0, done.stderr
    for fold in (5, 6):
        (checkpoint,) = (tmp_path / "runs").glob(f"alpnet*-sabs-qnet-fold{fold}-*/checkpoints/last.ckpt")
        own = ["--fold", str(fold), "--ckpt", str(checkpoint)]
        done = warm("bench", "--dataset", "chaost2", "--data-root", str(mr), *asked, *sizes, *own)
        assert done.returncode == 0, done.stderr
    records = find_records(tmp_path / "runs")
    trained, tested = ([one for one in records if one.header.dataset == name] for name in ("sabs", "chaost2"))
    assert [one.header.fold for one in tested] == [one.header.fold for one in trained] == [5, 6]
    assert all(list(one.header.class_names.values()) == ["LIVER", "SPLEEN"] for one in tested)
    assert all(list(one.header.class_names.values()) == ["SPLEEN", "LIVER"] for one in trained)
    assert all(one.scores["Dice"] > 0 for one in tested)


@pytest.mark.slow(25)
def test_a_method_has_one_dice_by_its_name_and_by_lightning_and_a_table_is_the_mean_of_organs(root, warm, tmp_path):
    place = ["--data-root", str(root), "--runs", str(tmp_path / "runs"), "--data.image_size=64"]
    asked = ["--method", "prototype", "--backbone", "demo", "--weights", "random:0", "--no-trivial"]
    done = warm("bench", "--dataset", "chaost2", "--fold", "0,1,2,3,4,5,6,7,8,9", *asked, *place)
    assert done.returncode == 0, done.stderr
    by_fold = {record.header.fold: record for record in find_records(tmp_path / "runs")}
    data = EpisodicDataModule(
        ChaosT2(str(root)), EpisodicTest(protocol="alpnet", fold=6), loading=Loading(workers=0), image_size=64
    )
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(accelerator="cpu", enable_checkpointing=False, **quiet)
    (found,) = trainer.test(Prototype(BackboneConfig("demo", "random:0")), datamodule=data, verbose=False)
    assert found["test/Dice"] == pytest.approx(by_fold[6].scores["Dice"], abs=1e-9)
    mean = fmean(record.scores["Dice"] for record in by_fold.values())
    table = warm("table", str(tmp_path / "runs"), "--all").stdout
    assert f"{mean:.2f}" in table and "n images are n scans" in table
    by_class = warm("table", str(tmp_path / "runs"), "--by", "class").stdout.splitlines()
    assert sum(line.split()[:1] == ["prototype_demo"] and "LK" in line for line in by_class) == 5


class Keeps(Segmenter):
    """Keeps what it is given, and answers with nothing."""

    learns = False
    raw_images = True
    sees_pixels = True

    def __init__(self):
        super().__init__(BackboneConfig("demo", "random:0"))
        self.seen = []

    def support(self, image, mask):
        self.seen.append(image)
        return mask

    def segment(self, query, support):
        self.seen.append(query)
        return query.new_zeros(len(query), 2, *query.shape[-2:])


def test_a_method_that_asks_for_intensities_gets_those_of_its_fold(tmp_path):
    root = draw_prepared(tmp_path, Sabs, range(9), slices=4)
    test = fsbench.load_test("sabs", root=root, fold=1, protocol="alpnet", episodes=2)
    method = Keeps()
    fsbench.evaluate(method, test, runs=tmp_path / "runs", image_size=64, input_resize="intensities")
    bound = Sabs(str(root)).in_fold(1, 1)
    names = {name for one in test.manifest.episodes for name in (one.query, one.supports[0][0])}
    seen = {image.numpy().tobytes() for image in method.seen}
    assert seen == {np.repeat(bound.intensities(name)[None, None], 3, 1).tobytes() for name in names}


def test_few_scans_of_ct_make_a_kit_of_8_bits_and_are_refused_where_intensities_are_asked_for(tmp_path):
    root = draw_prepared(tmp_path / "scans", Sabs, range(7), slices=4)
    kit = ["kit", "sabs", "--data-root", str(root), "--protocol", "alpnet", "--out", str(tmp_path / "kit")]
    assert main(kit) == 0
    assert list((tmp_path / "kit/images").glob("*.png")) and not list((tmp_path / "kit/images").glob("*.npy"))
    test = fsbench.load_test("sabs", root=root, protocol="alpnet", episodes=2)
    assert fsbench.evaluate(answer, test, name="near", runs=tmp_path / "runs").scores["Dice"] >= 0
    with pytest.raises(DataError, match="has no scan beside those of the fold, expected some to normalise by"):
        fsbench.evaluate(Keeps(), test, runs=tmp_path / "runs", image_size=64, input_resize="intensities")
