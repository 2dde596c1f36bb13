"""Differences that follow from the protocol alone, against plain counting on small runs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.protocols import finished, in_domain, single_run
from benchmarks.protocols.__main__ import main
from benchmarks.protocols.finished import (
    TABLES,
    episodes_table,
    methods_table,
    object_pixels,
    precision_table,
    training_table,
    void_table,
    write_tables,
)
from benchmarks.protocols.in_domain import check_saw_classes, forget_classes
from benchmarks.protocols.page import PAGE, RESULTS
from benchmarks.speed.table import BLOCK, filled, tables
from fsbench.base.errors import SettingsError
from fsbench.datamodules.datasets.folder import Folder
from fsbench.protocols.registry import protocol_names
from fsbench.records.record import Record
from fsbench.records.run import OTHER_RUN
from fsbench.runner.engine.checkpoint import TRAINED_ON
from fsbench.scores.estimate import estimates
from tests.fsbench.runs import changed

TRAINED = {"max_epochs": 3, "validation": "base"}


def of_another_fold(record: Record) -> Record:
    """Return the record with the weights of a training that saw the test's classes, with a card that says so."""
    (record.path / "card.yaml").write_text("novel_pixels: labelled\n")
    return changed(record, weights={"origin": OTHER_RUN, "training": None})


def test_the_page_equals_what_the_generator_writes_and_no_table_is_typed():
    page = PAGE.read_text()
    assert filled(page, RESULTS) == page and "\n|" not in BLOCK.sub("", page)
    shown = {match[1] for match in BLOCK.finditer(page)}
    assert shown == set(tables(RESULTS)) - {"gpu"}
    assert {re.sub("^(photos|canvas-protocol)-", "", name) for name in shown} == {*TABLES, "filter"}


def test_the_first_episodes_are_those_of_a_shorter_run(make, monkeypatch):
    monkeypatch.setattr(finished, "NUMBERS", (8, 24, 1000))
    record = make("m", 0, quality=2)
    columns, rows = episodes_table([record])
    assert [row[3] for row in rows] == ["8", "24"]
    whole = estimates([record.protocol.statistics(record.episodes, record.header)])["mIoU"]
    assert rows[1][5] == f"{whole.value:.1f} [{whole.low:.1f}, {whole.high:.1f}]"
    assert rows[1][6] == f"{whole.high - whole.low:.2f}"
    assert len(columns) == len(rows[0]) and rows[0][5].endswith(" images)") and rows[0][6] == "–"  # too few


def test_void_pixels_count_by_both_rules(make):
    record = make("m", 0, quality=2, spill=True)
    columns, ((*_, ignored, background, change),) = void_table([record])
    assert columns[3:] == ["void left out", "void is background", "difference"]
    ways = record.episodes.filter(record.episodes["slot"] > 0)
    plain = []
    for more in (0, 1):
        union = ways["pred"] + ways["gt"] - ways["tp"] + more * ways["pred_void"]
        sums = ways.select("class_id", "tp", union.alias("union")).group_by("class_id").sum()
        shares = {number: tp / of for number, tp, of in sums.select("class_id", "tp", "union").iter_rows()}
        plain.append(100 * sum(shares.values()) / len(record.manifest.class_ids))
    assert ignored.startswith(f"{plain[0]:.1f} [") and background.startswith(f"{plain[1]:.1f} [")
    assert change.startswith(f"{plain[1] - plain[0]:+.1f} [") and plain[1] < plain[0]


def test_a_row_of_a_method_says_what_it_saw(make):
    columns, rows = methods_table([make("a", 0), make("b", 0, 2, weights="random (seed 0)", training=TRAINED)])
    assert columns[2:5] == ["fscs: mIoU", "fscs: FB-IoU", "fscs: s an episode"]
    test = "blocks, 1 of 2 folds (0), 1-way 1-shot, 24 episodes a fold"
    assert [[*row[:2], *row[5:]] for row in rows] == [
        ["a", test, "unknown", "nothing"],
        ["b", test, "none: random weights", "base classes of the same fold, by protocol fscs"],
    ]


