"""Variants of DCAMA's head that the paper compares (dcama.md §11)."""

from dataclasses import dataclass
from typing import Literal

from fsbench.base.errors import SettingsError

GROUPS = 4
"""Groups of every GroupNorm (§6)."""


@dataclass(frozen=True)
class HeadOptions:
    """Options of DCAMA's network; the defaults are those of the authors' program.

    Attributes:
        support_background: "keep" attends to the support features as they are, "zero" multiplies them by the mask
            first; the features of skip connections are unchanged.
        skip_scales: scales (strides) whose last block enters the decoder by a skip connection, some of 4, 8 and 16.
        skip_support: whether the skip connections carry the support's features as well as the query's.
        attn_scales: scales (strides) at which the query attends to the supports: 32 alone, 16 and 32, or 8, 16 and 32.
        support_pixels: "all", or a number n: the query attends to n foreground and n background pixels of a support,
            drawn at random.
        heads: number of heads of each attention.
        dropout: probability of dropping tokens and attention weights while training.
        pe: "sin1d" adds sine position codes to the tokens, "none" adds nothing.
        width: number of channels of the decoder, which the paper does not vary.
    """

    support_background: Literal["keep", "zero"] = "keep"
    skip_scales: tuple[int, ...] = (4, 8)  # Tab. S3
    skip_support: bool = True  # Tab. S5 a
    attn_scales: tuple[int, ...] = (8, 16, 32)  # Tab. S4
    support_pixels: int | Literal["all"] = "all"  # Tab. S5 b
    heads: int = 8  # §5
    dropout: float = 0.5  # §5
    pe: Literal["sin1d", "none"] = "sin1d"  # §4
    width: int = 128  # §6

    def check(self) -> None:
        """Raise SettingsError if no head can be built with these options."""
        allowed = ((32,), (16, 32), (8, 16, 32))
        if tuple(sorted(self.attn_scales)) not in allowed:
            raise SettingsError(f"attn_scales is {list(self.attn_scales)}, expected [32], [16, 32] or [8, 16, 32]")
        if set(self.skip_scales) - {4, 8, 16} or len(set(self.skip_scales)) < len(self.skip_scales):
            raise SettingsError(f"skip_scales is {list(self.skip_scales)}, expected some of 4, 8, 16, each once")
        if self.support_pixels != "all" and self.support_pixels < 1:
            raise SettingsError(f"support_pixels is {self.support_pixels}, expected all, or a number from 1 on")
        if self.heads < 1:
            raise SettingsError(f"heads is {self.heads}, expected 1 or more")
        if not 0 <= self.dropout < 1:
            raise SettingsError(f"dropout is {self.dropout}, expected a number from 0 to below 1")
        if self.width < 8 * GROUPS or self.width % (8 * GROUPS):
            raise SettingsError(f"width is {self.width}, expected a multiple of {8 * GROUPS}")
