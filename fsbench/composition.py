"""The configuration of one cell (a method on one fold): YAML files listed one after the other, then the command line.

This is the only module, besides the command line, that knows jsonargparse and LightningCLI.
"""

import difflib
import importlib
import inspect
import logging
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from fsbench.ensembles import NShotStrategy
from fsbench.errors import FsbenchError, SettingsError


@dataclass
class RunOptions:
    """What a run is besides model, data and trainer.

    Args:
        name: of the method in tables, the stem of its file in configs/methods.
        runs: folder of all runs.
        checkpoint: evaluate this checkpoint (ours or the authors') instead of training.
        force: run again although the record exists.
        tf32: allow TF32 on CUDA; off, since it changes results in the third digit.
        nshot_strategy: how K shots become one prediction: as the method does it, or an ensemble of one-shot ones.
    """

    name: str = "unnamed"
    runs: str = "runs"
    checkpoint: str | None = None
    force: bool = False
    tf32: bool = False
    nshot_strategy: NShotStrategy = "own"


class SuiteCLI(LightningCLI):
    """LightningCLI for one cell, with the group `run` beside model, data and trainer."""

    def __init__(self, args: ArgsType):
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            run=False,
            args=args,
            save_config_callback=None,
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False, "allow_abbrev": False},
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_class_arguments(RunOptions, "run")
        parser.link_arguments("seed_everything", "data.init_args.seed")

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """The runner makes the trainer when it is known that something is to be done."""
        return None


def parse(arguments: Sequence[str]) -> SuiteCLI:
    """Model, data module and options from command-line arguments in LightningCLI's form.

    Raises the FsbenchError that a constructor raised, or SettingsError for what the parser does not accept.
    """
    from jsonargparse import ArgumentError

    quiet()
    try:
        return SuiteCLI(list(arguments))
    except (ArgumentError, ValueError, TypeError, FsbenchError) as error:
        own = _find_own(error)
        if own is not None:
            raise own from error
        raise SettingsError(_explain(str(error))) from error


def quiet() -> None:
    """Keep Lightning's remarks (seeds, devices, tips) off the screen; a run's go to its log."""
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    warnings.filterwarnings("ignore", message=r".*configure_optimizers` will be overridden")  # as was asked for
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _find_own(error: BaseException | None) -> FsbenchError | None:
    """An FsbenchError somewhere behind `error`; the parser wraps what constructors raise."""
    while error is not None:
        if isinstance(error, FsbenchError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _explain(text: str) -> str:
    """The parser's message in one line: which option, of what, and what was expected."""
    refused = re.search(r"class_path '([\w.]+)':\s*Option '(\w+)' is not accepted", text)
    if refused:
        module, _, name = refused[1].rpartition(".")
        known = list(inspect.signature(getattr(importlib.import_module(module), name)).parameters)
        close = difflib.get_close_matches(refused[2], known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are: {', '.join(known)}"
        return f"{refused[1]} has no option '{refused[2]}'; {hint}"
    keys = re.findall(r'Parser key "([\w.]+)":', text)
    where = ".".join(dict.fromkeys(keys))
    value = text.rpartition(f'"{keys[-1]}":')[2].strip().splitlines()[0] if keys else ""
    if value and not value.startswith("Does not validate"):
        return f"{where}: {value}"
    # of several things that a value may be, why it is not the first; a reason that ends with a colon has a second line
    reasons = re.findall(r"^ *- (.+:\n.+|.+)$", text, re.MULTILINE)
    if reasons:
        return f"{where or 'configuration'}: {' '.join(reasons[0].split())}"
    return " ".join(text.split())
