"""Regression: the answers that methods gave on a few episodes, kept as files, and what differs from them now.

`benchmarks/regression/cases.yaml` says what is run, `<case>.json` beside it what came out when it was last accepted.
Other processors and other versions of torch round differently, which moves single pixels of an outline; so a mask may
differ in `PIXELS`, and everything that follows from it by as much. Where no pixel differs, all counts must be the same.
The scores of the accepted counts are computed anew and must be the same in any case.
Measured on one machine: without vector instructions and oneDNN (ATEN_CPU_CAPABILITY=default) against AVX-512, at most 2
pixels of some 20,000 and 4e-5 of a loss.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsbench.counts import COUNTS, REGIONS
from fsbench.errors import SettingsError
from fsbench.paths import REPOSITORY
from fsbench.regress_outcome import COLUMNS, Answer, Outcome, scored
from fsbench.request import Request

FOLDER = REPOSITORY / "benchmarks" / "regression"
PIXELS = 8
"""Pixels of one episode's mask that may differ."""
SCORE = 1e-4
"""By how much a presence score may differ, beside the share of the mask's pixels that do: a method that only segments
takes the share of the mask for it."""
LOSS = 3e-4
"""By which share a loss may differ."""
ROUNDING = 1e-9
"""By which share a score of the same counts may differ."""

TRUTH = ("slot", "class_id", "gt", "void", "valid", "present")
"""Columns that do not depend on a prediction."""


@dataclass(frozen=True)
class Case:
    """What is run.

    Attributes:
        options: of `Request`, and `backbone`, one whose weights are random.
        settings, test, training, random_backbone: arguments of all, of the test, of the training, with a `backbone`.
    """

    name: str
    method: str
    options: Mapping[str, Any]
    settings: tuple[str, ...]
    test: tuple[str, ...]
    training: tuple[str, ...]
    random_backbone: tuple[str, ...]

    @property
    def seed(self) -> int:
        return int(self.options.get("seed", 0))

    def arguments(self, data: Path, runs: Path, more: Sequence[str], checkpoint: Path | None = None) -> list[str]:
        """Of `fsbench run`; `more` are those of the test or of the training."""
        options = dict(self.options) | {"checkpoint": None if checkpoint is None else str(checkpoint)}
        backbone = options.pop("backbone", None)
        own = [f"--model.backbone.name={backbone}", *self.random_backbone] if backbone else []
        extra = [*self.settings, *more, *own, *options.pop("extra", ())]
        request = Request([self.method], "demo", [0], str(runs), data_root=str(data), extra=extra, **options)
        return request.arguments(self.method, 0)


@dataclass(frozen=True)
class Moved:
    """An episode that is answered otherwise; `pixels` of its mask differ. `same` says that the episode is the same."""

    index: int
    pixels: int
    reasons: list[str]
    same: bool = True


@dataclass(frozen=True)
class Findings:
    """What differs by more than it may.

    Attributes:
        settings: what was asked for differs, so that nothing else is compared.
        moved: episodes.
        losses, scores: a sentence each.
        pixels, loss: the most that differs, whether or not it may.
    """

    settings: list[str]
    moved: list[Moved]
    losses: list[str]
    scores: list[str] = field(default_factory=list)
    pixels: int = 0
    loss: float = 0.0

    @property
    def any(self) -> bool:
        return bool(self.settings or self.moved or self.losses or self.scores)


def compare(before: Outcome, now: Outcome) -> Findings:
    """Hold a case's outcome against the accepted one."""
    settings = _settings(before.identity, now.identity)
    if settings:
        return Findings(settings, [], [])
    found = [_episode(a, b) for a, b in zip(before.answers, now.answers, strict=False)]
    losses = [abs(b - a) / max(abs(a), 1e-9) for a, b in zip(before.losses, now.losses, strict=False)]
    said = [
        f"loss of step {step}: {now.losses[step - 1]:.6g}, was {before.losses[step - 1]:.6g}"
        for step, share in enumerate(losses, 1)
        if not share <= LOSS
    ]
    for what, a, b in (("answers", before.answers, now.answers), ("losses", before.losses, now.losses)):
        if len(a) != len(b):
            said.append(f"{len(b)} {what}, there were {len(a)}")
    moved = [item for item in found if item.reasons]
    pixels = max((item.pixels for item in found), default=0)
    return Findings([], moved, said, _scores(before, now), pixels, max(losses, default=0.0))


