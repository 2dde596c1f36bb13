"""Executors of grids: processes of this machine, and jobs of a pretended SLURM."""

import os
import pickle
from contextlib import nullcontext

import pytest

from fsbench.base.errors import GOES_ON, SettingsError
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.config.shared_parts import SharedParts
from fsbench.runner.grid.children import Job
from fsbench.runner.grid.executors import LocalProcesses, Submitit
from fsbench.runner.grid.run import last_lines

SHARED = SharedParts()


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Runs are in the working folder, so that their settings are those of all tests, which are judged once."""
    monkeypatch.chdir(tmp_path)


def one(log, **options):
    """A job, whose settings were judged as those of a plan are."""
    run = RunConfig("prototype", "demo", **options)
    return Job(run, log, run.parse(build=False, shared=SHARED).config)


@pytest.mark.slow(5)
def test_a_process_that_is_stopped_ends(tmp_path):
    job = Job(
        RunConfig("prototype", "demo", runs=str(tmp_path / "runs"), data_root=str(tmp_path / "demo")), tmp_path / "log"
    )
    (process,) = LocalProcesses(1).start([job])
    process.stop()
    assert process.poll() not in (None, 0)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """slurm() -> the scripts that a pretended cluster was given; it refuses jobs of 8 tasks, and those that would
    import from their working folder."""
    bin, given = tmp_path / "bin", tmp_path / "given"
    bin.mkdir()
    given.mkdir()
    sbatch = f"""#!/bin/sh
    if grep -q ntasks-per-node=8 "$1"; then echo "sbatch: error: no node has 8" >&2; exit 1; fi
    [ "$PYTHONSAFEPATH" = 1 ] || exit 1
    cp "$1" {given}/
    echo "Submitted batch job $(ls -A {given} | wc -l)"
    """
    for name, text in (("sbatch", sbatch), ("srun", "#!/bin/sh\n")):
        (bin / name).write_text(text)
        (bin / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin}:{os.environ['PATH']}")
    return lambda: [file.read_text() for file in given.iterdir()]


def test_jobs_of_an_array_have_one_number_of_tasks(slurm, tmp_path):
    executor = Submitit("slurm", tmp_path / "submitit", 2, {})
    jobs = [one(tmp_path / f"log{place}", devices=tasks) for place, tasks in enumerate((4, 1, 8, 4))]
    jobs[0].write_config()  # imports libraries that set variables of their own
    before = dict(os.environ)
    started = executor.start(jobs)
    assert dict(os.environ) == before  # the jobs' variables are theirs alone
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
        Submitit("slurm", tmp_path / "submitit", 1, given).start([one(tmp_path / f"log{number}")])
        assert sum("#SBATCH --time=30\n" in script for script in slurm()) == number + 1
    with pytest.raises(SettingsError, match="timeout_min"):
        Submitit("slurm", tmp_path / "submitit", 1, {"timeout_min": "long"})


@pytest.mark.parametrize(
    ("cluster", "given", "words"),
    [
        (
            "slurm",
            {"timeout_min": 2},
            "timeout_min is 2; expected a number of minutes, 3 or more: submitit stops a run 90",
        ),
        ("slurm", {"slurm_time": "1:30:00"}, "slurm_time is 1:30:00; expected a number of minutes"),
        ("slurm", {"slurm_timeout_min": 1, "slurm_signal_delay_s": 10}, "expected a number of minutes, 2 or more"),
        ("slurm", {"slurm_timeout_min": 2, "slurm_signal_delay_s": 10}, ""),
        ("slurm", {"timeout_min": 3}, ""),
        ("local", {"timeout_min": 0}, "expected a number of minutes, 1 or more: submitit stops a run 30 s before"),
        ("local", {"timeout_min": 1}, ""),
    ],
)
def test_a_limit_leaves_a_run_some_time(slurm, tmp_path, cluster, given, words):
    with pytest.raises(SettingsError, match=words) if words else nullcontext():
        Submitit(cluster, tmp_path / "submitit", 1, given)


def test_jobs_get_the_environment_and_are_requeued(slurm, tmp_path):
    """Also on clusters that export nothing and requeue nothing by themselves; --set adds to that, or replaces it."""
    given = [{}, {"slurm_srun_args": "--export=NONE", "slurm_additional_parameters": {"comment": "x"}}]
    for number, parameters in enumerate(given):
        Submitit("slurm", tmp_path / "submitit", 1, parameters).start([one(tmp_path / f"log{number}")])
    first, second = sorted(slurm(), key=lambda script: "#SBATCH --comment=x" in script)
    assert " --export=ALL " in first and "#SBATCH --requeue\n" in first
    assert " --export=ALL --export=NONE " in second, "the last one counts"
    assert "#SBATCH --requeue\n" in second


@pytest.fixture
def states(slurm, tmp_path):
    """states(text) -> nothing; the pretended cluster keeps no accounts, and its squeue prints the text from now on."""
    scripts = {"sacct": "echo disabled >&2; exit 1", "squeue": f"cat {tmp_path}/states"}
    for name, text in scripts.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return (tmp_path / "states").write_text


@pytest.mark.parametrize(
    ("state", "ending"),
    [
        ("CANCELLED", f"failed (cancelled); {GOES_ON}"),
        ("OUT_OF_MEMORY", "failed (out of memory; --set mem_gb=<GB> asks SLURM for more)"),
        ("NODE_FAIL", f"failed (its node failed); {GOES_ON}"),
        ("TIMEOUT", f"failed (out of time: timeout_min=1440, of which submitit keeps 90 s); {GOES_ON}"),
        ("PREEMPTED", f"failed (preempted); {GOES_ON}"),
        ("PENDING", None),
        ("SUSPENDED", None),
        ("REQUEUED", None),
        ("RUNNING", None),
    ],
)
def test_a_job_that_slurm_has_ended_says_why(states, tmp_path, state, ending):
    """The job's own output is in the run's log where the run printed nothing; a requeued job has not ended."""
    log = tmp_path / "log"
    states(f"1|{state}\n")
    (job,) = Submitit("slurm", tmp_path / "submitit", 1, {}).start([one(log)])
    job.job.paths.stderr.write_text("srun: error\n")
    assert job.poll() == (None if ending is None else 1)
    if ending is not None:
        assert job.ending() == ending and last_lines(log) == ["srun: error"]


@pytest.mark.parametrize(
    ("result", "status", "ending"),
    [
        (("success", 2), 2, "failed (status 2)"),
        (("success", -9), -9, f"failed (killed by SIGKILL; out of memory?); {GOES_ON}"),
        (("error", "UncompletedJobError: Job not requeued because: timed-out too many times."), 1,
         f"failed (out of time: timeout_min=3, of which submitit keeps 90 s); {GOES_ON}"),
        (("error", "RuntimeError: no room"), 1, "failed (job 1 ended without a result)"),
        (("success", 0), 0, None),
    ],
)  # fmt: skip
def test_a_job_that_has_ended_itself_says_why(states, tmp_path, result, status, ending):
    states("1|FAILED\n")
    (job,) = Submitit("slurm", tmp_path / "submitit", 1, {"timeout_min": 3}).start([one(tmp_path / "log")])
    job.job.paths.result_pickle.write_bytes(pickle.dumps(result))
    assert job.poll() == status and (ending is None or job.ending() == ending)


def test_a_job_that_waits_is_not_submitted_again(slurm, states, tmp_path):
    """By the next command, whose runs are the same; one that has ended is, and so is a run that is new."""
    states("1_0|PENDING\n1_1|CANCELLED\n")
    jobs = [one(tmp_path / f"log{place}", fold=place) for place in range(3)]
    Submitit("slurm", tmp_path / "submitit", 4, {}).start(jobs[:2])
    assert len(slurm()) == 1
    states("1_0|PENDING\n1_1|CANCELLED\n2_0|PENDING\n2_1|PENDING\n")
    again = Submitit("slurm", tmp_path / "submitit", 4, {}).start(jobs)
    assert [job.job.job_id for job in again] == ["1_0", "2_0", "2_1"] and len(slurm()) == 2
    assert again[0].poll() is None


@pytest.mark.parametrize(
    ("shell", "given", "seen"),
    [
        ("3", {}, "3"),
        ("3,5", {"gpus_per_node": 1}, "3"),
        ("GPU-a1,GPU-b2", {}, "GPU-a1,GPU-b2"),
        ("", {}, ""),
        (None, {}, None),
        (None, {"gpus_per_node": 2}, "0,1"),
    ],
)
def test_without_slurm_a_job_sees_the_gpus_of_the_shell(tmp_path, monkeypatch, shell, given, seen):
    if shell is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shell)
    variables = Submitit("local", tmp_path / "submitit", 1, given).variables
    hidden = {"CUDA_VISIBLE_DEVICES": "0,1" if given else ""}  # submitit's
    kept = {name: value for name, value in (hidden | variables).items() if value is not None}
    assert kept.get("CUDA_VISIBLE_DEVICES") == seen


def test_without_accounts_the_queue_says_how_jobs_ended(states, tmp_path, capsys):
    """Also that of a job that has left it; one that waits, or whose node starts, has not ended."""
    states("1_0|CANCELLED\n1_1|CONFIGURING\n1_3|PENDING\n")
    jobs = [one(tmp_path / f"log{place}", fold=place) for place in range(4)]
    started = Submitit("slurm", tmp_path / "submitit", 4, {}).start(jobs)
    assert [job.job.done() for job in started] == [True, False, True, False]
    assert capsys.readouterr().err.count("disabled") == 1


def test_without_slurm_a_job_is_one_task(tmp_path):
    (job,) = Submitit("local", tmp_path / "submitit", 1, {}).start([one(tmp_path / "log", devices=4)])
    try:
        assert job.job.num_tasks == 1
    finally:
        job.stop()
