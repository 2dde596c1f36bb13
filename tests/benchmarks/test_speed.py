"""The benchmarks of speed compare what they time, and every case of the table runs."""

import json
import sys

import pytest
import torch

from benchmarks.speed import __main__ as speed
from benchmarks.speed import table
from benchmarks.speed.cases import commands, hsnet
from benchmarks.speed.harness import Case, Command, Measurements, check, measure, relative_difference, training_step
from fsbench.backbones.pyramid_networks import PYRAMIDS
from fsbench.config.build import parse
from methods.hsnet import HSNet
from tests.methods.modules.small import SMALL, backbone

CPU = torch.device("cpu")


def test_paths_take_turns_after_a_first_call_of_each():
    calls = []
    paths = {name: lambda name=name: calls.append(name) for name in ("plain", "fast")}
    rows = measure(Case("x", paths, units={"plain": 1, "fast": 4}), CPU, 2)
    assert calls == ["plain", "fast"] * 3 + ["plain", "fast"]  # the last two for their memory
    assert [(row.path, len(row.times)) for row in rows] == [("plain", 2), ("fast", 2)]
    assert all(row.peak_mib >= 0 for row in rows)


def test_turns_are_told_and_memory_is_that_of_a_process_of_its_own():
    turns = []
    kept = []
    torch.zeros(2**22).add_(1)  # by several threads, which a fork does not have

    def call(turn):
        turns.append(turn)
        kept.append(torch.zeros(2**20))  # 4 MiB

    (row,) = measure(Case("x", {"plain": call}, memory="child", takes_turn=True), CPU, 3)
    assert turns == [0, 1, 2] and len(row.times) == 3
    assert 10 < row.peak_mib < 100
    (row,) = measure(Case("x", {"plain": call}, memory=None, takes_turn=True), CPU, 1)
    assert row.peak_mib is None


def test_a_command_is_measured_in_its_own_process(tmp_path):
    script = "import sys, pathlib; x = bytearray(50 << 20); pathlib.Path('done').write_text(sys.argv[1])"
    (row,) = measure(Case("x", {"now": Command(["-c", script, "word"], {}, tmp_path)}), CPU, 1)
    assert (tmp_path / "done").read_text() == "word"
    assert 50 < row.peak_mib < 200 and 0 < row.seconds < 30
    with pytest.raises(SystemExit, match="ended with status 256:\nwhy"):
        measure(Case("x", {"now": Command(["-c", "import sys; sys.exit('why')"])}), CPU, 1)


def test_answers_that_differ_end_the_benchmark():
    a = torch.tensor([4.0, 1.0])
    assert relative_difference(a, a + 1) == 0.25 == relative_difference([a, a[:1]], [a, a[:1] - 1])
    assert check(Case("x", {}, lambda: 0.25, tolerance=0.3)) == 0.25 and check(Case("x", {})) is None
    for difference in (0.25, float("nan")):
        with pytest.raises(SystemExit, match=r"x: the ways differ by .*, expected at most 1e-01"):
            check(Case("x", {}, lambda value=difference: value, tolerance=0.1))


def test_a_training_step_starts_from_no_gradient():
    x = torch.tensor([1.0, 2.0])
    step = training_step(lambda: (3 * x, x), [x])
    first, second = step()[0].clone(), step()[0].clone()
    assert torch.equal(first, second) and torch.allclose(first, 10 * x)


