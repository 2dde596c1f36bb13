"""Checks that a method can leave its process: pickled into another one, and by a checkpoint of its weights."""

import io
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache

import torch

from fsbench.core.released_format import WRITTEN_BY
from fsbench.runner.config.parse import quiet
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.contract.outcome import ViolationError
from fsbench.runner.contract.subject import Answer, Episode, Subject, answer, require_same

EPISODES = 2
SECONDS = 300
"""Time that the other process has for its answers."""


def check_another_process(subject: Subject) -> str:
    """The method is pickled, and another process, started by spawn, gives the same answers with it."""
    episodes = [subject.episode(40 + index) for index in range(EPISODES)]
    here = [answer(subject.method, episode) for episode in episodes]
    try:
        shipped = pickle.dumps(subject.method)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ViolationError(
            f"a method that cannot be pickled ({error})", "one that can", "keep no lambdas, files or locks in it"
        ) from error
    there = _remote_answers(shipped, subject.configuration, episodes)
    for one, other in zip(here, there, strict=True):
        advice = "keep all that an answer depends on in the object, not in globals of a module"
        require_same(one, other, "other answers in another process", advice)
    return f"equal bits of {EPISODES} episodes in a spawned process ({len(shipped) / 2**20:.1f} MiB pickled)"


@cache
def _process() -> ProcessPoolExecutor:
    """Return the other process, one for all methods: its imports take seconds."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=quiet)


def _remote_answers(shipped: bytes, configuration: RunConfig | None, episodes: list[Episode]) -> list[Answer]:
    """Return the other process's answers. Raises ViolationError if it ends without any, or gives none in `SECONDS`."""
    pool = _process()
    try:
        return pool.submit(_answers, shipped, configuration, episodes, torch.get_num_threads()).result(timeout=SECONDS)
    except BrokenProcessPool as error:
        _process.cache_clear()  # the next method gets a new one
        raise ViolationError(
            "another process that ended before it answered", "answers", "look for a crash or a lack of memory"
        ) from error
    except TimeoutError as error:
        _process.cache_clear()
        for process in list(pool._processes.values()):
            process.kill()  # else it would be waited for at the end
        raise ViolationError(
            f"no answers of another process after {SECONDS} s", "answers", "look for a lock, or a loop without an end"
        ) from error


def _answers(shipped: bytes, configuration: RunConfig | None, episodes: list[Episode], threads: int) -> list[Answer]:
    """Answer episodes in the other process."""
    torch.set_num_threads(threads)
    try:
        method = pickle.loads(shipped)
    except ImportError:  # the class is in a file that the configuration names
        if configuration is None:
            raise
        configuration.parse(build=False)
        method = pickle.loads(shipped)
    return [answer(method, episode) for episode in episodes]


def check_checkpoint(subject: Subject) -> str:
    """The weights, written and loaded into a new object, give the same answers, and both describe themselves alike."""
    saved, other = subject.method, subject.fresh(offset=1)
    content = {"state_dict": saved.state_dict()}
    saved.on_save_checkpoint(content)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    buffer.seek(0)
    read = torch.load(buffer, weights_only=True)
    inside = [name for name in read["state_dict"] if name.startswith("backbone.")]
    if inside:
        raise ViolationError(
            f"{len(inside)} weights of the frozen backbone in the checkpoint, such as {inside[0]}",
            "what was learned alone",
            "do not register the frozen network as a module",
        )
    if other.describe() != read.get(WRITTEN_BY) or saved.describe() != other.describe():
        raise ViolationError(
            f"the description {read.get(WRITTEN_BY)} in the checkpoint, {other.describe()} of a new object",
            "the same",
            "let checkpoint_settings return the settings, and call super().on_save_checkpoint",
        )
    if not saved.learns:
        return "equal describe(); nothing is learned before the episodes, so nothing is loaded"
    other.load_state_dict(read["state_dict"])
    for index in range(EPISODES):
        episode = subject.episode(50 + index)
        advice = "register every learned tensor as a parameter or a buffer"
        require_same(answer(saved, episode), answer(other, episode), "other answers after loading", advice)
    return f"{len(read['state_dict'])} tensors written and loaded; equal bits of {EPISODES} episodes; equal describe()"
