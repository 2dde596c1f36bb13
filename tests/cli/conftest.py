"""The real command line, in this process for quick refusals and in its own for what a user does."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fsbench.base.paths import REPOSITORY
from fsbench.cli.main import main
from tests.cli.commands import FEW, environments_of_ranks, images_of, run_command
from tests.warm import Warm


def environment_of_test(tmp_path: Path) -> dict[str, str]:
    """One thread, a cache of the test's own, and this checkout before an installed one."""
    own = {"OMP_NUM_THREADS": "1", "FSBENCH_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(REPOSITORY)}
    return os.environ | own | {"WANDB__SERVICE_WAIT": "300"}  # half a minute is little on a busy machine


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """spawn(*arguments) -> the started `fsbench` process, in an empty working folder; it ends with the test."""
    environment = environment_of_test(tmp_path)
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "fsbench", *arguments]
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen(
                command, cwd=tmp_path, env=environment | more, stdout=pipe, stderr=pipe, text=True,
                start_new_session=True,
            )
        )  # fmt: skip
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:  # the test failed: nothing of it disturbs the next one
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def fsbench(spawn: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """fsbench(*arguments) -> the finished process."""

    def call(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        process = spawn(*arguments, **more)
        out, err = process.communicate(timeout=400)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return call


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """command(*words) -> exit status, output and errors of a command, in this process."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([str(word) for word in words])
        return (status, *capsys.readouterr())

    return call


@pytest.fixture
def warm(warm_process: Warm, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """warm(*arguments) -> the finished `fsbench` command, like `fsbench`, in a fork of a process that is ready.

    The runs that it starts are forks, too; those of several processes start from nothing.
    """

    def call(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return warm_process.call(arguments, tmp_path, environment_of_test(tmp_path) | more)

    return call


@pytest.fixture
def ranks(warm_process: Warm, tmp_path: Path) -> Callable[..., list[subprocess.CompletedProcess[str]]]:
    """ranks(arguments, number, **more) -> the processes of one finished command, forks as those of `warm`."""

    def call(arguments: list[str], number: int = 1, **more: str) -> list[subprocess.CompletedProcess[str]]:
        environments = [environment_of_test(tmp_path) | more | rank for rank in environments_of_ranks(number)]
        return warm_process.call_ranks(arguments, tmp_path, environments)

    return call


@pytest.fixture
def finish(ranks: Callable[..., list[subprocess.CompletedProcess[str]]]) -> Callable[..., None]:
    """finish(arguments, number): let a command of so many processes end well."""

    def call(arguments: list[str], number: int = 1) -> None:
        ended = ranks(arguments, number)
        assert [done.returncode for done in ended] == [0] * number, ended[0].stderr

    return call


@pytest.fixture(scope="session")
def finished_runs(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run of the prototype on the small data set, to look at or to copy."""
    runs = tmp_path_factory.mktemp("finished") / "runs"
    assert main(run_command("prototype", runs, small_demo, *FEW)) == 0
    return runs


@pytest.fixture
def run_arguments(small_demo: Path) -> Callable[..., list[str]]:
    """Arguments of `fsbench bench --config` for what `bench_arguments` runs in a process of its own."""

    def arguments(method: str, runs: Path | str, *more: str) -> list[str]:
        few = [*FEW, "--trainer.max_epochs=2", "--trainer.limit_train_batches=3"]
        return run_command(method, runs, small_demo, *few, *more)

    return arguments


@pytest.fixture
def bench_arguments(small_demo: Path) -> Callable[..., list[str]]:
    """Arguments of `fsbench bench` on the small data set with the demo's backbone and sizes."""

    def arguments(method: str, runs: Path | str, *more: str) -> list[str]:
        return [
            "bench", "--method", method, "--dataset", "demo", "--runs", str(runs), *FEW, "--trainer.max_epochs=2",
            "--trainer.limit_train_batches=3", *images_of(small_demo), *more,
        ]  # fmt: skip

    return arguments
