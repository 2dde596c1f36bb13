"""Processes of one command that share their imports: each forks from a server that has imported what runs need.

The command itself imports no torch. It lets forks look up where a run's record is or will be, and make the run. The
server is the standard library's. It only imports: no thread that computes and no GPU would be lost by a fork.
"""

import atexit
import multiprocessing
import os
import signal
import sys
import traceback
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fsbench.base.environment import PARENT, check_temporary_folder
from fsbench.base.errors import FsbenchError, RunError, describe, exit_status
from fsbench.base.files.opening import opened_files
from fsbench.base.terminal import print_block
from fsbench.runner.config.compose import Configuration
from fsbench.runner.engine.machine.watchdog import changed_environment, safe_imports

if TYPE_CHECKING:
    from fsbench.runner.engine.experiment import Experiment

MODULES = (
    "fsbench.__main__",
    "fsbench.runner.engine.forks",
    "fsbench.runner.engine.run",
    "fsbench.datamodules.episodic",
)
"""Modules that the server imports; they import the rest."""

STDOUT, STDERR = 1, 2  # file descriptors

_path = tuple(sys.path)  # of the server, without the working folder, which the command's may begin with

context = multiprocessing.get_context("forkserver")


def start_server() -> None:
    """Let the server start to import, unless there is one. It ends with the last of this process and its forks.

    Raises SettingsError where the folder of temporary files has no room for the name of its socket.
    """
    check_temporary_folder()
    context.set_forkserver_preload(list(MODULES))
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal would reach it amid an import
    try:
        with changed_environment(safe_imports()):
            forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, previous)


@dataclass(frozen=True)
class _Descriptor:
    """A file descriptor that a fork gets a duplicate of."""

    number: int

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (DupFd(self.number),)


def _received(duplicate: Any) -> _Descriptor:
    return _Descriptor(duplicate.detach())


def _fork(work: Any, *arguments: Any, output: int = STDERR) -> BaseProcess:
    """Start `work(*arguments)` in a fork with this process's environment and standard error, and what it prints there.

    Args:
        work: a function of a module that the server has.
        *arguments: values that can be pickled.
        output: file descriptor for the fork's standard output and error.

    Raises:
        RunError: the server cannot be started.
    """
    start_server()
    outer = (dict(os.environ), _Descriptor(output), work, arguments)
    process = context.Process(target=_work, args=outer)
    try:
        process.start()
    except (EOFError, ConnectionError) as error:
        raise RunError(
            "the process that imports torch for the runs ended; expected it to go on; try: python -c 'import torch'"
        ) from error
    return process


