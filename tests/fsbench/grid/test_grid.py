"""Grids: what a file asks for, what is done of it, what the rest costs, and scores over all seeds."""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

import pytest
import yaml

from datamodules.demo.dataset import generate
from fsbench.cli.main import main
from fsbench.config.registry import aliases, names
from fsbench.config.request import Request
from fsbench.errors import SettingsError
from fsbench.grid import spec
from fsbench.grid.estimate import Estimates
from fsbench.grid.executors import Job, LocalProcesses, Submitit
from fsbench.grid.layout import duration, to_sheet
from fsbench.grid.plan import PlannedRun, plan
from fsbench.grid.schedule import last_lines, progress_text, run_missing
from fsbench.grid.spec import GridCell, read_grid
from fsbench.grid.summary import remarks, summaries
from fsbench.paths import CONFIGS
from fsbench.records.record import Record


def cell_of(method, dataset, fold, way, shot, setting, seed, **more):
    """A cell of a grid."""
    task = {"way": way, "shot": shot, "setting": setting, "seed": seed}
    return GridCell(Request(methods=(method,), dataset=dataset, folds=(fold,), **task, **more))


@pytest.fixture
def write(tmp_path):
    """write(**values) -> a grid's file."""

    def call(**values) -> Path:
        file = tmp_path / f"grid{len(list(tmp_path.iterdir()))}.yaml"
        file.write_text(yaml.safe_dump({"methods": ["prototype"], "datasets": ["demo"], "folds": [0]} | values))
        return file

    return call


def test_all_combinations_in_order(write):
    file = write(methods=["prototype", "emat"], folds=[0, 2], ways=[1, 2], seeds=[0, 1], data_roots={"demo": "there"})
    cells = read_grid([file])
    assert len(cells) == len(set(cells)) == 16
    assert cells[0] == cell_of("prototype", "demo", 0, 1, None, None, 0, data_root="there")
    assert cells[1].request.seed == 1 and cells[2].request.way == 2 and cells[4].fold == 2 and cells[8].method == "emat"
    assert len(read_grid([file, file])) == 16
    assert read_grid([file], {"demo": "here"}, fast=True)[0].request.data_root == "here"


def test_arguments_are_those_of_bench(write):
    checkpoint = "c/{method}-{seed}-{fold}.ckpt"
    file = write(
        shots=[5], settings=["0-5"], protocol="fscs", checkpoint=checkpoint, extra=["--a=1"], seeds=[3], devices=2
    )
    (cell,) = read_grid([file])
    arguments = cell.arguments(Path("runs"))
    assert {
        "--run.name=prototype", "--run.runs=runs", "--data.fold=0", "--data.shot=5", "--data.setting=0-5", "--a=1",
        "--run.checkpoint=c/prototype-3-0.ckpt", "--seed_everything=3", "--trainer.devices=2", "--data.protocol=fscs",
    } <= set(arguments)  # fmt: skip


def test_the_fingerprint_is_of_what_is_asked_for(write, tmp_path):
    def one(runs="runs", **values):
        (cell,) = read_grid([write(**values)])
        return cell.fingerprint(Path(runs))

    assert one() == one() == one(runs="elsewhere")
    checkpoint = tmp_path / "best.ckpt"
    others = [one(shots=[2]), one(seeds=[1]), one(methods=["emat"]), one(extra=["--x=1"]), one(fast=True)]
    others.append(one(checkpoint=str(checkpoint)))
    checkpoint.write_text("trained")
    others.append(one(checkpoint=str(checkpoint)))
    weights = tmp_path / "vit.pth"
    weights.write_text("these")
    others.append(one(weights=str(weights)))
    weights.write_text("others, exchanged")
    others.append(one(weights=str(weights)))
    assert len({one(), *others}) == 10