def test_folds_are_averaged_and_other_shots_have_rows_of_their_own(make):
    folds = [make("m", fold, quality, training=TRAINED) for fold, quality in ((0, 1), (1, 3))]
    _, rows = methods_table([*folds, make("m", 0, 2, shot=2, training=TRAINED)])
    both = estimates([record.protocol.statistics(record.episodes, record.header) for record in folds])["mIoU"]
    assert [row[1] for row in rows] == [
        "blocks, 2 of 2 folds (0, 1), 1-way 1-shot, 24 episodes a fold",
        "blocks, 1 of 2 folds (0), 1-way 2-shot, 24 episodes a fold",
    ]
    assert rows[0][2] == f"{both.value:.1f} [{both.low:.1f}, {both.high:.1f}]" != rows[1][2]


def test_other_episodes_of_the_same_test_are_not_mixed(make):
    strict, other = make("m", 0), make("m", 0, 3, allow_background_queries=False)
    for records in ([strict, other], [other, strict]):
        _, rows = methods_table(records)
        expected = [estimates([r.protocol.statistics(r.episodes, r.header)])["mIoU"].value for r in records]
        assert [row[2].split()[0] for row in rows] == [f"{value:.1f}" for value in expected]


def of_backbone(record, name, protocol="fscs", image_size=417, **settings):
    """`record` as of another backbone, protocol, image size and settings of its method."""
    method, backbone = (part.as_json() for part in (record.run.identity.method, record.run.identity.backbone))
    identity = {"image_size": image_size, "method": method | settings, "backbone": backbone | {"name": name}}
    other = changed(record, identity)
    other.__dict__["header"] = record.header.model_copy(update={"protocol": protocol})
    return other


def test_a_method_with_two_backbones_has_a_row_for_each_under_every_protocol(make):
    """Also where one protocol has one of them: the words that tell them apart are the same; an image size that differs
    from protocol to protocol alone is not told, and what is missing is a dash."""
    records = [
        of_backbone(make("m", 0, 1), "small"),
        of_backbone(make("m", 0, 2), "large"),
        of_backbone(make("m", 0, 3), "large", "hsnet", image_size=473),
        of_backbone(make("n", 0, 1), "small"),
        of_backbone(make("n", 1, 1), "small", "hsnet"),
    ]
    value = [f"{estimates([r.protocol.statistics(r.episodes, r.header)])['mIoU'].value:.1f}" for r in records]
    columns, rows = methods_table(records)
    assert [columns[2], columns[5]] == ["fscs: mIoU", "hsnet: mIoU"]
    assert [(row[0], row[2].split()[0], row[5].split()[0]) for row in rows] == [
        ("m (name small)", value[0], "–"),
        ("m (name large)", value[1], value[2]),
        ("n", value[3], "–"),  # without a fold in common
        ("n", "–", value[4]),
    ]
    assert [row[1].split(", ")[1] for row in rows[2:]] == ["1 of 2 folds (0)", "1 of 2 folds (1)"]


def test_weights_of_one_fold_are_told_by_their_hashes_under_every_protocol(make):
    """Two checkpoints of one method, each under two protocols: two rows."""
    records = [
        of_backbone(make("m", 0, quality, training={"checkpoint_sha256": sha256 * 64}), "b", protocol)
        for protocol in ("fscs", "hsnet")
        for quality, sha256 in ((1, "a"), (3, "c"))
    ]
    _, rows = methods_table(records)
    assert [row[0] for row in rows] == ["m (weights aaaaaaaaaa)", "m (weights cccccccccc)"]
    assert all("–" not in row and row[2] == row[5] for row in rows) and rows[0][2] != rows[1][2]


@pytest.mark.parametrize(
    ("fscs", "hsnet", "words"),
    [
        ({"name": "small"}, {"name": "large"}, ("name small", "name large")),
        ({"name": "b", "size": 1}, {"name": "b", "size": 2}, ("size 1", "size 2")),
        ({"name": "b"}, {"name": "b", "nshot_strategy": "vote"}, ("", "nshot_strategy vote")),
    ],
)
def test_variants_that_two_protocols_have_one_each_of_are_two_rows(make, fscs, hsnet, words):
    _, rows = methods_table([of_backbone(make("m", 0), **fscs), of_backbone(make("m", 0), protocol="hsnet", **hsnet)])
    assert [(row[0], row[2] == "–", row[5] == "–") for row in rows] == [
        (f"m ({word})" if word else "m", column == 1, column == 0) for column, word in enumerate(words)
    ]


