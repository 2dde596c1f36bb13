"""A method of the suite as an object that answers a test: with the suite's loader, on one device."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from fsbench.core.evaluation import answering
from fsbench.core.loading import LoadingConfig, load_item
from fsbench.core.method import Method
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import collate
from fsbench.doors.evaluate import Parts
from fsbench.errors import SettingsError
from fsbench.protocols.test import Test