def _work(environment: dict[str, str], output: _Descriptor, work: Any, arguments: tuple[Any, ...]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.environ[PARENT] = str(os.getppid())
    for number in (STDOUT, STDERR):
        os.dup2(output.number, number)
    sys.path[:] = _path
    own = multiprocessing.get_all_start_methods()[0]  # the platform's, for loaders' workers; it is the server's here
    multiprocessing.set_start_method(own, force=True)
    work(*arguments)


# To locate a run


Place = tuple[Path, list[str]]
"""The folder where a run's record is or will be, and the files that this follows from, or none of them."""


@dataclass(frozen=True)
class _Question:
    """Where is the record of a run? The arguments are those of `locate_run`."""

    configuration: Configuration
    on_this_machine: bool
    with_files: bool


@dataclass(frozen=True)
class _GoOn:
    """The only run that a fork has located is to be made now, by that fork."""

    debug: bool


def locate_run(configuration: Configuration, on_this_machine: bool = False, with_files: bool = False) -> Place:
    """Return where a run's record is or will be, and the files that this follows from: images, label maps, lists and
    descriptions of the data set, weights. Its frozen network is not built.

    A fork does it, the same one for all runs; a process that has imported torch does it itself.

    Args:
        configuration: the run's.
        on_this_machine: whether to check as well that this machine has the devices that it asks for.
        with_files: whether to list the files.

    Raises:
        FsbenchError: the run cannot be made.
    """
    question = _Question(configuration, on_this_machine, with_files)
    if "torch" in sys.modules:
        return _locate(question)[1]
    global _locator
    if _locator is None:
        _locator = _Locator()
    return _locator.ask(question)


def end_locator() -> None:
    """End the fork that locates runs, if there is one: its memory is for the runs."""
    global _locator
    if _locator is not None:
        _locator.process.terminate()
        _locator = None


_locator: "_Locator | None" = None
atexit.register(end_locator)


class _Locator:
    """The fork that locates runs, the connection to it, and the configurations that it was asked about."""

    def __init__(self) -> None:
        self.connection, other = context.Pipe()
        self.process = _fork(_serve, other)
        self.located: list[Configuration] = []
        other.close()

    def ask(self, question: _Question) -> Place:
        self.located.append(question.configuration)
        try:
            self.connection.send(question)
            answer: Place | Exception = self.connection.recv()
        except (EOFError, ConnectionError) as error:
            raise RunError("the process that locates runs ended; out of memory? try again") from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def has_built_only(self, configuration: Configuration) -> bool:
        """Return whether the fork can make this run as one that does nothing else would make it."""
        return len(self.located) == 1 and self.located[0] is configuration and self.process.is_alive()

    def go_on(self, debug: bool) -> BaseProcess:
        """Let the fork make the run that it has located."""
        self.connection.send(_GoOn(debug))
        return self.process


def _serve(connection: Connection) -> None:
    """Answer questions until the run is to be made, or the process that asks ends; that one gets Ctrl-C as well."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    experiment: Any = None
    while connection in wait([connection, parent.sentinel]):
        try:
            message = connection.recv()
        except EOFError:
            return
        if isinstance(message, _GoOn):
            _run(experiment, message.debug, apart=False)
        answer: Place | Exception
        experiment = None  # one at a time: its data may be large
        try:
            experiment, answer = _locate(message)
        except Exception as error:
            answer = _portable(error)
        connection.send(answer)


def _portable(error: Exception) -> Exception:
    """Return an error that another process can raise: `error`, or one with its words where a package has its class."""
    if os.environ.get("FSBENCH_TRACEBACK", "0") not in ("", "0"):
        print_block(traceback.format_exc(), sys.stderr)
    is_known = type(error).__module__ in ("builtins", FsbenchError.__module__)
    return error if is_known else FsbenchError(describe(error))


def _locate(question: _Question) -> "tuple[Experiment, Place]":
    # with torch
    from fsbench.runner.engine.experiment import build_experiment
    from fsbench.runner.engine.machine.check import check_machine

    with opened_files() as opened:
        experiment = build_experiment(question.configuration)
        if question.on_this_machine:
            check_machine(experiment.trainer_settings)
        folder = experiment.folder
    if question.with_files:
        opened.update(os.path.abspath(file) for file in experiment.files)  # noqa: PTH100 - twice the time
    return experiment, (folder, sorted(opened) if question.with_files else [])


# To make a run


def start_run(configuration: Configuration, log: Path | None = None, debug: bool = False) -> BaseProcess:
    """Start a run in a fork, which ends when this process does, however that happens.

    The fork that located it makes it, if it located no other. Otherwise that one ends.

    Args:
        configuration: the run's.
        log: file that all its output is appended to. Then it has a session of its own: Ctrl-C in a terminal reaches
            this process alone. None for this process's standard error, since progress is no output.
        debug: whether its errors are shown with their tracebacks.
    """
    global _locator
    if log is None and _locator is not None and _locator.has_built_only(configuration):
        locator, _locator = _locator, None
        return locator.go_on(debug)
    end_locator()
    if log is None:
        return _fork(_run, configuration, debug, False)
    with log.open("a") as out:
        return _fork(_run, configuration, debug, True, output=out.fileno())


def _run(wanted: "Configuration | Experiment", debug: bool, apart: bool) -> NoReturn:
    """Make a run, which is built already or not, and end the process with its exit status.

    `apart`: in a session of its own.
    """
    # with torch
    from fsbench.runner.engine.experiment import build_experiment
    from fsbench.runner.engine.machine.process_group import leaving_process_group
    from fsbench.runner.engine.run import run

    def make() -> int:
        try:
            with leaving_process_group():
                run(build_experiment(wanted) if isinstance(wanted, Configuration) else wanted)
        except KeyboardInterrupt:
            if apart:
                raise
            return 130  # the command says it
        return 0

    signal.signal(signal.SIGINT, signal.default_int_handler)
    if apart:
        os.setsid()
    sys.exit(exit_status(make, debug, below_bar=True, resumes=True))
