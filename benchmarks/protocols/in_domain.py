"""Evaluate a checkpoint that was trained on the classes of the test, as critics of "in-domain" training ask for."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fsbench.base.errors import SettingsError
from fsbench.base.files import replacing, write_text
from fsbench.records.card import FILE
from fsbench.runner.config.build import parse_configuration
from fsbench.runner.engine.checkpoint import TRAINED_ON, read_checkpoint
from fsbench.runner.grid.bench import Request, bench

CARD = "novel_pixels: labelled      # trained on the classes of the test\n"


def evaluate_in_domain(methods: Sequence[Sequence[str]], options: argparse.Namespace) -> str:
    """Evaluate checkpoints of other folds in the folder `in-domain` of the runs, and name the runs.

    Args:
        methods: name=checkpoint, then arguments of its runs.
        options: of the command line.

    Raises:
        SettingsError: a method has no checkpoint, one did not see the classes of the test, or a run failed.
    """
    folder = Path(options.runs) / "in-domain"
    lines = []
    for named, *own in methods:
        method, _, checkpoint = named.partition("=")
        if not checkpoint:
            raise SettingsError(f"--in-domain got the method '{named}'; expected {named}=CHECKPOINT of another fold")
        request = Request(
            methods=[method],
            dataset=options.dataset,
            folds=[options.fold],
            runs=str(folder),
            protocol=options.protocol,
            checkpoint=str(folder / f"{method}.ckpt"),
            data_root=options.data_root,
            lists=options.lists,
            extra=[*own, *options.extra],
        )
        data = parse_configuration(request.configuration(method, options.fold), build=False).build_data()
        test_classes = list(data.manifest.header.class_names.values())
        trained_on = read_checkpoint(Path(checkpoint)).get(TRAINED_ON)
        check_saw_classes(checkpoint, trained_on, data.dataset.name, options.fold, test_classes)
        forget_classes(Path(checkpoint), folder / f"{method}.ckpt")
        records, failures = bench(request)
        if failures:
            raise SettingsError(failures[0])
        write_text(records[0].path / FILE, CARD)
        lines.append(f"{records[0].path}: mIoU {records[0].run.scores['mIoU']:.1f}, in domain")
    return "\n".join(lines)


def check_saw_classes(
    checkpoint: str, trained_on: Mapping[str, Any] | None, dataset: str, fold: int, test_classes: Sequence[str]
) -> None:
    """Check that a checkpoint was trained on every class of a test.

    Args:
        checkpoint: its path, for the message.
        trained_on: its data set, fold and classes as it stores them; None where it stores none.
        dataset, fold: of the test.
        test_classes: names of the test's classes.

    Raises:
        SettingsError: it was not, or does not tell.
    """
    expected = f"expected one that was trained on all classes of {dataset} fold {fold}, as one of another fold is"
    if trained_on is None:
        raise SettingsError(f"the checkpoint {checkpoint} does not tell its classes; {expected}")
    whose = f"the checkpoint {checkpoint} was trained on fold {trained_on['fold']} of {trained_on['dataset']}"
    if trained_on["dataset"] != dataset:
        raise SettingsError(f"{whose}; {expected}")
    unseen = [name for name in test_classes if name not in trained_on["classes"]]
    if unseen:
        more = ", …" if len(unseen) > 3 else ""
        raise SettingsError(f"{whose}, which did not show it {', '.join(unseen[:3])}{more}; {expected}")


def forget_classes(checkpoint: Path, copy: Path) -> Path:
    """Write a copy of a checkpoint without the classes it was trained on, for which it would be refused.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    content = {key: value for key, value in read_checkpoint(checkpoint).items() if key != TRAINED_ON}
    copy.parent.mkdir(parents=True, exist_ok=True)
    with replacing(copy) as temporary, temporary.open("wb") as file:
        torch.save(content, file)
    return copy
