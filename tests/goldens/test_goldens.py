"""Our numbers against the authors', and the command that holds them together."""

import importlib
import json
import os
import pkgutil
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fsbench.protocols.programs import read_programs
from tests.goldens import kinds
from tests.goldens.__main__ import main
from tests.goldens.cases import Case, Skipped, find_cases, official_lists
from tests.goldens.checks import check_all
from tests.goldens.gaps import read_gaps, unlisted_gaps
from tests.goldens.harness import run

HERE = Path(__file__).parent
CASES = list(find_cases(HERE, None, None, official_lists(None)))
COMPLETE = [
    case
    for folder in filter(None, [os.environ.get("FSBENCH_GOLDENS")])
    for case in find_cases(Path(folder), None, None, official_lists(None))
]
"""All goldens, where they are at hand; none where they are not."""
SLOW = {
    "abcdfss": "adapt_1shot_every",
    "alpnet": "forward_small_organ_2shot train_steps evaluation_chaost2_fold4 evaluation_sabs",
    "atlas_runs": "episodes_panet_f0_k5_s1234 episodes_capl_f0_k5_s123 episodes_fptrans_f0_k5_w4 "
    "episodes_vat_coco_f0_k5_w0_b1_s0 episodes_ppnet_f0_k5_s1234 episodes_fssam2_coco_f1_k5_w0_b1_s42 "
    "episodes_msdnet_coco_f0_k5_w0_b1_s0 "
    "episodes_repri_f0_k1_w3_np1_run1 episodes_repri_f0_k1_w3_np0_run0",
    "bam": "true_resnet50",
    "dcama": "pe features_swinb_true features_resnet50 head_true_swinb_1shot e2e_resnet50_1shot train_steps",
    "emat": "episodes_official_lists episodes_coco",
    "fort": "true_vit_b16",
    "ifa": "train_ifa_5shot forward_eval_5shot bfp_1shot",
    "incontext": "paco_3shot log_classes_coco",
    "insid3_released": "factors_large",
    "patnet": "finetune_vgg_2shot",
    "persam": "tuning_1 tuning_2",
    "pfenet": "train_step_decay_vgg16",
    "protocols": "official_episodes_coco_fold0_1shot",
    "pspnet_training": "step_vgg16_coco",
    "sansa": "train_mask",
    "vrp_sam": "e2e_resnet_1shot",
}
"""Cases of more than a second, or beside a smaller one of their family."""


assert COMPLETE or "FSBENCH_GOLDENS" not in os.environ, "the folder FSBENCH_GOLDENS has no goldens"


def is_among_all(case: Case) -> bool:
    """Tell whether a case of the repository is checked with the complete goldens, which have the same one."""
    return any(
        (other.folder.name, other.entry) == (case.folder.name, case.entry)
        and (other.folder / other.entry["file"]).read_bytes() == (case.folder / case.entry["file"]).read_bytes()
        for other in COMPLETE
    )


def marked(case: Case) -> object:
    """A case as a parameter of a test, slow where it is."""
    name = case.entry["file"].partition(".")[0]
    slow = name in SLOW.get(case.folder.name, "").split()
    return pytest.param(case, id=f"{case.folder.name}/{name}", marks=[pytest.mark.slow] if slow else [])


@pytest.mark.slow(30)
@pytest.mark.parametrize("folder", sorted({case.folder for case in COMPLETE}), ids=lambda folder: folder.name)
def test_all_goldens_of_a_folder(folder):
    """Each has a check, but for the known gaps."""
    outcomes = list(check_all([case for case in COMPLETE if case.folder == folder], 1))
    wrong = [line for o in outcomes if o.verdict not in ("passed", "unknown") for line in [o.file, *o.lines]]
    assert not wrong, "\n".join(line for line in wrong if not line.endswith("  ok"))
    assert unlisted_gaps(outcomes, read_gaps(HERE / "known_gaps.yaml")) == []


@pytest.mark.parametrize("case", [marked(case) for case in CASES if not is_among_all(case)])
def test_golden(case):
    try:
        results = list(run(case))
    except Skipped as reason:
        pytest.skip(str(reason))
    assert results and [c for c in results if not c.passed] == []


def copy_case(folder: Path, file: str) -> dict:
    """A folder with one golden of the repository; returns its entry."""
    index = json.loads((HERE / "emat" / "index.json").read_text())
    index["cases"] = [entry for entry in index["cases"] if entry["file"] == file]
    shutil.copy(HERE / "emat" / file, folder / file)
    (folder / "index.json").write_text(json.dumps(index))
    return index["cases"][0]


