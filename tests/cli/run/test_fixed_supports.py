"""A fixed support set on somebody's own folder, through the commands: every door gives the same value."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fsbench.base.paths import REPOSITORY
from fsbench.data.label_maps import resize_labels, way_labels
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.protocols.kit.answers import Answers
from fsbench.protocols.kit.kit import read_kit
from fsbench.protocols.words import number_of
from fsbench.records.record import find_records
from fsbench.runner.config.tests import load_test
from fsbench.runner.evaluation.evaluate import evaluate
from fsbench.runner.evaluation.kits import load_kit_test
from fsbench.scores.distributions import t_quantile
from tests.conftest import save_names
from tests.documents import commands

ASKED = ["--method", "prototype", "--backbone", "demo", "--image-size", 64, "--protocol", "fixed_supports"]


def bench(command, root: Path, runs: Path, *more: object) -> str:
    """Test `prototype` on a folder; return what was printed."""
    where = ["--dataset", "folder", "--data-root", root, "--runs", runs]
    status, out, err = command("bench", *ASKED, *where, "--data.loading.workers=0", *more)
    assert status == 0, err
    return out + err


def fails(command, root: Path, tmp_path: Path, *more: object) -> str:
    where = ["--dataset", "folder", "--data-root", root, "--runs", tmp_path / "none"]
    status, _, err = command("bench", *ASKED, *where, "--data.loading.workers=0", *more)
    assert status and not [*(tmp_path / "none").glob("*/run.json")], err
    return " ".join(err.split())


def copy(root: Path, to: Path, *, one_list: bool = False, more: str = "", folds: str = "[[1, 2, 3, 4, 5, 6]]") -> Path:
    """Copy a folder, as one fold; with `one_list` all images are in one list, that of the test."""
    shutil.copytree(root, to)
    text = (to / "folds.yaml").read_text()
    (to / "folds.yaml").write_text(text[: text.index("folds:")] + f"folds: {folds}\n{more}\n")
    if one_list:
        lists = to / "ImageSets/Segmentation"
        (lists / "val.txt").write_text((lists / "train.txt").read_text() + (lists / "val.txt").read_text())
        (lists / "train.txt").unlink()
    return to


def row(runs: Path, part: str, command) -> dict:
    status, out, err = command("table", runs, "--format", "csv", "--no-trivial")
    assert status == 0, err
    rows = pl.read_csv(out.encode(), infer_schema_length=None).filter(pl.col("metric") == "mIoU-by-draw")
    return rows.filter((pl.col("part") == part) & pl.col("part_kind").is_in(["all", "draws"])).row(0, named=True)


Influences = tuple[float, list[float], np.ndarray]
"""θ, θ of each draw, and θ of each draw without each query (runs, queries)."""


def plain_scores(frame: pl.DataFrame, runs: int) -> Influences:
    """Scores of §10 from a count table, without anything of the suite."""
    frame = frame.filter(pl.col("slot") > 0).sort("episode", "slot")
    classes, queries = frame["class_id"].n_unique(), frame["query"].n_unique()
    hits, pred, truth = (
        frame[name].to_numpy().reshape(runs, queries, classes).astype(float) for name in ("tp", "pred", "gt")
    )

    def score(keep: np.ndarray, run: int) -> float:
        tp, p, g = (values[run][keep].sum(0) for values in (hits, pred, truth))
        there = truth[run].sum(0) > 0
        with np.errstate(invalid="ignore"):
            return float(100 * (tp / (p + g - tp))[there].mean())

    every = np.ones(queries, bool)
    by_draw = [score(every, run) for run in range(runs)]
    without = np.array([[score(np.arange(queries) != i, run) for i in range(queries)] for run in range(runs)])
    return float(np.mean(by_draw)), by_draw, without


def plain_half(theta: float, by_draw: list[float], without: np.ndarray) -> float:
    """Half the interval of §10."""
    runs, queries = without.shape
    u_i, u_r = theta - without.mean(0), (np.array(by_draw) - theta) / (runs - 1)
    u_ir = (np.array(by_draw)[:, None] - without) / runs
    v_q, v_r = (u_i**2).sum(), max((u_r**2).sum() - (u_ir**2).sum(), 0.0)

    def free(u: np.ndarray, most: int) -> float:
        return max(min(2 * (u**2).sum() ** 2 / (u**4).sum() - 1, most), 1.5)

    shared = min(v_r, (u_r**2).sum()) * (u_r**2).sum() / free(u_r, runs - 1)
    nu = (v_q + v_r) ** 2 / (v_q**2 / free(u_i, queries - 1) + shared)
    return float(t_quantile(0.975, nu) * (v_q + v_r) ** 0.5)


def plain_interval(frame: pl.DataFrame, runs: int) -> tuple[float, list[float], tuple[float, float]]:
    """Mean over draws, each draw, and the interval of §10."""
    theta, by_draw, without = plain_scores(frame, runs)
    half = plain_half(theta, by_draw, without)
    return theta, by_draw, (max(theta - half, 0.0), min(theta + half, 100.0))


def plain_difference(one: pl.DataFrame, other: pl.DataFrame, runs: int) -> tuple[float, float]:
    """The size of a difference, paired draw by draw and query by query, and the width of its interval."""
    (own, draws, without), (its, its_draws, its_without) = plain_scores(one, runs), plain_scores(other, runs)
    differences = [a - b for a, b in zip(draws, its_draws, strict=True)]
    return abs(own - its), 2 * plain_half(own - its, differences, without - its_without)


def theta_of(runs: Path) -> float:
    """The score of the only run in a folder."""
    (record,) = find_records(runs)
    return record.protocol.statistics(record.episodes, record.header).scores()["mIoU-by-draw"]


@pytest.fixture(scope="module")
def one_fold(blocks_folder, tmp_path_factory) -> Path:
    return copy(blocks_folder, tmp_path_factory.mktemp("fixed") / "blocks")


def test_the_table_has_the_mean_each_draw_their_spread_and_both_intervals(blocks_folder, command, tmp_path):
    out = bench(command, copy(blocks_folder, tmp_path / "two", folds="[[1, 2]]"), tmp_path / "runs")
    assert "the test is 2-way instead of 1-way" in out
    assert "2 classes at once, 1 labelled image of each" in out and "5 draws of supports, 24 images asked" in out
    assert out.index("mean of 5") < out.index("95 % interval")
    (record,) = find_records(tmp_path / "runs")
    theta, by_draw, interval = plain_interval(record.episodes, 5)
    found = row(tmp_path / "runs", "all", command)
    assert (found["value"], found["low"], found["high"]) == pytest.approx((theta, *interval), abs=1e-6)
    assert found["scope"] == "images"
    draws = [row(tmp_path / "runs", f"draw {number}", command)["value"] for number in range(5)]
    assert draws == pytest.approx(by_draw, abs=1e-9)
    sd = float(np.std(by_draw, ddof=1))
    assert row(tmp_path / "runs", "sd over draws", command)["value"] == pytest.approx(sd)
    half = t_quantile(0.975, 4) * sd / 5**0.5
    over = row(tmp_path / "runs", "mean over draws", command)
    assert (over["low"], over["high"], over["scope"]) == (
        pytest.approx(theta - half),
        pytest.approx(theta + half),
        "these images",
    )
    status, out, err = command("report", tmp_path / "runs", "--out", tmp_path / "report")
    assert status == 0, err


def test_draws_of_the_same_images_claim_nothing_about_other_supports(blocks_folder, command, tmp_path):
    root = copy(blocks_folder, tmp_path / "same", folds="[[1]]")
    names = (root / "ImageSets/Segmentation/train.txt").read_text().split()
    data = Folder(str(root))
    data.count_pixels("trn", names)
    shows = [name for name in names if data.class_pixels(name)[0].get(1)][:3]
    save_names(root, train=shows)
    for shot, different in ((3, 1), (2, 3)):  # three images have one set of three, and three sets of two
        runs = tmp_path / f"runs{shot}"
        out = " ".join(bench(command, root, runs, "--shot", shot).split())
        mean = row(runs, "mean over draws", command)
        assert mean["low"] is None and row(runs, "sd over draws", command)["value"] >= 0
        found = row(runs, "all", command)
        assert found["scope"] == "these supports"
        (record,) = find_records(runs)
        sets = {frozenset(episode.supports[0]) for episode in record.manifest.episodes}
        assert len(sets) <= different
        assert (
            f"5 draws have {len(sets)} different set" in out and "too few for an interval that holds for other" in out
        )
    assert plain_interval(record.episodes, 5)[0] == pytest.approx(found["value"])


def test_every_draw_asks_the_same_first_queries_if_fewer_are_asked(one_fold, command, tmp_path):
    bench(command, one_fold, tmp_path / "runs", "--episodes", 12)
    _, out, _ = command("table", tmp_path / "runs", "--all")
    (record,) = find_records(tmp_path / "runs")
    assert record.header.protocol_entries["run_lengths"] == [2] * 5 and record.header.requested == 10
    assert [one.query for one in record.manifest.episodes] == ["image_024", "image_025"] * 5
    assert "each draw asks the same first 2 of 24 images" in " ".join(out.split())
    assert "episodes is 3, and each of the 5 sets of supports" in fails(command, one_fold, tmp_path, "--episodes", 3)


def test_a_class_that_no_query_shows_leaves_the_mean_and_is_named(one_fold, command, tmp_path):
    root = copy(one_fold, tmp_path / "absent")
    data, val = Folder(str(root)), root / "ImageSets/Segmentation/val.txt"
    data.count_pixels("val", data.candidates("val"))
    kept = [name for name in data.candidates("val") if not data.class_pixels(name)[0].get(6)]
    val.write_text("\n".join(kept))
    out = bench(command, root, tmp_path / "runs")
    assert f"no query shows {data.name_of(6)}, which leaves the mean over classes" in " ".join(out.split())
    (record,) = find_records(tmp_path / "runs")
    theta, _, _ = plain_interval(record.episodes, 5)
    found = row(tmp_path / "runs", "all", command)
    assert found["value"] == pytest.approx(theta, abs=1e-6)


def test_draws_and_nested_shots_are_refused_before_anything_is_evaluated(one_fold, command, tmp_path):
    for option in (("--draws", 3), ("--nested-in", 5)):
        assert "has 5 draws of it already" in fails(command, one_fold, tmp_path, *option)
    assert "lower --shot, or add images" in fails(command, one_fold, tmp_path, "--shot", 20)


def test_a_kit_and_masks_of_another_program_give_the_value_that_evaluate_gives(one_fold, command, tmp_path):
    asked = ["folder", "--data-root", one_fold, "--protocol", "fixed_supports", "--shot", 2]
    status, _, err = command("kit", *asked, "--out", tmp_path / "kit")
    assert (status, "6-way" in err) == (0, False), err
    test = load_kit_test(read_kit(tmp_path / "kit"), root=str(one_fold))

    def half(episode) -> np.ndarray:
        """Right in the first draw, and on every second row in others; squares, in which the protocol counts."""
        found = test.manifest.episodes[test.places[episode.number]]
        mask = resize_labels(way_labels(test.data.label_map(found.query), found.classes), 64, 64)
        mask = np.where(mask == 255, 0, mask)
        mask[1::2] *= episode.number < 24
        return mask

    with Answers(tmp_path / "masks", tmp_path / "kit") as answers:
        for episode in test:
            answers.add(episode.number, half(episode))
    out = ["--kit", tmp_path / "kit", "--data-root", one_fold, "--runs", tmp_path / "runs", "--name", "other"]
    status, out, err = command("score", tmp_path / "masks", *out)
    assert status == 0, err
    (record,) = find_records(tmp_path / "runs")
    theta, by_draw, _ = plain_interval(record.episodes, 5)
    found = row(tmp_path / "runs", "all", command)
    assert found["value"] == pytest.approx(theta, abs=1e-6)
    loaded = load_test("folder", protocol="fixed_supports", shot=2, root=one_fold, image_size=64)
    result = evaluate(half, loaded, name="other", runs=tmp_path / "evaluated", progress=False)
    assert result.scores["mIoU-by-draw"] == theta_of(tmp_path / "evaluated") == pytest.approx(theta)
    assert by_draw[0] == 100.0 and by_draw[1] < 60


def test_two_methods_are_compared_draw_by_draw(blocks_folder, command, tmp_path):
    root = copy(blocks_folder, tmp_path / "two", folds="[[1, 2]]")
    for theta in (0.5, 0.9):
        bench(command, root, tmp_path / "runs", f"--model.theta={theta}", "--model.gate=true")
    status, out, err = command("compare", tmp_path / "runs", "--format", "json")
    assert status == 0, err
    (found,) = json.loads(out)[0]["tables"]["all"]["mIoU-by-draw"]
    found = found["difference"]["difference"]
    one, other = find_records(tmp_path / "runs")
    plain = plain_difference(one.episodes, other.episodes, 5)
    assert (abs(found["value"]), found["high"] - found["low"]) == pytest.approx(plain, abs=1e-6)
    assert found["scope"] == "images"


def test_images_that_are_supports_leave_the_queries_of_a_folder_with_one_list(blocks_folder, command, tmp_path):
    root = copy(blocks_folder, tmp_path / "one", one_list=True)
    status, out, err = command("data", "check", "folder", "--root", root)
    assert status == 0 and "one list serves tests with a fixed support set" in " ".join(out.split()), out + err
    out = bench(command, root, tmp_path / "runs")
    (record,) = find_records(tmp_path / "runs")
    by_draw = record.header.protocol_entries["run_lengths"]
    supports = {name for episode in record.manifest.episodes for way in episode.supports for name in way}
    queries = {episode.query for episode in record.manifest.episodes}
    assert not supports & queries and len(supports | queries) == 48 and len(queries) >= 24
    few = f"{number_of(len(by_draw), 'draw')} of supports instead of 5" in out
    assert few == (len(by_draw) < 5)
    out = bench(command, root, tmp_path / "more", "--shot", 3)
    (record,) = find_records(tmp_path / "more")
    lengths = record.header.protocol_entries["run_lengths"]
    assert len(lengths) < 5 and f"{number_of(len(lengths), 'draw')} of supports instead of 5" in " ".join(out.split())


def test_named_supports_and_groups_of_a_folder(blocks_folder, command, tmp_path):
    named = "supports: [[image_000.jpg, image_001.jpg], [image_002, image_003]]\ngroups: '^image_(..)'"
    root = copy(blocks_folder, tmp_path / "named", one_list=True, more=named)
    out = bench(command, root, tmp_path / "runs")
    assert "names sets of 2 supports: the test is 2-shot" in out
    assert "2 named images ·" in out and "2 sets of supports, 38 images asked" in out and "no support shows" in out
    (record,) = find_records(tmp_path / "runs")
    sets = [{name for way in e.supports for name in way} for e in record.manifest.episodes]
    assert sets[0] == {"image_000", "image_001"} and sets[-1] == {"image_002", "image_003"}
    assert {e.query for e in record.manifest.episodes} == {f"image_{n:03d}" for n in range(10, 48)}
    first = record.manifest.episodes[0]
    lacking = [number for number, own in zip(first.classes, first.supports, strict=True) if not own]
    counted = record.episodes.filter((pl.col("episode") < 38) & pl.col("class_id").is_in(lacking))
    assert lacking and counted["pred"].sum() == 0 and not counted["decided"].any()
    assert row(tmp_path / "runs", "all", command)["scope"] == "these supports"
    entries = record.header.protocol_entries
    shown = {c for e in record.manifest.episodes[:38] for c, own in zip(e.classes, e.supports, strict=True) if own}
    other = {c for e in record.manifest.episodes[38:] for c, own in zip(e.classes, e.supports, strict=True) if own}
    assert entries["unshown_classes"] == {
        str(c): (c not in shown) + (c not in other) for c in first.classes if not (c in shown and c in other)
    }
    assert entries["named_supports"] is True and entries["one_list"] == 48


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("supports: []", "supports is [], expected a list of one or more"),
        ("supports: [[image_000], []]", "supports[1] is [], expected a list of one or more"),
        ("supports: [image_000, image_000.jpg]", "has image_000 twice in one list"),
        ("supports: [[image_000, image_001], [image_001.png, image_000]]", "the set image_000, image_001 twice"),
        ("groups: {a: [image_024, imagine_025]}", "has imagine_025 in no list of images"),
        ("groups: '^image_(9)?'", "which the image image_0"),
        ("train: nolist.txt", "nolist.txt"),
        ("supports: [[image_000], [image_001, image_002]]", "sets of 1 and 2 images; expected equally many"),
        ("supports: [image_999]", "blocks names the support image_999, which is in no list of images"),
        ("groups: '['", "groups is '['"),
        ("groups: [[image_000], [image_000]]", "has image_000 in two groups"),
        ("groups: '^imagination(.)'", "which the image image_0"),
    ],
)
def test_wrong_sets_and_groups_are_refused(blocks_folder, command, tmp_path, more, message):
    assert message in fails(command, copy(blocks_folder, tmp_path / "wrong", more=more), tmp_path)


GUIDE = REPOSITORY / "docs/guides/how-well-on-my-images.md"


def run_guide(command, folder: Path, monkeypatch) -> list[str]:
    """Type the commands of the guide beside a folder `my/photos`, with the demo's network and small images."""
    monkeypatch.chdir(folder)
    printed = []
    for one in commands(GUIDE):
        if one.mention or one.words[0] != "fsbench":
            continue
        small = ["--backbone", "demo", "--image-size", 64, "--data.loading.workers=0"] * (one.words[1] == "bench")
        words = [word.replace("1,2,5,10", "1,2") for word in one.words[1:]]  # the folders are small
        status, out, err = command(*words, *small)
        assert status == 0, f"{one.text}: {err}"
        printed.append(out)
    return printed


