"""An evaluation's batches as Lightning, the method and all its hooks get them: without the truth.

The truth of the batches under way is known only to two functions that are made here together: one that iterates over
the batches, and one that counts the answers to them. No object that a method can reach by its trainer holds it.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import lightning as L

from fsbench.core.datamodule import DataModule
from fsbench.core.evaluation import count_answers
from fsbench.errors import SettingsError

Count = Callable[[Any, Any], list[Any]]
"""Counts the outputs of a step of an evaluation on a batch; returns the results."""


class VisibleBatches(Iterable[Any]):
    """The batches of a loader without their truth.

    Args:
        length: their number.
        batches: iterates over them.
    """

    def __init__(self, length: int, batches: Callable[[], Iterator[Any]]):
        self.length, self.batches = length, batches

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        return self.batches()


@dataclass(frozen=True)
class Withheld:
    """The batches of an evaluation and the only one who knows their truth.

    Attributes:
        loader: makes the loader of batches without their truth.
        count: counts the outputs of the step on a batch that the loader gave; returns the results.
        end: ends the loader's processes.
    """

    loader: Callable[[], VisibleBatches]
    count: Count
    end: Callable[[], None]


def withhold_truth(name: str, protocol: Any, load: Callable[[], Any]) -> Withheld:
    """Part the batches of an evaluation from their truth.

    Args:
        name: of the method, for messages.
        protocol: parts a batch from its truth and counts an answer, see `fsbench.protocols.base.Protocol`.
        load: makes the loader of batches with their truth.
    """
    truths: dict[int, Any] = {}
    loaders: dict[int, Any] = {}  # that were made, and the last pass over each
    passes: dict[int, Generator[Any, None, None]] = {}

    def batches(loader: int) -> Generator[Any, None, None]:
        for batch in loaders[loader]:
            visible, separated = protocol.separate(batch)
            truths.update(zip(protocol.numbers(visible), separated, strict=True))
            yield visible

    def make_loader() -> VisibleBatches:
        loader = len(loaders)
        loaders[loader] = load()

        def start() -> Iterator[Any]:
            passes[loader] = batches(loader)
            return passes[loader]

        return VisibleBatches(len(loaders[loader]), start)

    def end() -> None:
        # a loader ends its processes when nothing refers to it any more
        while passes:
            passes.popitem()[1].close()
        loaders.clear()

    def count(outputs: Any, batch: Any) -> list[Any]:
        numbers = protocol.numbers(batch)
        unknown = [number for number in numbers if number not in truths]
        if unknown:
            raise SettingsError(
                f"{name}: a batch of the evaluation says that it is of episode {unknown[0]}, which it is not; leave "
                "the numbers of its episodes as they are"
            )
        return count_answers(name, protocol, outputs, [truths.pop(number) for number in numbers])

    return Withheld(make_loader, count, end)


def part_from_truth(name: str, data: DataModule) -> "tuple[VisibleData, Count, Count]":
    """Return the data as a trainer has them, and the functions that count the validation and the test.

    Args:
        name: of the method, for messages.
        data: the data module.
    """
    validation = withhold_truth(name, data.validation_protocol, data.val_dataloader)
    test = withhold_truth(name, data.protocol, data.test_dataloader)
    return VisibleData(data, validation, test), validation.count, test.count


class VisibleData(L.LightningDataModule):
    """The data of a run as its trainer has them: batches of training, and those of evaluations without their truth.

    What else a method asks of its data, such as the classes that it trains on, is the data module's own.

    Args:
        data: the data module.
        validation, test: its evaluations.
    """

    def __init__(self, data: DataModule, validation: Withheld, test: Withheld):
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer episodes left than processes
        self._data = data
        self._validation, self._test = validation, test

    def train_dataloader(self) -> Any:
        return self._data.train_dataloader()

    def val_dataloader(self) -> VisibleBatches:
        return self._validation.loader()

    def test_dataloader(self) -> VisibleBatches:
        return self._test.loader()

    def teardown(self, stage: str) -> None:
        """End the processes of the evaluations' loaders, as Lightning does those of a loader that it knows."""
        self._validation.end()
        self._test.end()

    def __getattr__(self, name: str) -> Any:
        if name == "_data":  # not yet there, in a copy
            raise AttributeError(name)
        return getattr(self._data, name)