def test_the_command_passes_a_folder(tmp_path, capsys):
    copy_case(tmp_path, "feed_forward_0.safetensors")
    assert main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "feed_forward_0.safetensors  out.y  abs " in printed and "1 of 1 cases passed" in printed


def test_the_command_takes_several_folders_behind_the_lists(tmp_path, capsys):
    folders_of_kinds(tmp_path, first="feed_forward", second="feed_forward")
    assert main(["--lists", str(tmp_path), str(tmp_path / "first"), str(tmp_path / "second")]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 of 2 cases passed")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"width": 3}, "config.width: not used"),
        ({"parts": {"width": 3}}, "config.parts: not used"),
        ({}, None),
    ],
)
def test_a_setting_that_the_check_does_not_use_fails(tmp_path, capsys, change, said):
    entry = copy_case(tmp_path, "feed_forward_0.safetensors")
    entry["config"] = entry["config"] | change
    (tmp_path / "index.json").write_text(json.dumps({"cases": [entry]}))
    assert main([str(tmp_path)]) == (said is not None)
    assert said is None or said in capsys.readouterr().out


def test_a_score_that_is_null_is_absent():
    (case,) = find_cases(HERE / "atlas_runs", "atlas_meter", "meter_capl.safetensors", None)
    every = {found.tensor for found in run(case)}
    known = case.entry["expected"]
    known["class_iou"][3], known["base_mIoU"] = None, None
    compared = list(run(Case(case.folder, case.entry)))
    assert all(found.passed for found in compared)
    assert every - {found.tensor for found in compared} == {"base_mIoU"}  # of the classes the others are compared


def test_a_wrong_number_fails_the_command(tmp_path, capsys):
    copy_case(tmp_path, "feed_forward_0.safetensors")
    tensors = load_file(tmp_path / "feed_forward_0.safetensors")
    tensors["out.y"][0, 0, 0, 0] += 1e-3
    save_file(tensors | {"mid.more": torch.zeros(2)}, tmp_path / "feed_forward_0.safetensors")
    assert main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "out.y  abs 1.00e-03" in printed and "mid.more: not checked" in printed


def test_an_unknown_kind_fails(tmp_path, capsys):
    entry = copy_case(tmp_path, "feed_forward_0.safetensors") | {"kind": "quantum"}
    (tmp_path / "index.json").write_text(json.dumps({"cases": [entry]}))
    assert main([str(tmp_path)]) == 1
    assert "unknown kind 'quantum'" in capsys.readouterr().out


def folders_of_kinds(folder: Path, **kinds: str) -> None:
    """Folders by name, each with one golden of the repository under this kind."""
    for name, kind in kinds.items():
        (folder / name).mkdir()
        entry = copy_case(folder / name, "feed_forward_0.safetensors") | {"kind": kind}
        (folder / name / "index.json").write_text(json.dumps({"cases": [entry]}))