def of_weights(make, fold, sha256, protocol, **settings):
    """A run of the checkpoint whose hash has this one digit."""
    return of_backbone(
        make("m", fold, "acde".index(sha256) + 1, training={"checkpoint_sha256": sha256 * 64}, **settings),
        "b", protocol,
    )  # fmt: skip


def test_a_checkpoint_has_one_name_also_where_a_protocol_has_no_other(make):
    records = [of_weights(make, 0, *of) for of in (("a", "fscs"), ("c", "fscs"), ("a", "hsnet"))]
    _, rows = methods_table(records)
    assert [(row[0], row[5] == "–") for row in rows] == [
        ("m (weights aaaaaaaaaa)", False),
        ("m (weights cccccccccc)", True),
    ]
    _, rows = methods_table([records[1], records[2]])
    assert [(row[0], row[2] == "–", row[5] == "–") for row in rows] == [
        ("m (weights cccccccccc)", False, True), ("m (weights aaaaaaaaaa)", True, False)
    ]  # fmt: skip


def test_checkpoints_of_several_folds_stay_together(make):
    """Two checkpoints, each for two folds, under two protocols: two rows. A checkpoint for each fold is one row, and so
    are those of another number of shots."""
    records = [
        of_weights(make, fold, sha256, protocol)
        for protocol in ("fscs", "hsnet")
        for fold in (0, 1)
        for sha256 in ("a", "c")
    ]
    _, rows = methods_table(records)
    assert [row[0] for row in rows] == ["m (weights aaaaaaaaaa)", "m (weights cccccccccc)"]
    assert all("2 of 2 folds" in row[1] and "–" not in row for row in rows)
    assert len(set(finished.labels(records).values())) == 2
    own = [
        of_weights(make, fold, "acde"[fold + 2 * (shot > 1)], protocol, shot=shot)
        for protocol in ("fscs", "hsnet")
        for fold in (0, 1)
        for shot in (1, 2)
    ]
    _, rows = methods_table(own)
    assert [row[0] for row in rows] == ["m", "m"] and all("2 of 2 folds" in row[1] for row in rows)


def test_checkpoints_of_folds_stay_together_where_another_protocol_has_others(make):
    shown = [("fscs", 0, "a", 1), ("fscs", 1, "c", 1), ("hsnet", 0, "d", 1), ("fscs", 0, "e", 2), ("fscs", 1, "a", 2)]
    records = [of_weights(make, fold, sha256, protocol, shot=shot) for protocol, fold, sha256, shot in shown]
    _, rows = methods_table(records)
    assert [row[0] for row in rows] == ["m (weights aaaaaaaaaa, weights cccccccccc)", "m", "m (weights dddddddddd)"]
    assert ["2 of 2 folds" in " ".join(row) for row in rows] == [True, True, False]


def test_pixels_of_an_object_are_counted_in_its_label_map(make):
    record = make("m", 0)
    label_map = np.zeros((4, 4), np.uint8)
    label_map[:3] = 1
    pixels = object_pixels(record, lambda episode: label_map if episode % 2 else label_map * 0)
    slots = record.episodes["slot"].to_numpy()
    assert set(pixels[slots == 0]) == {0}
    assert pixels[slots == 1].tolist() == [12 * (n % 2) for n in record.episodes["episode"].to_numpy()[slots == 1]]


def test_trainings_that_saw_the_classes_stand_beside_those_that_did_not(make):
    strict, seen = make("m", 0, quality=3, training=TRAINED), of_another_fold(make("m", 0, 1, training=TRAINED))
    _, rows = training_table([strict, seen])
    ((name, test, protocol, without, with_them, moved),) = rows
    assert (name, test, protocol) == ("m", "blocks fold 0, 1-way 1-shot", "fscs")
    assert float(with_them.split()[0]) > float(without.split()[0]) and moved.startswith("+")
    assert training_table([strict])[1] == []
    assert [row[0] for row in methods_table([strict, seen])[1]] == ["m"]


def test_every_training_stands_beside_those_of_the_same_backbone(make):
    """One with another backbone is no partner, and is not left out."""
    strict = [of_backbone(make("m", 0, 3, training=TRAINED), name) for name in ("small", "large")]
    seen = [
        of_another_fold(of_backbone(make("m", 0, 1, training=TRAINED), name)) for name in ("small", "large", "huge")
    ]
    _, rows = training_table([*seen, *strict])
    assert [(row[0], row[3] == "–", row[5] == "–") for row in rows] == [
        ("m (name huge), in domain", True, True), ("m (name large)", False, False), ("m (name small)", False, False)
    ]  # fmt: skip
    again = of_backbone(make("m", 0, 2, training={"checkpoint_sha256": "d" * 64}), "large")
    (again.path / "card.yaml").write_text("novel_pixels: labelled\n")
    _, rows = training_table([*seen, *strict, again])
    assert len(rows) == len({row[0] for row in rows}) == 4


