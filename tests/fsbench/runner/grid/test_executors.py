"""Executors of grids: processes of this machine, and jobs of a pretended SLURM."""

import os

import pytest

from fsbench.base.errors import SettingsError
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.grid.executors import Job, LocalProcesses, Submitit
from fsbench.runner.grid.run import last_lines


def one(folder, **options):
    return RunConfig("prototype", "demo", runs=str(folder / "runs"), **options)


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
    echo "Submitted batch job $(ls {given} | wc -l)"
    """
    for name, text in (("sbatch", sbatch), ("srun", "#!/bin/sh\n")):
        (bin / name).write_text(text)
        (bin / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin}:{os.environ['PATH']}")
    return lambda: [file.read_text() for file in given.iterdir()]


def test_jobs_of_an_array_have_one_number_of_tasks(slurm, tmp_path):
    executor = Submitit("slurm", tmp_path / "submitit", 2, {})
    jobs = [Job(one(tmp_path, devices=tasks), tmp_path / f"log{place}") for place, tasks in enumerate((4, 1, 8, 4))]
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
        Submitit("slurm", tmp_path / "submitit", 1, given).start([Job(one(tmp_path), tmp_path / f"log{number}")])
        assert sum("#SBATCH --time=30\n" in script for script in slurm()) == number + 1
    with pytest.raises(SettingsError, match="timeout_min"):
        Submitit("slurm", tmp_path / "submitit", 1, {"timeout_min": "long"})


def test_without_accounts_the_queue_says_how_jobs_ended(slurm, tmp_path, capsys):
    """Also that of a job that has left it; one that waits, or whose node starts, has not ended."""
    squeue = "#!/bin/sh\nprintf '0_0|CANCELLED\\n0_1|CONFIGURING\\n0_3|PENDING\\n'\n"
    for name, text in (("sacct", "#!/bin/sh\necho disabled >&2; exit 1\n"), ("squeue", squeue)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    jobs = [Job(one(tmp_path, fold=place), tmp_path / f"log{place}") for place in range(4)]
    started = Submitit("slurm", tmp_path / "submitit", 4, {}).start(jobs)
    assert [job.job.done() for job in started] == [True, False, True, False]
    assert capsys.readouterr().err.count("disabled") == 1


def test_without_slurm_a_job_is_one_task(tmp_path):
    (job,) = Submitit("local", tmp_path / "submitit", 1, {}).start([Job(one(tmp_path, devices=4), tmp_path / "log")])
    try:
        assert job.job.num_tasks == 1
    finally:
        job.stop()
