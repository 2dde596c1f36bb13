"""The clock of `fsbench cost`, which credits every second to the part of an episode that is at work."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch


class PartClock:
    """Seconds of the parts of an episode; a part inside another one stops the outer one's time.

    The parts' seconds add up to those between entering the outermost part and leaving it, since each ends where the
    next begins. On a CPU they are processor seconds of all threads, which other programs on the machine hardly change.
    On a GPU they are those between events in its stream: a part's own kernels, and the time that the GPU waits for it.

    Args:
        device: where the method runs.
        now: another clock, in seconds.
    """

    def __init__(self, device: torch.device, now: Callable[[], float] = time.process_time):
        self._device = device
        self._now = now
        self._open: list[str] = []
        self._marks: list[tuple[str | None, Any]] = []  # the part at work from here on, and the moment

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Credit the block to the part `name`."""
        self._open.append(name)
        self._mark()
        try:
            yield
        finally:
            self._open.pop()
            self._mark()

    def wrap(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return `call` as a function whose time is that of `part`."""

        def credited(*arguments: Any, **options: Any) -> Any:
            with self.part(part):
                return call(*arguments, **options)

        return credited

    def wrap_methods(self, part: str, owner: Any, *names: str) -> AbstractContextManager[Any]:
        """Credit calls of an object's methods to `part` until the returned context is left."""
        stack = ExitStack()
        for name in names:
            own, call = name in vars(owner), getattr(owner, name)
            setattr(owner, name, self.wrap(part, call))
            stack.callback(setattr, owner, name, call) if own else stack.callback(delattr, owner, name)
        return stack

    def restart(self) -> None:
        """Forget the seconds so far; no part may be at work."""
        self._marks.clear()

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each part; none may be at work."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        total: dict[str, float] = {}
        for (part, begin), (_, end) in zip(self._marks, self._marks[1:], strict=False):
            if part is not None:
                total[part] = total.get(part, 0.0) + self._between(begin, end)
        return total

    def _mark(self) -> None:
        moment: Any
        if self._device.type == "cuda":
            moment = torch.cuda.Event(enable_timing=True)
            moment.record(torch.cuda.current_stream(self._device))
        else:
            moment = self._now()
        self._marks.append((self._open[-1] if self._open else None, moment))

    def _between(self, begin: Any, end: Any) -> float:
        return float(begin.elapsed_time(end)) / 1000 if self._device.type == "cuda" else end - begin