def test_a_training_has_no_partner_of_another_image_size_or_precision(make):
    strict, *seen = (make("m", 0, quality, seed, training=TRAINED) for quality, seed in ((3, 0), (1, 1), (2, 1)))
    alike = {"image_size": 417, "precision": "32-true"}
    strict, seen = changed(strict, alike), [of_another_fold(record) for record in seen]
    for other in ({"image_size": 473, "precision": "32-true"}, {"image_size": 417, "precision": "16-mixed"}):
        _, rows = training_table([strict, changed(seen[0], alike), changed(seen[1], other)])
        assert sorted(row[3] == "–" for row in rows) == [False, True]


def test_a_narrow_network_stands_beside_the_same_run_in_fp32(make):
    backbone = {"name": "demo", "weights": "official"}
    wide = changed(make("m", 0, 1), {"backbone": backbone})
    narrow = changed(make("m", 0, 3), {"backbone": backbone | {"backbone_precision": "bf16"}})
    other = changed(make("m", 0, 3), {"backbone": {"name": "x", "weights": "w", "backbone_precision": "bf16"}})
    _, rows = precision_table([narrow, wide, other])
    ((_, test, protocol, fp32, precision, bf16, moved),) = rows
    assert (test, protocol, precision) == ("blocks fold 0, 1-way 1-shot", "fscs", "bf16")
    change = float(bf16) - float(fp32)
    assert change < 0 and abs(float(moved.split()[0]) - change) < 0.02
    assert precision_table([wide])[1] == []


def test_queries_with_a_small_object_are_left_out_and_in_domain_follows_its_method(make, monkeypatch):
    def truth(episode: int) -> np.ndarray:
        label_map = np.zeros((40, 40), np.uint8)
        label_map[: 30 if episode % 2 else 20] = 1  # 1200 or 800 pixels
        return label_map

    monkeypatch.setattr(finished, "Truths", lambda record: truth)
    other, strict = make("n", 0), make("m", 0, training=TRAINED)
    seen = of_another_fold(make("m", 0, quality=2, training=TRAINED))
    _, rows = finished.objects_table([other, seen, strict])
    assert [row[0] for row in rows] == ["m", "m, in domain", "n"]
    slots = strict.episodes.filter(strict.episodes["slot"] == 1)["episode"].to_list()
    shown, large = len(slots), sum(episode % 2 for episode in slots)
    assert rows[0][3].endswith(f" ({shown})") and rows[0][4].endswith(f" ({large})") and rows[0][5] == "– (0)"
    assert 0 < large < shown


def test_a_checkpoint_that_did_not_see_the_classes_of_the_test_is_not_in_domain(blocks_folder, tmp_path):
    """A checkpoint of the strict fold, of other data, or without its classes is refused in one line, before any run."""
    import torch

    checkpoint, runs = tmp_path / "best.ckpt", tmp_path / "runs"
    index = Folder(str(blocks_folder))
    seen = [index.class_names[number - 1] for number in index.train_classes(0)]
    data = ["--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={blocks_folder}"]
    given = ["--dataset", "demo", "--runs", str(runs), "--in-domain", f"--method=emat={checkpoint}"]
    own = {"dataset": "blocks", "fold": 0, "protocol": "fscs", "classes": seen}
    torch.save({"state_dict": {"w": torch.ones(1)}, TRAINED_ON: own}, checkpoint)
    with pytest.raises(
        SettingsError, match=r"best.ckpt was trained on fold 0 of blocks, which did not show it"
    ) as line:
        main([*given, "--", *data])
    assert "\n" not in str(line.value) and not list(runs.rglob("*"))
    with pytest.raises(
        SettingsError, match="c does not tell its classes; expected one that was trained on all classes"
    ):
        check_saw_classes("c", None, "blocks", 0, seen)
    with pytest.raises(SettingsError, match="c was trained on fold 0 of pascal; expected one that was trained on"):
        check_saw_classes("c", own | {"dataset": "pascal"}, "blocks", 1, seen)


