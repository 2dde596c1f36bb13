"""One family of errors for everything a user can get wrong.

The first line of a message says what was found, what was expected, and what to do; further lines may say how. The
command line prints it without a traceback (unless `--debug`) and exits with status 2.
"""

import re
import sys
from collections.abc import Sequence

GOES_ON = "the same command goes on from here"
"""What stopped commands say that lose nothing."""


class FsbenchError(Exception):
    """Something about the input, the files or the settings is wrong; the message is meant for the user."""


class DataError(FsbenchError):
    """An image, mask, annotation or list file cannot be used."""


class SettingsError(FsbenchError):
    """An argument or configuration value is unknown or does not fit the others."""


class CheckpointError(FsbenchError):
    """A checkpoint or weight file does not fit the model."""


class RecordError(FsbenchError):
    """A run's record is missing, incomplete or was changed."""


class NumericsError(FsbenchError):
    """A computation met numbers it cannot work with, or did not converge."""


class RunError(FsbenchError):
    """A process of a run ended before the run did."""


def user_message(error: BaseException) -> str:
    """The message of `error`, without the traceback that a data loader's worker wrapped around it."""
    text = str(error)
    if text.startswith("Caught "):  # torch's loader quotes the worker's traceback; the last entry is ours
        text = re.split(rf"\n[\w.]*{type(error).__name__}: ", text)[-1]
    return text.strip()


def say_left_out(refused: Sequence[str]) -> int:
    """Say which runs are not in what was printed, a message each; the exit status."""
    for message in refused:
        print(f"fsbench: error: left out: {message}", file=sys.stderr)
    return 1 if refused else 0