def test_files_of_one_name_are_both_in_the_fingerprint():
    texts = spec._texts("prototype", "demo", "demo", False)
    assert {"data/demo.yaml", "backbones/demo.yaml", "methods/prototype.yaml", "base.yaml"} <= set(texts)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"method": ["emat"]}, "has the unknown key 'method'; did you mean 'methods'?"),
        ({"methods": ["emta"]}, "unknown method 'emta'"),
        ({"backbone": "vit"}, "unknown backbone 'vit'"),
        ({"way": 2}, "has the unknown key 'way'; did you mean 'ways'?"),
        ({"datasets": []}, "datasets is [], expected a list of one or more"),
        ({"folds": [0, "1"]}, "folds[1] is '1', expected a number"),
        ({"seeds": []}, "seeds is [], expected a list of one or more"),
        ({"shots": None}, "shots is None, expected a list"),
        ({"seeds": 3}, "seeds is 3, expected a list"),
        ({"fast": "yes"}, "fast is 'yes', expected true or false"),
    ],
)
def test_bad_grids_are_refused(write, values, expected):
    with pytest.raises(SettingsError) as refused:
        read_grid([write(**values)])
    assert expected in str(refused.value) and "\n" not in str(refused.value)


def test_files_that_are_no_grids_are_refused(tmp_path):
    for text, expected in (("[1]", "holds list"), ("a: [", "cannot read")):
        (tmp_path / "x.yaml").write_text(text)
        with pytest.raises(SettingsError, match=expected):
            read_grid([tmp_path / "x.yaml"])
    with pytest.raises(SettingsError, match="cannot read"):
        read_grid([tmp_path / "nowhere.yaml"])


