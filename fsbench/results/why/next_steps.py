"""Runs that would tell more: of causes that nothing here counts, and where no word of the test explains a distance."""

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fsbench.records.grouping import fold_of
from fsbench.records.record import Record
from fsbench.results.why.changes import BaseClassesChange, Change, CheckpointChange, DrawChange, SeedChange, ShotsChange
from fsbench.results.why.spreads import BestThreshold, Spread

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
    identity = record.run.identity
    side = next(side for side in USUAL_SIDES if side != identity.image_size)
    precision = "bf16" if identity.backbone.backbone_precision == "fp32" else "fp32"
    return (
        NextStep("weights", "the claimed figure's checkpoint and the backbone's file, by their hashes",
                 _bench(records, "--ckpt", "theirs.ckpt", "--weights", "theirs.pth")),
        NextStep("backbone", f"the claimed backbone; the run's is {identity.backbone.name}",
                 _bench(records, "--backbone", "THEIRS")),
        NextStep("precision", "the same test in another precision moves tenths, rarely points",
                 _bench(records, "--backbone-precision", precision)),
        NextStep("resize of the input", f"the side of the images; the run's is {identity.image_size or 'not known'}",
                 _bench(records, f"--data.image_size={side}")),
    )  # fmt: skip


def what_would_tell(records: Sequence[Record], at_hand: Collection[Change | Spread]) -> list[str]:
    """Say of each change that nothing at hand tells which further run would, with its command.

    Args:
        records: the disputed run, one record for each fold.
        at_hand: changes that can be weighed.
    """
    header = records[0].header
    kinds = {type(one) for one in at_hand}
    lines = []
    if BestThreshold not in kinds:
        lines.append(_line("best threshold on the test", "no soft masks are at hand",
                           _bench(records, "--keep-predictions", "soft")))  # fmt: skip
    if header.shot > 1 and ShotsChange not in kinds:
        lines.append(_line(f"{header.shot} shots voted or averaged", "no further run (--runs) joins them otherwise",
                           _bench(records, "--run.nshot_strategy", "vote")))  # fmt: skip
    if DrawChange not in kinds:
        lines.append(_line("draws of the supports", "the run has one", _bench(records, "--draws", "8")))
    if CheckpointChange not in kinds:
        lines.append(_line("best checkpoint by its test score", "no further run (--runs) has another checkpoint",
                           _bench(records, "--ckpt", "other.ckpt")))  # fmt: skip
    if SeedChange not in kinds:
        seed = 1 if header.seed in (0, None) else 0
        lines.append(_line("figure of another seed", "no further run (--runs) has its episodes",
                           _bench(records, "--test-seed", str(seed))))  # fmt: skip
    if BaseClassesChange not in kinds and header.classes == "novel":
        lines.append(_line("base classes among the test's", "no further run (--runs) is about them", _base(records)))
    return lines


def _line(what: str, why: str, command: str) -> str:
    return f"{what}: {why}" + (f"; make one: {command}" if command else "")


def _base(records: Sequence[Record]) -> str:
    """Return the commands that make the episodes of base classes of the first fold, and run those of all folds."""
    header = records[0].header
    if not _is_ours(records[0]):
        return ""
    fold = str(fold_of(records[0]))
    words = ["fsbench", "data", "manifest", "build", "--dataset", header.dataset, "--protocol", header.protocol]
    words += ["--shot", str(header.shot), "--fold", fold, "--classes", "base", "--out", f"base-{fold}.jsonl"]
    each = " (so for each fold)" if len(records) > 1 else ""
    return f"{shlex.join(words)}{each}; {_bench(records, '--manifest', 'base-{fold}.jsonl', is_stated=True)}"


def _bench(records: Sequence[Record], *further: str, is_stated: bool = False) -> str:
    """Return the command that runs the method of runs again on their folds; "" where it was not run here.

    Args:
        records: one for each fold.
        further: options that are other ones.
        is_stated: these state the test.
    """
    record = records[0]
    identity, header = record.run.identity, record.header
    if not _is_ours(record):
        return ""
    folds = ",".join(str(fold_of(each)) for each in records)
    words = ["fsbench", "bench", "--method", identity.method.name, "--dataset", header.dataset, "--fold", folds]
    words += [] if is_stated else ["--protocol", header.protocol, "--shot", str(header.shot)]
    return shlex.join([*words, *further])


def _is_ours(record: Record) -> bool:
    return record.run.identity.method.type != HANDED_IN
