"""Runs of one method that differ in the fold only are one row; others stand apart, told by their settings."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from fsbench.base.errors import RecordError
from fsbench.protocols.reading import load_protocol
from fsbench.records.grouping import comparable, variants
from fsbench.records.record import Record
from tests.fsbench.runs import changed, some_header, some_run


def record(identity: dict[str, Any], **header: Any) -> Record:
    """Return a run of which nothing is written."""
    made = Record(Path("run"), some_run(identity))
    made.__dict__["header"] = some_header(**{"class_ids": [header.get("fold", 0) + 1]} | header)
    return made


def test_tests_stand_by_ways_and_shots_as_numbers():
    tests = [("b", 1, 1), ("a", 1, 10), ("a", 1, 1), ("a", 10, 1), ("b", 1, 5), ("a", 1, 5), ("a", 2, 1)]
    records = [
        record({"manifest_sha256": str(number)}, dataset=dataset, way=way, shot=shot)
        for number, (dataset, way, shot) in enumerate(tests)
    ]
    headers = [group[0].header for group in comparable(records)]
    assert [(header.dataset, header.way, header.shot) for header in headers] == [
        ("b", 1, 1), ("b", 1, 5), ("a", 1, 1), ("a", 1, 5), ("a", 1, 10), ("a", 2, 1), ("a", 10, 1),
    ]  # fmt: skip


def test_folds_of_a_test_of_every_image_are_one_test_and_a_trial_is_another():
    """As of iSAID-5i, whose folds have lists of other lengths."""
    whole, trial = [], []
    for fold, count in enumerate((33, 20, 41)):
        for runs, asked in ((whole, count), (trial, 5)):
            identity = {"manifest_sha256": f"{asked} {fold}"}
            runs.append(record(identity, fold=fold, folds=3, requested=asked, official_episodes=count))
    assert comparable([*whole, *trial]) == [whole, trial]


@pytest.mark.parametrize(
    ("one", "other", "joined"),
    [
        ({"own_list": True}, {"own_list": True}, True),
        ({"own_list": True}, {}, False),
        ({"own_list": True}, {"selection": {"name": "hard"}}, False),
        ({"selection": {"name": "hard", "of": "0"}}, {"selection": {"name": "hard", "of": "1"}}, True),
        ({"selection": {"name": "hard"}}, {"selection": {"name": "easy"}}, False),
        ({"selection": {}}, {}, False),
    ],
)
def test_folds_are_joined_where_both_are_of_one_kind_of_episodes(one, other, joined):
    """Episodes of the protocol, of a list of one's own and of a choice have a mean among their own kind alone."""
    folds = [record({"manifest_sha256": str(fold)}, fold=fold, **entries) for fold, entries in enumerate((one, other))]
    assert comparable(folds) == ([folds] if joined else [[folds[0]], [folds[1]]])


def test_folds_that_share_a_class_are_no_folds():
    folds = [record({"manifest_sha256": str(fold)}, fold=fold, class_ids=[fold + 1, 3]) for fold in (0, 1)]
    with pytest.raises(RecordError, match="class 3"):
        comparable(folds)
    base = [record({"manifest_sha256": str(fold)}, fold=fold, classes="base", class_ids=[3]) for fold in (0, 1)]
    assert comparable(base) == [base]


def test_a_title_tells_no_folds_number_as_that_of_all():
    whole = {"folds": 3, "requested": 33, "official_episodes": 33}
    assert load_protocol("isaid").title(some_header(**whole)).endswith("all episodes a fold")
    assert load_protocol("isaid").title(some_header(**whole | {"requested": 5})).endswith("5 episodes a fold")
    assert load_protocol("hsnet").title(some_header(**whole)).endswith("33 episodes a fold")


def of_file(folder: Path, content: str, fold: int = 0, part: str = "method", **entries: Any) -> Record:
    """Return a run whose method or data set is a class of the file `folder`/knn.py, which held `content`."""
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    identity = {"method": {"name": "knn"}, "dataset": {"name": "d"}, "fold": fold, "manifest_sha256": f"{fold}"}
    identity[part] = identity[part] | {"file_sha256": sha256}
    run = folder / f"{content}{fold}"
    run.mkdir(exist_ok=True)
    (run / "config.yaml").write_text(f"run: {{{part}_file: '{folder / 'knn.py'}#sha256={sha256}'}}")
    made = Record(run, some_run(identity, id=f"run-{content}{fold}", **entries))
    made.__dict__["header"] = some_header(class_ids=[fold + 1], fold=fold)
    return made


def at(clock: str) -> dict[str, Any]:
    """Return the entries of a run that was finished at this time of this place."""
    return {"provenance": {"finished": f"2020-11-28T{clock}"}}


@pytest.mark.parametrize(("part", "lead"), [("method", ""), ("dataset", "knn.py ")])
def test_two_versions_of_a_file_are_told_by_what_it_holds_now_and_by_their_time(tmp_path, part, lead):
    old, new = (
        [of_file(tmp_path, content, fold, part, **at(clock)) for fold in (0, 1)]
        for content, clock in (("before", "10:49:03"), ("after", "10:49:59"))
    )
    assert variants(old) == {"knn": old}
    gone = {f"knn ({lead}of 28 Nov 2020, 10:49:59)": new, f"knn ({lead}of 28 Nov 2020, 10:49:03)": old}
    assert variants([*old, *new]) == gone
    (tmp_path / "knn.py").write_text("before")
    assert variants([*old, *new]).keys() == {"knn (knn.py as it is now)", f"knn ({lead}of 28 Nov 2020, 10:49:59)"}


