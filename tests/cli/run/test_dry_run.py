"""`fsbench bench --dry-run` says what a run then does, and makes nothing."""

import json
from pathlib import Path

import pytest

from fsbench.cli.main import main


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.slow
def test_the_plan_is_what_then_happens(warm, run_arguments, bench_arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert warm(*run_arguments("prototype", "runs")).returncode == 0
    before = files(tmp_path)
    assert main(bench_arguments("prototype", "runs", "--fold=0,1", "--dry-run", "--format=json")) == 0
    assert files(tmp_path) == before
    done, planned = json.loads(capsys.readouterr().out)
    assert (done["state"], planned["state"]) == ("done", "missing") and done["cost"] is None
    cost = json.loads((tmp_path / done["folder"] / "run.json").read_text())["cost"]
    assert planned["cost"]["peak_mib"] == cost["peak_mib"] and planned["cost"]["training"] == 0
    assert planned["cost"]["evaluation"] == pytest.approx(9 / cost["episodes_per_second"])
    assert warm(*run_arguments("prototype", "runs", "--data.fold=1")).returncode == 0
    assert (tmp_path / planned["folder"] / "run.json").is_file()
    assert main(bench_arguments("prototype", "runs", "--fold=0,1", "--dry-run")) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("2 runs: 2 done; left to do: 0 s; nothing was run")
    assert f"[2] is {planned['folder']}" in shown
    assert main(bench_arguments("prototype", "runs", "--force", "--dry-run")) == 0
    assert "1 run: 1 repeated; left to do: " in capsys.readouterr().out


def test_several_protocols_are_runs_of_each(bench_arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = bench_arguments("prototype,insid3", "runs", "--protocol", "incontext, hsnet,incontext", "--dry-run")
    assert main([*words, "--format=json"]) == 0
    folders = [item["folder"] for item in json.loads(capsys.readouterr().out)]
    assert [folder.split("-fold")[0] for folder in folders] == [
        f"runs/{method}-demo-{protocol}" for protocol in ("incontext", "hsnet") for method in ("prototype", "insid3")
    ]
    assert main(bench_arguments("prototype", "runs", "--protocol", "hsnet,fscs", "--dry-run")) == 0
    lines = capsys.readouterr().out.splitlines()
    columns = next(line.split() for line in lines if line.startswith("method"))
    at = columns.index("protocol")
    assert [line.split()[at] for line in lines if line.startswith("prototype")] == ["hsnet", "fscs"]
    assert main(bench_arguments("prototype", "runs", "--protocol", "hsnet,", "--dry-run")) == 0
    assert "1 run: 1 missing" in (shown := capsys.readouterr().out) and "protocol" not in shown
    Path("own.yaml").write_text("data:\n  init_args:\n    protocol: pfenet\n")
    for other in ("--data.protocol=pfenet", "--data.init_args.protocol=pfenet", "--config=own.yaml"):
        assert main(bench_arguments("prototype", "runs", "--protocol", "hsnet,fscs", "--dry-run", other)) == 2
        assert "PROTOCOL names hsnet, fscs, and data.protocol names pfenet for all" in capsys.readouterr().err
    assert main(bench_arguments("prototype", "runs", "--protocol", "hsnet,hsnett", "--dry-run")) == 2
    error = capsys.readouterr().err
    assert "hsnett" in error and len(error.splitlines()) == 1
    assert main(bench_arguments("prototype", "runs", "--protocol", "hsnet,fscs", "--way", "2", "--dry-run")) == 2
    assert "protocol hsnet is 1-way, found way 2" in capsys.readouterr().err


def test_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FSBENCH_WEIGHTS", "none")
    words = ["bench", "--dry-run", "--method", "prototype,emat", "--dataset", "pascal", "--lists", "mine"]
    assert main([*words, "--ckpt", "a.ckpt"]) == 1
    shown = capsys.readouterr().out
    assert "2 runs: 2 lacks files" in shown
    for expected in (
        "missing: data pascal not in data/pascal: fsbench data prepare pascal --root data/pascal",
        "missing: weights dinov2_vits14 not in none/dinov2_vits14_pretrain.pth: fsbench weights fetch dinov2_vits14",
        "missing: checkpoint a.ckpt not in a.ckpt: correct the path of --ckpt",
        "missing: lists pascal not in mine: correct the path of --lists, or leave it out",
        "what lacks files writes to runs/",
    ):
        assert shown.count(expected) == 1, expected
    assert files(tmp_path) == [] == list(Path("runs").glob("*"))


def test_a_request_that_is_wrong_is_refused(capsys):
    assert main(["bench", "--dry-run", "--method", "prototpe", "--dataset", "pascal"]) == 2
    assert "did you mean 'prototype'?" in capsys.readouterr().err
    assert main(["bench", "--dry-run", "--method", "prototype", "--format", "csv"]) == 2
    assert "--format is csv, which --dry-run does not have" in capsys.readouterr().err