@pytest.mark.parametrize(
    ("arguments", "paths"),
    [
        ("emat-attention --sides 4 --shares 0.2 --query-side 4", ["reference", "dense", "packed", "fused"]),
        ("emat-training --query-side 4 --paths kept,packed", ["kept", "packed"]),
        ("emat-ways --ways 2 --query-side 4", ["whole", "chunks"]),
        ("emat-episode --ways 2 --side 28", ["ours"]),
        ("episodes --methods hsnet", ["ours"]),
        ("training-steps --methods bam", ["ours"]),
        ("hsnet --side 32", ["plain", "ours"]),
        ("dcama --side 32 --shots 1 --backbone resnet50", ["plain", "chunked"]),
        ("hmnet --side 8 --width 4 --blocks 1 --what scan,block,network", None),
        ("training-free --tokens 64 --channels 16", ["plain", "fast"]),
        ("vrp-sam --grid 8 --channels 16 --side 64 --shots 2", ["plain", "fsbench"]),
        ("sansa --side 64 --shots 2 --batch 2", None),
        ("promptable --grid 9 --points 10 --steps 3", ["authors' scheme", "fsbench"]),
        ("diam --images 2 --channels 8 --side 5", ["plain", "closed form", "closed form, together"]),
        ("networks --networks demo:64", ["fp32", "bf16"]),
        ("features --episodes 2 --queries 2", ["features none kept", "features on disk"]),
        ("predict --dataset demo --images 2 --side 64", ["forward", "fsbench predict"]),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else "",
)
@pytest.mark.slow
def test_every_case_compares_and_times_its_paths(arguments, paths, tmp_path, capsys):
    repeats = [] if arguments.split()[0] in ("episodes", "training-steps", "emat-episode") else ["--repeats", "1"]
    speed.main([*arguments.split(), *repeats, "--device", "cpu", "--json", str(tmp_path / "x.json")])
    found = Measurements(**json.loads((tmp_path / "x.json").read_text()))
    name, *given = arguments.split()
    assert found.command == " ".join(["python -m benchmarks.speed", name, *given, *repeats, "--device cpu"])
    assert found.opponent == speed.BENCHMARKS[name].opponent and found.clock == "processor"
    for what in {row.what for row in found.rows}:
        named = [row.path for row in found.rows if row.what == what]
        assert named == paths or (paths is None and named[0] == "plain")
    assert all(row.times and row.seconds > 0 for row in found.rows)
    assert all(row.what in capsys.readouterr().out for row in found.rows[:1])


def test_what_is_shown_has_its_place_on_the_page():
    assert set(table.GAINS) == {name for name, benchmark in speed.BENCHMARKS.items() if benchmark.shown is not None}


def test_the_table_of_cases_names_functions_that_are_there():
    for name, benchmark in speed.BENCHMARKS.items():
        if name not in ("augmentation",):  # it needs OpenCV
            assert benchmark.cases().__doc__, name


def test_unknown_names_and_paths_are_refused(capsys):
    with pytest.raises(SystemExit):
        speed.main(["hsnt"])
    assert "invalid choice: 'hsnt'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="--paths ours,fat: fat is none of plain, ours"):
        speed.main(["hsnet", "--side", "32", "--paths", "ours,fat", "--device", "cpu", "--repeats", "1"])


def test_hsnets_plain_formulas_give_its_logits(monkeypatch):
    monkeypatch.setitem(PYRAMIDS, "small", SMALL)
    torch.manual_seed(0)
    method = HSNet(backbone(), width=32).eval()
    query, support = (
        [torch.randn(2, blocks, 8, side, side) for blocks, side in zip(SMALL.blocks[1:], (9, 5, 3), strict=True)]
        for _ in range(2)
    )
    masks = torch.zeros(2, 33, 33)
    masks[0, 9:20, 3:14] = 1
    with torch.inference_mode():
        found = method.logits(query, [scale[:, None] for scale in support], masks[:, None], torch.arange(2))
        with hsnet.plain_formulas():
            plain = method.logits(query, [scale[:, None] for scale in support], masks[:, None], torch.arange(2))
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4)


def test_processes_of_hsnet_are_those_of_fsbench_run(tmp_path):
    words = commands.hsnet_arguments(tmp_path, "ours", episodes=5, shot=1, side=400, cache_mib=128)
    assert words[0] == "run" and "--model.backbone.cache_mib=128" in words
    data = parse([word for word in words[1:] if "checkpoint" not in word], build=False).config.data.init_args
    assert (data.image_size, data.episodes) == (400, 5)


@pytest.mark.slow
def test_the_start_of_commands_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(commands.subprocess, "run", lambda *words, **options: None)  # which draws the demo
    cases = {case.what: case for case in commands.start_cases(CPU, runs=2, against=str(tmp_path))}
    assert list(cases)[-1] == "`fsbench bench`, 2 runs" and list(cases["`fsbench list`"].paths) == ["before", "now"]
    before = cases["`fsbench list`"].paths["before"]
    assert before.environment["PYTHONPATH"] == str(tmp_path) and sys.executable not in before.words
