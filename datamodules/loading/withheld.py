"""The batches of an evaluation as Lightning, a method and all its hooks get them: without their truth.

The truth of the batches under way is kept by functions that are made here together: one that iterates over batches, and
one that gives the truth of answers to whoever counts them. So a method cannot take it by mistake, from a batch, the
outputs or a loader's batches. It can be had on purpose, as everything in one process can: a method is trusted code
(docs/guarantees.md).
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple

from fsbench.base.errors import SettingsError
from fsbench.data.episodes.manifest import Manifest
from fsbench.protocols.test import Test

Pass = Generator[Any, None, None]


def _unchanged(loader: Any) -> Pass:
    yield from loader


class Batches:
    """Batches for a Trainer, which leaves such a loader as it is: data modules divide the episodes themselves.

    Args:
        loader: the loader.
        start: makes a pass over the loader; by default one that changes no batch. It begins with the first batch, when
            the loader knows its epoch, since worker processes draw ahead.

    Attributes:
        batch_sampler: the loader's, which Lightning tells the number of the epoch.
    """

    def __init__(self, loader: Any, start: Callable[[Any], Pass] = _unchanged):
        self._loader, self._start = loader, start
        self._length = len(loader)
        self._pass: Pass | None = None
        self.batch_sampler = loader.batch_sampler

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        if self._pass is not None:
            self._pass.close()
        self._pass = self._start(self._loader)
        return self._pass

    def end(self) -> None:
        """Let go of the loader, which ends its processes when nothing refers to it any more."""
        if self._pass is not None:
            self._pass.close()
        self._loader = ()


class Withheld(NamedTuple):
    """Functions that hide the truth of batches, give it to whoever counts answers, and end the loaders' processes."""

    hide: Callable[[Any, Test, bool], Batches]
    take: Callable[[Test, Sequence[int], str], list[Any]]
    end: Callable[[], None]


def withhold() -> Withheld:
    """Return the three functions; truths that are not `kept` for counting, as in a prediction, are dropped at once."""
    truths: dict[tuple[Manifest, int], Any] = {}
    made: dict[Manifest, Batches] = {}

    def hide(loader: Any, test: Test, kept: bool) -> Batches:
        def visible(batches: Any) -> Pass:
            for batch in batches:
                seen, parted = test.part(batch)
                if kept:
                    asked = [(test.manifest, number) for number in test.numbers(seen)]
                    truths.update(zip(asked, parted, strict=True))
                yield seen

        if test.manifest in made:  # a Trainer that loads anew
            made[test.manifest].end()
        made[test.manifest] = Batches(loader, visible)
        return made[test.manifest]

    def take(test: Test, numbers: Sequence[int], name: str) -> list[Any]:
        asked = [(test.manifest, number) for number in numbers]
        unknown = [key for key in asked if key not in truths]
        if unknown:
            raise SettingsError(
                f"{name}: a batch says that it is of episode {unknown[0][1]}, which it is not; leave the numbers of "
                "its episodes as they are"
            )
        return [truths.pop(key) for key in asked]

    def end() -> None:
        while made:
            made.popitem()[1].end()
        truths.clear()

    return Withheld(hide, take, end)
