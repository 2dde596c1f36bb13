"""Few-shot segmentation as HDMNet's program tests it: HMNet's test with ten seeds (hdmnet.md §8)."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from fsbench.protocols.base import OTHERS
from fsbench.protocols.pfenet import PFENet

HDMNET_SEEDS = (510, 365, 382, 322, 988, 98, 742, 17, 595, 106)
"""Seeds of the program's ten runs, as numpy draws them from 123."""
VALIDATION_SEED = 321


@dataclass(frozen=True)
class HDMNet(PFENet):
    """PFENet's lists and draws; pixels are counted at the query's original size, and figures are means of ten tests."""

    seed: int | None = HDMNET_SEEDS[0]
    episodes: dict[str, int | Literal["all"]] = field(default_factory=lambda: {OTHERS: 1000, "coco": 10000})
    streams: dict[str, int] = field(default_factory=lambda: {OTHERS: 8})

    averaged_seeds: ClassVar[tuple[int, ...]] = HDMNET_SEEDS

    @property
    def in_validation(self) -> "HDMNet":
        """The test that chooses a checkpoint: 1000 episodes of every data set, by a seed of its own (§7)."""
        return replace(self, seed=VALIDATION_SEED, episodes={OTHERS: 1000})

    def seed_words(self) -> str:
        others = ", ".join(str(seed) for seed in HDMNET_SEEDS if seed != self.seed)
        return f"{self.seed}; the program's figures are means over this and {others}: TEST_SEED="