def _scores(before: Outcome, now: Outcome) -> list[str]:
    """The same counts give the same scores, whatever moved: present code scores the accepted counts, and those of now
    give what the run says of itself."""
    found = []
    for outcome, whose in ((before, "accepted counts"), (now, "run's own counts")):
        fresh = scored(outcome.identity, outcome.answers)
        for name in fresh.keys() | outcome.scores.keys():
            a, b = outcome.scores.get(name, math.nan), fresh.get(name, math.nan)
            if not math.isclose(a, b, rel_tol=ROUNDING, abs_tol=ROUNDING):
                found.append(f"{name} of the {whose}: {b:.9g}, was {a:.9g}")
    return sorted(found)


def _settings(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key in sorted(before.keys() | now.keys()):
        a, b = before.get(key), now.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += _settings(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key} is {b}, was {a}")
    return found


def _episode(before: Answer, now: Answer) -> Moved:
    if before.episode != now.episode:
        differing = [key for key in now.episode if now.episode[key] != before.episode.get(key)]
        was = ", ".join(f"{key} is {now.episode[key]}, was {before.episode.get(key)}" for key in differing)
        return Moved(now.index, 0, [f"another episode: {was}"], same=False)
    a, b = ([dict(zip(COLUMNS, row, strict=True)) for row in answer.slots] for answer in (before, now))
    if before.size != now.size or len(a) != len(b):
        return Moved(now.index, 0, [f"size {now.size}, was {before.size}; {len(b)} slots, were {len(a)}"], same=False)
    pixels = int((before.label_map() != now.label_map()).sum())
    reasons = [f"{pixels} pixels differ"] if pixels > PIXELS else []
    for then, here in zip(a, b, strict=True):
        for name in COLUMNS:
            if not _alike(name, then[name], here[name], pixels, pixels / (now.size[0] * now.size[1])):
                reasons.append(f"slot {here['slot']} {name} {_shown(here[name])}, was {_shown(then[name])}")
    return Moved(now.index, pixels, reasons)


def _alike(name: str, was: Any, found: Any, pixels: int, share: float) -> bool:
    """Whether a figure is the same, or differs by no more than the mask's `pixels`, a `share` of all, explain."""
    if name in TRUTH or name == "decided":
        return bool(was == found)
    if name in COUNTS:
        return bool(abs(found - was) <= pixels)
    if name in REGIONS:  # one pixel may part a region
        return pixels > 0 or abs(found - was) <= 1e-6
    return bool(abs(found - was) <= SCORE + share)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def read_cases(names: Sequence[str] = ()) -> list[Case]:
    """The cases of `cases.yaml`, or those of the methods (or cases) `names`. Raises SettingsError for unknown ones."""
    import yaml

    content = yaml.safe_load((FOLDER / "cases.yaml").read_text())
    common = [tuple(content[key]) for key in ("settings", "test", "training", "random_backbone")]
    cases = []
    for name, options in content["cases"].items():
        options = dict(options)
        cases.append(Case(name, options.pop("method", name), options, *common))
    known = [case.name for case in cases]
    unknown = [name for name in names if name not in {*known, *(case.method for case in cases)}]
    if unknown:
        raise SettingsError(
            f"no case or method '{unknown[0]}' in {FOLDER / 'cases.yaml'}; there are: {', '.join(known)}"
        )
    return [case for case in cases if not names or case.name in names or case.method in names]


def expected_file(case: Case) -> Path:
    return FOLDER / f"{case.name}.json"
