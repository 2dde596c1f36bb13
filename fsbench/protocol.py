"""A protocol: the choices that make two figures comparable, written down in `configs/protocols/*.yaml`."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args, get_type_hints

from fsbench.errors import SettingsError
from fsbench.metrics import VoidPolicy
from fsbench.paths import CONFIGS


@dataclass(frozen=True)
class Protocol:
    """See the comments in the YAML files for what each choice means.

    Attributes:
        name, version: together part of every record's identity; the version grows when a choice changes.
        sampler: rule that draws the episodes.
        episodes: number of test episodes (size-restricted settings have their own, smaller number).
        validation_episodes: number of fixed validation episodes.
        query_size: resolution of the metrics.
        void: what void pixels count as.
        presence: how presence follows from the mask for methods that only segment.