def test_a_checkpoint_of_another_fold_is_tested_without_its_classes_and_its_card_says_so(
    blocks_folder, tmp_path, make, monkeypatch, capsys
):
    import torch

    index, asked = Folder(str(blocks_folder)), []
    record = changed(make("emat", 1), scores={"mIoU": 41.25})
    monkeypatch.setattr(in_domain, "bench", lambda request: asked.append(request) or ([record], []))
    seen = [index.class_names[number - 1] for number in index.train_classes(0)]
    told = {"dataset": "blocks", "fold": 0, "protocol": "fscs", "classes": seen}
    torch.save({"state_dict": {"w": torch.ones(1)}, TRAINED_ON: told}, tmp_path / "best.ckpt")
    data = ["--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={blocks_folder}"]
    place = ["--dataset", "demo", "--fold", "1", "--runs", str(tmp_path / "runs"), "--in-domain"]
    assert main([*place, f"--method=emat={tmp_path / 'best.ckpt'}", "--", *data]) == 0
    assert capsys.readouterr().out.strip().endswith(": mIoU 41.2, in domain")
    assert (record.path / "card.yaml").read_text().startswith("novel_pixels: labelled")
    assert torch.load(asked[0].checkpoint, weights_only=True).keys() == {"state_dict"}


def test_every_protocol_is_a_condition(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(single_run, "bench", lambda request: asked.append(request) or ([], ["no data here"]))
    assert main(["--dataset", "demo", "--method", "prototype"]) == 0
    assert {request.protocol for request in asked} == set(protocol_names()) - {
        "incontext518",
        "sansa",
        "fssdino",
        "fort",
        "presence",
    }
    printed = capsys.readouterr().out
    assert "incontext, original, 1-way 5-shot: no data here" in printed


def test_a_copy_of_a_checkpoint_forgets_its_classes_alone(tmp_path):
    import torch

    content = {"state_dict": {"w": torch.ones(1)}, TRAINED_ON: {"classes": ["a"]}, "epoch": 3}
    torch.save(content, tmp_path / "best.ckpt")
    copy = torch.load(forget_classes(tmp_path / "best.ckpt", tmp_path / "in-domain" / "m.ckpt"), weights_only=True)
    assert copy.keys() == {"state_dict", "epoch"} and torch.equal(copy["state_dict"]["w"], torch.ones(1))


def test_tables_are_written_as_the_pages_take_them(make, tmp_path, monkeypatch):
    monkeypatch.setattr(finished, "TABLES", {"methods": methods_table, "training": training_table})
    make("a", 0)
    printed = write_tables([tmp_path], "Made here.", tmp_path / "tables.json")
    content = json.loads((tmp_path / "tables.json").read_text())
    assert content["origin"] == "Made here." and list(content["tables"]) == ["methods"]
    assert content["tables"]["methods"]["rows"][0][0] == "a" and "| a |" in printed
    monkeypatch.setattr(finished, "TABLES", {"methods": methods_table, "objects": methods_table})
    write_tables([tmp_path], "Made here.", tmp_path / "tables.json", only=["objects"], prefix="photos-")
    assert list(json.loads((tmp_path / "tables.json").read_text())["tables"]) == ["photos-objects"]


def test_a_run_that_two_folders_hold_stands_once(make, tmp_path, monkeypatch):
    monkeypatch.setattr(finished, "TABLES", {"methods": lambda records: (["run"], [[r.path.name] for r in records])})
    record, long = make("a", 0), make("b", 0, 2)
    monkeypatch.chdir(tmp_path)
    printed = write_tables([tmp_path, Path(), record.path, Path(long.path.name)], "Made here.", None)
    assert [line for line in printed.splitlines() if "| " in line][2:] == [
        f"| {name} |" for name in sorted([record.path.name, long.path.name])
    ]


def test_what_is_missing_is_said(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--method", "prototype"])
    assert "expected --dataset and --method, --across-domains and --method, or" in capsys.readouterr().err
    with pytest.raises(SettingsError, match="no finished runs of segmentation in"):
        main(["--from-runs", str(tmp_path)])
    with pytest.raises(SettingsError, match="expected prototype=CHECKPOINT of another fold"):
        main(["--dataset", "demo", "--method", "prototype", "--in-domain"])
