"""What to look at where no word of the test explains a distance: the causes of other predictions, and their tests."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from fsbench.records.grouping import fold_of
from fsbench.records.record import Record

HANDED_IN = "handed in"
"""Type of a method whose predictions were made elsewhere."""
USUAL_SIDES = (473, 417)
"""Sides of the input that most published programs have."""


@dataclass(frozen=True)
class NextStep:
    """A cause of other predictions, and the command that tests it.

    Attributes:
        what: the cause.
        why: what to compare.
        command: that tests it; "" where the predictions were made elsewhere.
    """

    what: str
    why: str
    command: str


def next_steps(records: Sequence[Record]) -> tuple[NextStep, ...]:
    """List what to look at next, the most usual first; commands are of the runs' own method and test."""
    record = records[0]
    identity, header = record.run.identity, record.header
    is_ours = identity.method.type != HANDED_IN
    folds = ",".join(str(fold_of(each)) for each in records)
    side = next(side for side in USUAL_SIDES if side != identity.image_size)

    def bench(*further: str) -> str:
        words = ["fsbench", "bench", "--method", identity.method.name, "--dataset", header.dataset, "--fold", folds]
        words += ["--protocol", header.protocol, "--shot", str(header.shot), *further]
        return shlex.join(words) if is_ours else ""

    precision = "bf16" if identity.backbone.backbone_precision == "fp32" else "fp32"
    return (
        NextStep("weights", "the claimed figure's checkpoint and the backbone's file, by their hashes",
                 bench("--ckpt", "theirs.ckpt", "--weights", "theirs.pth")),
        NextStep("backbone", f"the claimed backbone; the run's is {identity.backbone.name}",
                 bench("--backbone", "THEIRS")),
        NextStep("precision", "the same test in another precision moves tenths, rarely points",
                 bench("--backbone-precision", precision)),
        NextStep("resize of the input", f"the side of the images; the run's is {identity.image_size or 'not known'}",
                 bench(f"--data.image_size={side}")),
    )  # fmt: skip