def test_folders_of_unknown_kinds_are_named_and_passed_over(tmp_path, capsys):
    folders_of_kinds(tmp_path, known="feed_forward", other="quantum")
    assert main([str(tmp_path)]) == 1
    capsys.readouterr()
    assert main([str(tmp_path), "--pass-over-unknown"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "known  1 of 1 cases passed" in printed and "other  not known: quantum" in printed
    assert printed[-1] == "1 of 1 cases passed, 0 failed [], 0 skipped [], 1 in 1 folders without a check"


@pytest.mark.parametrize(
    ("listed", "status", "said"),
    [
        ({"other": {"quantum": 1}}, 0, []),
        ({}, 1, ["other/quantum: 1 cases without a check, 0 in the list of known gaps"]),
        ({"other": {"quantum": 2}}, 1, ["other/quantum: 1 cases without a check, 2 in the list of known gaps"]),
        (
            {"other": {"quantum": 1}, "emat": {"feed_forward": 1}},
            1,
            ["emat/feed_forward: 0 cases without a check, 1 in the list of known gaps"],
        ),
        ({"other": {"quantum": 1}, "elsewhere": {"quantum": 3}}, 0, []),  # a folder that is not at hand
    ],
)
def test_gaps_are_as_the_list_says(tmp_path, capsys, listed, status, said):
    """Neither a new gap passes, nor one that has got its check."""
    (tmp_path / "goldens").mkdir()
    folders_of_kinds(tmp_path / "goldens", emat="feed_forward", other="quantum")
    (tmp_path / "gaps.yaml").write_text(json.dumps(listed))
    assert main([str(tmp_path / "goldens"), "--known-gaps", str(tmp_path / "gaps.yaml")]) == status
    *before, last = capsys.readouterr().out.splitlines()
    assert [line for line in before if "list of known gaps" in line] == said
    counted = "1 of 1 cases passed, 0 failed [], 0 skipped [], 1 in 1 folders without a check"
    assert last == counted + (", 1 gaps are not as listed" if said else "")


def test_gaps_are_counted_over_whole_folders(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--known-gaps", "gaps.yaml", "--kind", "feed_forward"])
    assert "leave out --kind and --case" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--known-gaps", str(tmp_path / "gaps.yaml")])
    assert "gaps.yaml is no file" in capsys.readouterr().err


def test_the_list_of_known_gaps_names_no_kind_of_the_repository():
    """Kinds that have a check, and a case in the repository, are no gaps."""
    known = read_gaps(HERE / "known_gaps.yaml")
    assert not {(case.folder.name, case.entry["kind"]) for case in CASES} & set(known)


def test_rows_of_the_atlas_that_were_run_name_goldens_that_there_are():
    """Each names a draw and a meter, which have a check; one that waits for it is listed as a gap."""
    declared = {
        kind
        for module in pkgutil.iter_modules(kinds.__path__)
        for kind in importlib.import_module(f"{kinds.__name__}.{module.name}").KINDS
    }
    gaps, named = read_gaps(HERE / "known_gaps.yaml"), set()
    for program in read_programs():
        named |= set(program.checks)
        is_meter = [
            any(word in check.rpartition("/")[2] for word in ("metric", "meter", "dice")) for check in program.checks
        ]
        assert len(program.checks) in (0, 2) and is_meter == [0, 1][: len(is_meter)], program.id
    assert len(named) > 15
    for check in named:
        folder, _, kind = check.partition("/")
        assert kind in declared or (folder, kind) in gaps, check


def test_a_subject_of_the_repository_keeps_all_its_kinds(tmp_path, capsys):
    folders_of_kinds(tmp_path, emat="quantum")
    assert main([str(tmp_path), "--pass-over-unknown"]) == 1
    assert "emat  0 of 1 cases passed" not in capsys.readouterr().out  # one folder needs no line of its own


def test_only_unknown_kinds_are_no_success(tmp_path):
    folders_of_kinds(tmp_path, other="quantum")
    assert main([str(tmp_path), "--pass-over-unknown"]) == 1


@pytest.mark.slow(25)
def test_cases_are_checked_in_processes_in_order(tmp_path, capsys):
    folders_of_kinds(tmp_path, first="feed_forward", second="feed_forward", third="quantum")
    assert main([str(tmp_path), "--jobs", "2", "--pass-over-unknown"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-4:-1] == [
        "first  1 of 1 cases passed",
        "second  1 of 1 cases passed",
        "third  not known: quantum",
    ]


def test_official_episodes_without_lists_are_skipped_and_not_passed(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("FSBENCH_TEST_DATA", raising=False)
    copy_case(tmp_path, "episodes_official_lists.json.gz")
    assert main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "0 of 1 cases passed, 0 failed [], 1 skipped" in printed and "needs the official lists" in printed


def test_official_lists_that_are_not_there_are_said(tmp_path, capsys):
    copy_case(tmp_path, "episodes_official_lists.json.gz")
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--lists", str(tmp_path / "nowhere")])
    assert "nowhere is no folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path), "--lists", str(tmp_path / "empty")]) == 1
    assert "0 of 1 cases passed, 1 failed" in capsys.readouterr().out


def test_a_case_that_compares_nothing_fails(tmp_path, capsys):
    entry = copy_case(tmp_path, "episodes_official_lists.json.gz") | {"file": "none.json", "kind": "episodes"}
    (tmp_path / "index.json").write_text(json.dumps({"cases": [entry]}))
    (tmp_path / "none.json").write_text(json.dumps({"dataset": "pascal", "cases": []}))
    assert main([str(tmp_path)]) == 1
    assert "none.json  FAILED" in capsys.readouterr().out


def test_an_empty_folder_is_no_success(tmp_path):
    assert main([str(tmp_path)]) == 2


def test_copies_stay_small():
    copies = [path for path in HERE.rglob("*.*") if path.suffix not in (".py", ".pyc")]
    assert copies and sum(path.stat().st_size for path in copies) < 10e6
