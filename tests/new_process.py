"""The body of a test in a process of its own, in which nothing was done before: not every process may be forked."""

import multiprocessing
from collections.abc import Callable
from typing import Any

LIMIT_SECONDS = 400


def in_new_process(body: Callable[..., Any], *arguments: Any) -> None:
    """Call a function of a module with some arguments in a process that begins from nothing; it has to end well.

    torch refuses gradients in a fork of a process that has had threads for them, as other tests leave them behind.
    """
    process = multiprocessing.get_context("spawn").Process(target=body, args=arguments)
    process.start()
    process.join(LIMIT_SECONDS)
    if process.is_alive():
        process.kill()
    assert process.exitcode == 0