@pytest.mark.slow(60)
def test_the_guide_on_a_drawn_folder(one_fold, command, monkeypatch, tmp_path):
    (tmp_path / "my").mkdir()
    (tmp_path / "my/photos").symlink_to(one_fold)
    _, first, *_, curve, kit = run_guide(command, tmp_path, monkeypatch)
    assert "sd of 5" in first and "draws share images" in " ".join(first.split()), first
    assert (tmp_path / "kit").is_dir(), kit
    assert "each draw with more shots has the supports of the draw with fewer" in curve
    assert "each point minus the one before it" in curve  # which have the same queries


@pytest.mark.slow(90)
def test_the_guide_on_real_photos(real_data, command, monkeypatch, tmp_path):
    root = tmp_path / "my/photos"
    root.mkdir(parents=True)
    for name in ("JPEGImages", "SegmentationClassAug"):
        (root / name).symlink_to(real_data / "voc-mini" / name)
    names = sorted(path.stem for path in (root / "SegmentationClassAug").glob("*.png"))[:60]
    save_names(root, train=names[:40], val=names[40:])
    classes = dict(enumerate(Pascal.class_names, start=1))
    (root / "folds.yaml").write_text(
        f"name: photos\nclasses: {json.dumps(classes)}\nfolds: [[person]]\n".replace('"', "")
    )
    _, first, *_ = run_guide(command, tmp_path, monkeypatch)
    assert "1 class, 2 labelled images in all" in first and "20 images asked" in first
