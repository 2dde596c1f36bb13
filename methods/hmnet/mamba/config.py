"""Settings of the hybrid Mamba network; the defaults are the full model, the rest its ablation (hmnet.md §7)."""

from dataclasses import dataclass
from typing import Literal

from fsbench.base.errors import SettingsError
from fsbench.networks.ops.selective_scan import MAX_STATES


@dataclass(frozen=True)
class HybridMambaConfig:
    """Settings of the mixing of query and support.

    Args:
        blocks: number of blocks.
        hybrid: every second block mixes query and support; False makes all of them self blocks.
        srm: support recapped Mamba: "recap" scans the support before each query patch, "basic" once before the first,
            "off" not at all.
        qim: query intercepted Mamba: "share" reads the support's state with the parameters of direction 0, "basic"
            with parameters of its own, "off" leaves it out.
        qim_scalar_skip: True skips with the first channel's D for all channels, as the authors' code does; False with
            each channel's own.
        ratio: query patches a side.
        states: N, states of a channel.
    """

    blocks: int = 8  # §6
    hybrid: bool = True
    srm: Literal["recap", "basic", "off"] = "recap"
    qim: Literal["share", "basic", "off"] = "share"
    qim_scalar_skip: bool = True
    ratio: int = 4  # §6.4
    states: int = 16  # §6.5

    def check(self, side: int) -> None:
        """Raise SettingsError unless features of side x side can be cut into patches and scanned."""
        if self.blocks < 1 or self.ratio < 1 or self.states < 1:
            raise SettingsError(
                f"blocks, ratio and states are {self.blocks}, {self.ratio}, {self.states}; expected 1 or more"
            )
        if self.states > MAX_STATES:
            raise SettingsError(f"states is {self.states}, expected at most {MAX_STATES}, as the scan takes")
        if side < 1 or side % self.ratio:
            raise SettingsError(f"feature_side is {side}, expected a multiple of the {self.ratio} patches a side")