@pytest.mark.parametrize("file", sorted((CONFIGS / "grids").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_grids_that_come_along(file):
    cells = read_grid([file])
    assert len(cells) >= 8 and {cell.method for cell in cells} <= {*names("methods"), *aliases()}


def finished(score, folds=2):
    """A record of a data set with `folds`."""
    record = Record(Path("x"), {"scores": {"mIoU": score}})
    record.__dict__["header"] = {"folds": folds}
    return record


def cells_with(states, folds=2):
    """Planned cells of one variant: {(fold, seed): mIoU or None}."""
    return [
        PlannedRun(
            cell_of("prototype", "demo", fold, 1, 1, None, seed),
            Path("x"),
            None if score is None else finished(score, folds),
        )
        for (fold, seed), score in states.items()
    ]


def test_scores_are_those_of_all_seeds_or_none():
    scores = {(0, 0): 50.0, (1, 0): 60.0, (0, 1): 52.0, (1, 1): 64.0, (0, 2): 70.0, (1, 2): 80.0}
    (found,) = summaries(cells_with(scores), ["mIoU"])
    assert found.seeds == {0: 55, 1: 58, 2: 75}
    assert found.value == mean([55, 58, 75]) and found.deviation == stdev([55, 58, 75])
    ((_, shown),) = to_sheet(cells_with(scores), [found]).parts
    assert shown[1][-3:] == ["2 of 2", "3 of 3", "62.67 ± 10.79"]
    (partly,) = summaries(cells_with(scores | {(1, 1): None}), ["mIoU"])
    assert partly.seeds == {0: 55, 2: 75} and partly.wanted == 3
    assert partly.value is None and partly.deviation is None
    (one,) = summaries(cells_with({(0, 0): 50.0, (1, 0): 60.0}), ["mIoU"])
    assert one.value == 55 and one.deviation is None


def test_runs_of_other_weights_never_fill_up_a_score(write):
    """Of two grids of checkpoints and one of trainings each has one fold done: no score is complete, and each is told
    from the others."""
    files = [write(folds=[0, 1], seeds=[0], **more) for more in ({}, {"checkpoint": "x/{fold}"}, {"checkpoint": "y"})]
    done = {(None, 0), ("x/{fold}", 1), ("y", 0)}
    planned = [
        PlannedRun(cell, Path("x"), finished(50.0) if (cell.request.checkpoint, cell.fold) in done else None)
        for cell in read_grid(files)
    ]
    found = summaries(planned, ["mIoU"])
    assert [(one.variant.request.checkpoint, one.done, one.wanted, one.value) for one in found] == [
        (None, 0, 1, None), ("x/{fold}", 0, 1, None), ("y", 0, 1, None),
    ]  # fmt: skip
    (_, cells), (_, scores) = to_sheet(planned, found).parts
    assert [row[cells[0].index("options")] for row in cells[1:]] == ["–", "checkpoint x/{fold}", "checkpoint y"]
    assert len({tuple(row) for row in scores}) == 4


def test_a_mean_stands_only_where_every_fold_of_the_data_set_is_there():
    planned = cells_with({(fold, seed): 50.0 for fold in (0, 1) for seed in (0, 1)}, folds=4)
    (found,) = summaries(planned, ["mIoU"])
    assert (found.folds, found.of, found.done, found.wanted) == (2, 4, 2, 2)
    assert found.value is None and found.deviation is None and found.seeds == {}
    ((_, scores),) = to_sheet(planned, [found]).parts
    assert [scores[1][scores[0].index(name)] for name in ("folds", "seeds done", "mIoU")] == ["2 of 4", "2 of 2", "–"]


def test_what_makes_scores_no_results_is_said(make):
    """A trial with random weights beside a run with all episodes, and one whose manifest is gone."""

    def planned(method, record):
        return PlannedRun(cell_of(method, "folder", 0, 1, 1, None, 0), record.path, record)

    trial = make("emat", 0, weights="random (seed 0)", episodes=6)
    lost = make("cst", 0)
    (lost.path / "manifest.jsonl").unlink()
    items = [planned("emat", trial), planned("prototype", make("prototype", 0, episodes=1000)), planned("cst", lost)]
    few, narrow, lists, random, left = remarks(items)
    assert lists.startswith("image lists: ") and "intervals of fewer than" in narrow
    assert few == "emat folder 1-way 1-shot: 6 instead of the protocol's 1000 episodes: a trial, not a result"
    assert random.startswith("emat folder 1-way 1-shot: emat: backbone b has random (seed 0) weights")
    assert left.startswith("cst folder 1-way 1-shot: left out: there is no manifest")
    assert [found.done for found in summaries(items, ["mIoU"])] == [1, 1, 0]


def test_a_cell_without_a_seed_is_no_seed_more():
    """It has the configuration's seed, which may be the one that another cell names."""
    found = summaries(cells_with({(0, 0): 50.0, (0, None): 50.0}, folds=1), ["mIoU"])
    assert [(one.wanted, one.value, one.deviation) for one in found] == [(1, 50, None)] * 2


def test_costs_come_from_the_runs_that_are_most_alike(make):
    def record(seconds, speed, **task):
        made = make("prototype", 0, **task)
        made.run["made"] = {"training_seconds": seconds}
        made.run["cost"] = {"episodes_per_second": speed, "peak_mib": 100.0 * speed}
        return made

    estimates = Estimates(
        [record(100, 2), record(300, 4), record(900, 8, way=2), record(0, 16, training={"checkpoint_sha256": "a"})]
    )
    cost = estimates.estimate(cell_of("prototype", "blocks", 1, 1, 1, "original", 5))
    assert (cost.training, cost.evaluation, cost.peak_mib) == (200, 1000 * (1 / 2 + 1 / 4) / 2, 400)
    assert cost.source == "2 runs of this task"
    assert estimates.estimate(cell_of("prototype", "blocks", 0, 2, 1, None, None)).training == 900
    five = estimates.estimate(cell_of("prototype", "blocks", 0, 1, 5, None, None))
    assert five.training == 300 and five.source == "3 runs of other tasks on blocks"
    assert estimates.estimate(cell_of("prototype", "pascal", 0, 1, 1, None, None)).source == "3 runs of other data"
    tested = estimates.estimate(cell_of("prototype", "blocks", 0, 1, 1, None, None, checkpoint="c"))
    assert tested.training == 0 and tested.source == "3 runs of this task"
    assert estimates.estimate(cell_of("emat", "blocks", 0, 1, 1, None, None)) is None
    assert [duration(s) for s in (40, 600, 3700)] == ["40 s", "10 min", "1 h 02 min"]


def test_trials_tell_how_fast_a_cell_is_tested_but_not_how_long_it_is_trained(make):
    """The runs that are known are trials of one that trains and of one that does not."""
    fast = {"max_epochs": 1, "limit_train_batches": 4}
    records = [make(method, 0, episodes=20, training=training) for method, training in
               (("emat", fast), ("prototype", {"base_lists": "x"}))]  # fmt: skip
    for record, made in zip(records, ({"training_seconds": 40.0}, {}), strict=True):
        record.run["made"] = made
        record.run["cost"] = {"episodes_per_second": 4.0, "peak_mib": 10.0}
    estimates = Estimates(records)

    def of(method, **more):
        cost = estimates.estimate(cell_of(method, "pascal", 0, 1, 1, None, 0, **more))
        return cost and (cost.training, cost.evaluation)

    assert of("emat") is None and of("emat", fast=True) == (40, 20 / 4)
    assert of("emat", checkpoint="c") == of("prototype") == (0, 1000 / 4)
    assert of("prototype", extra=("--data.episodes=9",)) == (0, 9 / 4)
    coco = estimates.estimate(cell_of("prototype", "coco", 0, 1, 1, None, 0, protocol="pfenet"))
    assert coco is not None and coco.evaluation == 4000 / 4  # as configs/protocols/pfenet.yaml has it


def test_runs_without_a_manifest_are_left_out_of_the_estimates(make, caplog):
    lost, sound = make("prototype", 0), make("prototype", 1)
    (lost.path / "manifest.jsonl").unlink()
    estimates = Estimates([lost, sound])
    for _ in range(2):
        assert estimates.estimate(cell_of("prototype", "blocks", 0, 1, 1, None, 0)).source == "1 run of this task"
    (said,) = caplog.messages
    assert f"{lost.path} is left out of the estimates: there is no manifest" in said


def test_damaged_notes_count_as_none(make, write, demo_folder):
    """Each is written anew, with the folder that the cell has."""
    runs = demo_folder.parent / "runs"
    cells = read_grid([write(extra=["--data.dataset=datamodules.datasets.folder.Folder", "--data.episodes=3"])],
                      {"demo": str(demo_folder)})  # fmt: skip
    (planned,) = plan(cells, runs)
    (note,) = (runs / ".grid/cells").iterdir()
    sound = note.read_text()
    for damaged in ("", "[]", "{", '{"folder": 3}', "null", '{"cell": "x"}'):
        note.write_text(damaged)
        assert plan(cells, runs) == [planned] and note.read_text() == sound


@pytest.fixture
def demo_folder(tmp_path):
    generate(tmp_path / "small", seed=3, train=40, val=40)
    return tmp_path / "small"


def test_what_is_noted_needs_no_model(make, write, tmp_path, capsys):
    """A grid whose cells are known is listed without torch."""
    runs = make("prototype", 0).path.parent
    file = write(seeds=[0, 1])
    for cell, name in zip(read_grid([file]), (next(runs.glob("prototype-*")).name, "other"), strict=True):
        note = runs / ".grid/cells" / f"{cell.fingerprint(runs)}.json"
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps({"folder": name}))
    code = "import sys; from fsbench.cli.main import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    arguments = [sys.executable, "-c", code, "grid", str(file), "--runs", str(runs), "--format", "json"]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    stated = json.loads(done.stdout)
    assert [cell["state"] for cell in stated["cells"]] == ["done", "missing"]
    old = {"method", "dataset", "fold", "way", "shot", "setting", "seed", "protocol", "devices", "fast", "checkpoint"}
    assert old | {"data_root", "extra"} <= stated["cells"][0].keys() & stated["scores"][0]["variant"].keys()
    assert stated["cells"][0]["method"] == "prototype" and stated["cells"][0]["fold"] == 0
    assert stated["cells"][1]["cost"]["source"] == "1 run of other data"
    assert main(["grid", str(file), "--runs", str(runs)]) == 0
    assert "2 cells: 1 done, 0 begun, 1 missing, 0 refused; left to do: 81 s" in capsys.readouterr().out
    (next(runs.glob("prototype-*")) / "run.json").write_text("{")
    assert [(cell.state, "is no JSON" in cell.refused) for cell in plan(read_grid([file]), runs)] == [
        ("refused", True), ("missing", False),
    ]  # fmt: skip


def test_cells_that_cannot_be_built_are_refused_by_themselves(write, tmp_path):
    planned = plan(
        read_grid([write(folds=[9], datasets=["folder"], data_roots={"folder": str(tmp_path / "no")})]), tmp_path
    )
    assert planned[0].state == "refused" and "no" in planned[0].refused and planned[0].folder is None


class Pretended:
    """An executor whose jobs end with given statuses; counts how many ran at once."""

    def __init__(self, at_once, statuses):
        self.at_once, self.statuses, self.running, self.most = at_once, list(statuses), 0, 0

    def start(self, jobs):
        self.running += len(jobs)
        self.most = max(self.most, self.running)
        return [PretendedJob(self, self.statuses.pop(0), job) for job in jobs]


class PretendedJob:
    def __init__(self, executor, status, job):
        self.executor, self.status, self.job, self.polls, self.stopped = executor, status, job, 0, False

    def poll(self):
        self.polls += 1
        if self.polls < 2:
            return None
        if self.status == "interrupt":
            raise KeyboardInterrupt
        self.executor.running -= 1
        self.job.log.write_text(f"first\r second\r third\n\nended with {self.status}\n")
        return self.status

    def stop(self):
        self.stopped = True


def test_failures_stop_no_other_cell(tmp_path, monkeypatch):
    monkeypatch.setattr("fsbench.grid.schedule.POLL_SECONDS", 0)
    monkeypatch.setattr("fsbench.grid.schedule.read_record", lambda folder: folder.name)
    cells = [PlannedRun(cell_of("prototype", "demo", fold, 1, 1, None, 0), tmp_path / str(fold)) for fold in range(5)]
    executor = Pretended(2, [0, 3, 0, 0, 2])
    failures = run_missing(cells, tmp_path, executor, screen=False)
    assert {(failure.label, failure.status) for failure in failures} == {
        ("prototype demo fold 1 1-way 1-shot seed 0", 3), ("prototype demo fold 4 1-way 1-shot seed 0", 2),
    }  # fmt: skip
    assert executor.most == 2 and not executor.statuses
    assert failures[0].lines == [" third", "ended with 3"]


def test_cells_that_differ_in_anything_have_logs_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr("fsbench.grid.schedule.POLL_SECONDS", 0)
    alike = ("prototype", "demo", 0, 1, 1, None, 0)
    more = ({}, {"protocol": "hsnet"}, {"checkpoint": "c"}, {"fast": True}, {"extra": ("--a=1",)}, {"devices": 2})
    cells = [PlannedRun(cell_of(*alike, **one), None) for one in more]
    monkeypatch.setattr("fsbench.grid.schedule.run_folder", lambda *_, **__: tmp_path / "none")
    failures = run_missing(cells, tmp_path, Pretended(6, range(6)), screen=False)
    assert [failure.lines[-1] for failure in failures] == [f"ended with {status}" for status in range(6)]


def test_a_folder_that_is_no_longer_the_cells_is_looked_up_again(tmp_path, monkeypatch):
    """The run went well and its record is where its identity says now; the note is of the time before."""
    monkeypatch.setattr("fsbench.grid.schedule.POLL_SECONDS", 0)
    asked = []

    def now(cell, runs, recheck):
        asked.append((cell, recheck))
        return runs / f"now-{cell.fold}"

    monkeypatch.setattr("fsbench.grid.schedule.run_folder", now)
    (tmp_path / "now-0").mkdir()
    record = {"id": "now-0", "identity": {}, "cost": {}, "counts_sha256": "x"}
    (tmp_path / "now-0/run.json").write_text(json.dumps(record))
    (tmp_path / "now-0/episodes.parquet").touch()
    (tmp_path / "now-2").mkdir()
    (tmp_path / "now-2/run.json").write_text("{")
    cells = [PlannedRun(cell_of("prototype", "demo", fold, 1, 1, None, 0), tmp_path / "before") for fold in range(3)]
    failures = run_missing(cells, tmp_path, Pretended(1, [0, 0, 0]), screen=False)
    assert asked == [(item.cell, True) for item in cells]
    assert [failure.label for failure in failures] == [item.cell.label for item in cells[1:]]


def test_a_status_of_0_without_a_record_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr("fsbench.grid.schedule.POLL_SECONDS", 0)
    cells = [PlannedRun(cell_of("prototype", "demo", 0, 1, 1, None, 0), tmp_path / "none")]
    assert len(run_missing(cells, tmp_path, Pretended(1, [0]), screen=False)) == 1


def test_an_interrupt_stops_what_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("fsbench.grid.schedule.POLL_SECONDS", 0)
    cells = [PlannedRun(cell_of("prototype", "demo", fold, 1, 1, None, 0), tmp_path / str(fold)) for fold in range(3)]
    executor = Pretended(2, ["interrupt", 0, 0])
    started = []
    real = executor.start
    executor.start = lambda jobs: started.extend(real(jobs)) or started[-len(jobs) :]
    with pytest.raises(KeyboardInterrupt):
        run_missing(cells, tmp_path, executor, screen=False)
    assert len(started) == 2 and all(job.stopped for job in started)


def test_what_a_run_is_at(tmp_path):
    assert (
        progress_text(None) == progress_text(tmp_path / "nowhere") == "starts" and progress_text(tmp_path) == "begins"
    )
    (tmp_path / "curves/version_0").mkdir(parents=True)
    (tmp_path / "curves/version_0/metrics.csv").write_text("loss,epoch,step\n0.5,0,10\n0.4,1,20\n")
    assert progress_text(tmp_path) == "trains, epoch 1"
    (tmp_path / "evaluation").mkdir()
    for name, lines in (("part-1-a", 4), ("part-2-b", 3)):
        (tmp_path / f"evaluation/{name}.jsonl").write_text("{}\n" * lines)
    assert progress_text(tmp_path) == "evaluates, 5 episodes done"
    assert last_lines(tmp_path / "nowhere") == []


def test_a_process_that_is_stopped_ends(tmp_path):
    job = Job(("--config=/dev/stdin",), tmp_path / "log")
    (process,) = LocalProcesses(1).start([job])
    process.stop()
    assert process.poll() not in (None, 0)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """slurm() -> the scripts that a pretended cluster was given; it refuses jobs of 8 tasks."""
    bin, given = tmp_path / "bin", tmp_path / "given"
    bin.mkdir()
    given.mkdir()
    sbatch = f"""#!/bin/sh
    if grep -q ntasks-per-node=8 "$1"; then echo "sbatch: error: no node has 8" >&2; exit 1; fi
    cp "$1" {given}/
    echo "Submitted batch job $(ls {given} | wc -l)"
    """
    for name, text in (("sbatch", sbatch), ("srun", "#!/bin/sh\n")):
        (bin / name).write_text(text)
        (bin / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin}:{os.environ['PATH']}")
    return lambda: [file.read_text() for file in given.iterdir()]


def test_jobs_of_an_array_have_one_number_of_tasks(slurm, tmp_path):
    executor = Submitit("slurm", tmp_path / "submitit", 2, {})
    jobs = [Job(("--a",), tmp_path / f"log{place}", tasks) for place, tasks in enumerate((4, 1, 8, 4))]
    started = executor.start(jobs)
    scripts = {line: script for script in slurm() for line in script.splitlines() if "ntasks-per-node" in line}
    assert set(scripts) == {"#SBATCH --ntasks-per-node=4", "#SBATCH --ntasks-per-node=1"}
    assert "--array=0-1%2" in scripts["#SBATCH --ntasks-per-node=4"]
    assert all("#SBATCH --time=1440\n" in script for script in scripts.values())
    submitted = [None if place == 2 else job.job.submission().args[1] for place, job in enumerate(started)]
    assert submitted == [jobs[0].log, jobs[1].log, None, jobs[3].log]
    assert started[2].poll() == 1
    assert last_lines(jobs[2].log) == ["slurm refused the job: sbatch: error: no node has 8"]


def test_limits_that_are_given_hold(slurm, tmp_path):
    for number, given in enumerate(({"timeout_min": 30}, {"slurm_time": 30}, {"slurm_timeout_min": 30})):
        Submitit("slurm", tmp_path / "submitit", 1, given).start([Job((), tmp_path / f"log{number}")])
        assert sum("#SBATCH --time=30\n" in script for script in slurm()) == number + 1
    with pytest.raises(SettingsError, match="timeout_min"):
        Submitit("slurm", tmp_path / "submitit", 1, {"timeout_min": "long"})


def test_without_accounts_the_queue_says_how_jobs_ended(slurm, tmp_path, capsys):
    """Also that of a job that has left it; one that waits, or whose node starts, has not ended."""
    squeue = "#!/bin/sh\nprintf '0_0|CANCELLED\\n0_1|CONFIGURING\\n0_3|PENDING\\n'\n"
    for name, text in (("sacct", "#!/bin/sh\necho disabled >&2; exit 1\n"), ("squeue", squeue)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    jobs = [Job(("--a",), tmp_path / f"log{place}") for place in range(4)]
    started = Submitit("slurm", tmp_path / "submitit", 4, {}).start(jobs)
    assert [job.job.done() for job in started] == [True, False, True, False]
    assert capsys.readouterr().err.count("disabled") == 1


def test_without_slurm_a_job_is_one_task(tmp_path):
    (job,) = Submitit("local", tmp_path / "submitit", 1, {}).start([Job(("--a",), tmp_path / "log", 4)])
    try:
        assert job.job.num_tasks == 1
    finally:
        job.stop()