def test_the_newest_version_comes_first_and_a_label_stands_in_place_of_its_time(tmp_path):
    old = of_file(tmp_path, "before", label="one neighbour", **at("10:49:03"))
    new = of_file(tmp_path, "after", **at("10:50:59"))
    assert [*variants([old, new])] == ["knn (of 28 Nov 2020, 10:50)", "knn (one neighbour)"]
    named = [of_file(tmp_path, "after", fold, label="b") for fold in (0, 1)]
    assert variants(named) == {"knn (b)": named}
    same = [of_file(tmp_path, content, label="same") for content in ("before", "after")]
    hashes = [record.flat_identity["method.file_sha256"][:12] for record in same]
    assert variants(same).keys() == {f"knn ({digits}, same)" for digits in hashes}


def trained(training: dict[str, Any], number: int = 0, **entries: Any) -> Record:
    """Return a run with these settings of its training."""
    identity = {"manifest_sha256": "0", "training": {"max_epochs": 1} | training} | entries.pop("identity", {})
    made = Record(Path("run"), some_run(identity, id=f"run-{number:010d}", **entries))
    made.__dict__["header"] = some_header(class_ids=[1])
    return made


def made_of(class_path: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": class_path, "init_args": arguments}


SGD = {"optimizer": made_of("torch.optim.SGD", lr=0.1, momentum=0.0, nesterov=False)}


@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        ([{}, {"gradient_clip_val": 0.5}], ["m", "m (gradient_clip_val 0.5)"]),
        ([{}, SGD], ["m", "m (optimizer SGD, lr 0.1)"]),
        (
            [SGD, {"optimizer": made_of("torch.optim.Adam", lr=0.1, eps=1e-8)}],
            ["m (optimizer SGD, lr 0.1)", "m (optimizer Adam, lr 0.1)"],
        ),
        (
            [{"optimizer": made_of(f"{place}.AdamW", lr=0.1)} for place in ("torch.optim", "timm.optim")],
            ["m (optimizer torch.optim.AdamW, lr 0.1)", "m (optimizer timm.optim.AdamW, lr 0.1)"],
        ),
        (
            [{"callbacks": [made_of("x.Timer", duration=first), made_of("x.Timer", duration=3)]} for first in (1, 2)],
            ["m (duration 1)", "m (duration 2)"],
        ),
        (
            [
                SGD | {"lr_scheduler": made_of("x.Step", lr=1)},
                {"optimizer": made_of("torch.optim.SGD", lr=0.2), "lr_scheduler": made_of("x.Step", lr=2)},
            ],
            ["m (lr_scheduler lr 1, optimizer lr 0.1)", "m (lr_scheduler lr 2, optimizer lr 0.2)"],
        ),
        (
            [{}, {"callbacks": [made_of("x.Swa", swa_lrs=0.01), made_of("x.Timer", duration=9)]}],
            ["m", "m (swa_lrs 0.01, duration 9, callbacks Swa + Timer)"],
        ),
        ([{}, {"division": {"processes": 2}}], ["m", "m (processes 2)"]),
    ],
)  # fmt: skip
def test_labels_name_the_settings_of_the_training_that_differ(settings, labels):
    runs = [trained(own, number) for number, own in enumerate(settings)]
    assert variants(runs) == {label: [run] for label, run in zip(labels, runs, strict=True)}


def test_labels_name_other_entries_of_the_identity_that_one_run_lacks_but_no_settings_of_a_training():
    weak = trained({}, identity={"support_annotation": "box", "tf32": True})
    assert variants([trained({}), weak]).keys() == {"m", "m (support_annotation box, tf32 True)"}
    own = trained({}, identity={"own_modules": {"parts": "0123456789ab"}})
    assert variants([trained({}), own]).keys() == {"m", "m (parts 0123456789ab)"}
    other = changed(trained({}), {"training": {"checkpoint_sha256": "ab" * 32}})
    assert variants([trained({"gradient_clip_val": 0.5}), other]).keys() == {
        "m (weights from training)", "m (weights from checkpoint)",
    }  # fmt: skip


def test_what_no_setting_tells_is_told_by_numbers_or_by_the_hash_that_differs():
    def validated(sha256, episodes=None):
        made = {"validation_episodes": episodes}
        return trained({"validation_sha256": sha256 * 64}, number=int(sha256, 16), made=made)

    counted, hashed = [validated("a", 20), validated("b", 10)], [validated("a"), validated("b")]
    assert variants(counted).keys() == {"m (validation_episodes 20)", "m (validation_episodes 10)"}
    assert variants(hashed).keys() == {f"m (validation {digit * 10})" for digit in "ab"}
    assert variants([trained({}, 1), trained({}, 2)]).keys() == {"m (0000000001)", "m (0000000002)"}


def test_a_method_with_the_name_of_a_line_of_ours_is_quoted():
    for name in ("(best without a model)", "m [handed in]", "m — mean", "a\nb", " m"):
        assert list(variants([record({"method": {"name": name}})])) == [f"'{name}'"]
