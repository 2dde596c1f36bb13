"""The validation of a training as Lightning, the method and all its hooks get it: without the truth.

The truth of the batches under way is kept by two functions that are made here together: one that iterates over the
batches, and one that counts the answers to them. So a method cannot take it by mistake, from a batch, the outputs or a
loader's batches. It can be had on purpose, from what these functions close over, as everything in one process can: a
method is trusted code (docs/guarantees.md). (A test is no part of Lightning's loops: `fsbench.protocols.loop`
hands the method batches that never had it.)
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import lightning as L

from fsbench.base.errors import SettingsError
from fsbench.datamodules.datamodule import DataModule
from fsbench.protocols.draws.pools import Pool
from fsbench.protocols.loop import count_answers

Count = Callable[[Any, Any], list[Any]]
"""Counts the outputs of a validation step on a batch; returns the results."""


class VisibleBatches(Iterable[Any]):
    """Batches of a loader with the truth removed.

    Args:
        length: number of batches.
        batches: returns an iterator over the batches.
    """

    def __init__(self, length: int, batches: Callable[[], Iterator[Any]]):
        self.length, self.batches = length, batches

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        return self.batches()


class WithheldData(L.LightningDataModule):
    """Data module for a trainer that hides the true masks of validation episodes from the method.

    Args:
        data: the data module to wrap.
        validation: makes the validation loader, whose batches have no truth.
        end: ends the worker processes of that loader.
    """

    counts_validation_elsewhere = True

    def __init__(self, data: DataModule, validation: Callable[[], VisibleBatches], end: Callable[[], None]):
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer episodes than processes
        self._data, self._validation, self._end = data, validation, end
        # What methods ask while they are trained
        self.dataset, self.training = data.dataset, data.training
        self.step_division, self.loss_weight = data.step_division, data.loss_weight

    @property
    def training_pool(self) -> Pool:
        """Images of the base classes, from which training episodes are drawn."""
        return self._data.training_pool

    def train_dataloader(self) -> Any:
        return self._data.train_dataloader()

    def state_dict(self) -> dict[str, Any]:
        self._data.trainer = self.trainer  # which knows the epoch
        return self._data.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._data.load_state_dict(state_dict)

    def val_dataloader(self) -> VisibleBatches:
        return self._validation()

    def teardown(self, stage: str) -> None:
        """End the validation loader's processes."""
        self._end()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._data.on_save_checkpoint(checkpoint)


def withhold_validation(name: str, data: DataModule) -> tuple[WithheldData, Count]:
    """Return the data module without validation truth, and a function that counts validation predictions.

    Args:
        name: the name of the method, for messages.
        data: the data module to wrap.

    Returns:
        The data for the trainer; a function from (outputs, batch) of a validation step to each episode's counted
        result.
    """
    truths: dict[int, Any] = {}
    loaders: dict[int, Any] = {}  # that were made, and the last pass over each
    passes: dict[int, Generator[Any, None, None]] = {}

    def batches(loader: int) -> Generator[Any, None, None]:
        test = data.validated  # which is there only where a method is trained
        for batch in loaders[loader]:
            visible, parted = test.part(batch)
            truths.update(zip(test.numbers(visible), parted, strict=True))
            yield visible

    def make_loader() -> VisibleBatches:
        loader = len(loaders)
        loaders[loader] = data.val_dataloader()

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
        test = data.validated
        answers = outputs.get("answers") if isinstance(outputs, dict) else None
        numbers = test.numbers(batch)
        unknown = [number for number in numbers if number not in truths]
        if unknown:
            raise SettingsError(
                f"{name}: a batch of the validation says that it is of episode {unknown[0]}, which it is not; leave "
                "the numbers of its episodes as they are"
            )
        return count_answers(test, answers, [truths.pop(number) for number in numbers], name)

    return WithheldData(data, make_loader, end), count
