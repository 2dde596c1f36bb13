"""Regression cases: methods on a few episodes, whose predictions are compared with accepted ones in files.

`benchmarks/regression/cases.yaml` lists the cases; `<case>.json` beside it is the outcome that was last accepted. A
method of the suite that is not listed has the usual case, once its outcome was accepted. A package has such a folder of
its own, whose `cases.yaml` lists its cases and takes all else from the suite's.
Other processors and other versions of torch round differently, which moves single pixels of an outline; so a mask may
differ in `PIXELS`, and everything that follows from it by as much. Where no pixel differs, all counts must be the same.
The scores of the accepted counts are computed anew and must be the same in any case.
Measured on one machine: without vector instructions and oneDNN (ATEN_CPU_CAPABILITY=default) against AVX-512, at most 2
pixels of some 20,000 and 4e-5 of a loss.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from fsbench.base.errors import SettingsError, known_names
from fsbench.base.files import read_yaml
from fsbench.base.paths import BENCHMARKS
from fsbench.runner.config import registry
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.regression.outcome import CaseEpisode, Outcome, score_answers
from fsbench.scores.confusion import COUNTS, REGIONS

FOLDER = BENCHMARKS / "regression"
PIXELS = 8
"""Number of pixels of one episode's mask that may differ, unless the case has another."""
SCORE = 1e-4
"""Allowed difference of a presence score, beside the share of the mask's pixels that differ: a method that only
segments takes the mask's share of the image for it."""
LOSS = 3e-4
"""Allowed relative difference of a loss."""
ROUNDING = 1e-9
"""Allowed relative difference of a score of the same counts."""

TRUTH = ("slot", "class_id", "gt", "void", "valid", "present")
"""Columns that do not depend on a prediction."""


@dataclass(frozen=True)
class Case:
    """A regression case: a method with settings, run on a few episodes to compare its predictions with accepted ones.

    Attributes:
        name: name of the case, and of the file with its accepted outcome.
        folder: folder of the file with its accepted outcome.
        method: name of the method, as `fsbench bench --method` takes it.
        options: {field of `RunConfig`: value}; `backbone` names a backbone whose weights are random here, `dataset` a
            data set to test on instead of the generated one.
        arguments: {when they apply: arguments in LightningCLI's form}; keys are "settings" (all cases), "drawn" (cases
            without `dataset`), "random_backbone" (cases with `backbone`), "test" and "training".
        pixels: number of pixels by which the mask of an episode may differ.
    """

    name: str
    folder: Path
    method: str
    options: Mapping[str, Any]
    arguments: Mapping[str, Sequence[str]]
    pixels: int = PIXELS

    @property
    def seed(self) -> int:
        return int(self.options.get("seed", 0))

    @property
    def file(self) -> Path:
        """JSON file with the accepted (reference) outcome of the case."""
        return self.folder / f"{self.name}.json"

    def configuration(
        self, data: Path, runs: Path, part: Literal["test", "training"], checkpoint: Path | None = None
    ) -> RunConfig:
        """Return the run configuration of the case's short training or of its test.

        Args:
            data: folder of the generated data set.
            runs: folder to which the run is written.
            part: "training" or "test".
            checkpoint: file of weights to start from or to test; None for none.
        """
        options = dict(self.options) | {"checkpoint": None if checkpoint is None else str(checkpoint)}
        parts = ["settings", part, *(["random_backbone"] if "backbone" in options else [])]
        if "dataset" not in options:
            parts = ["drawn", *parts]
            options |= {"dataset": "demo", "data_root": str(data)}
        extra = [*(word for each in parts for word in self.arguments[each]), *options.pop("extra", ())]
        return RunConfig(self.method, runs=str(runs), extra=tuple(extra), **options)


@dataclass(frozen=True)
class EpisodeDiff:
    """Difference between an episode's prediction and the accepted (reference) prediction.

    Attributes:
        number: number of the episode.
        pixels: number of pixels in which the label maps differ.
        reasons: sentences on what differs by more than the tolerance; empty if nothing does.
        same: whether images and classes of the episode are the same as in the accepted outcome; if not, masks are not
            compared.
    """

    number: int
    pixels: int
    reasons: list[str]
    same: bool = True


@dataclass(frozen=True)
class Findings:
    """Differences between a regression case's outcome and the accepted (reference) one that exceed the tolerances.

    Attributes:
        lines: a sentence for each setting, loss or score that differs; if settings differ, nothing else is compared.
        moved: the episodes whose predictions differ by more than the tolerance.
        pixels: largest number of differing pixels in an episode, also if it is within the tolerance.
        loss: largest relative difference of a training loss, also if it is within the tolerance.
    """

    lines: list[str]
    moved: list[EpisodeDiff] = field(default_factory=list)
    pixels: int = 0
    loss: float = 0.0

    @property
    def any(self) -> bool:
        """Whether any setting, loss, score or prediction differs by more than the tolerance."""
        return bool(self.lines or self.moved)


def diff_outcomes(before: Outcome, now: Outcome, pixels: int = PIXELS) -> Findings:
    """Compare a case's outcome with the accepted (reference) one; up to `pixels` pixels of a mask may differ."""
    if settings := _settings(before.identity, now.identity):
        return Findings([f"something else was run, so nothing is compared: {'; '.join(settings)}"])
    episodes = [_episode(a, b, pixels) for a, b in zip(before.answers, now.answers, strict=False)]
    losses = [abs(b - a) / max(abs(a), 1e-9) for a, b in zip(before.losses, now.losses, strict=False)]
    lines = [
        f"loss of step {step}: {now.losses[step - 1]:.6g}, was {before.losses[step - 1]:.6g}"
        for step, share in enumerate(losses, 1)
        if not share <= LOSS
    ]
    for what, a, b in (("answers", before.answers, now.answers), ("losses", before.losses, now.losses)):
        if len(a) != len(b):
            lines.append(f"{len(b)} {what}, there were {len(a)}")
    moved = [item for item in episodes if item.reasons]
    most = max((item.pixels for item in episodes), default=0)
    return Findings(lines + _scores(before, now), moved, most, max(losses, default=0.0))


def _scores(before: Outcome, now: Outcome) -> list[str]:
    """Compare scores of equal counts: the accepted counts scored by today's code with the accepted scores, and today's
    counts with the scores in the run's record."""
    messages = []
    for outcome, whose in ((before, "accepted counts"), (now, "run's own counts")):
        fresh = score_answers(outcome.identity, outcome.answers, outcome.scores)
        for name in fresh.keys() | outcome.scores.keys():
            a, b = outcome.scores.get(name, math.nan), fresh.get(name, math.nan)
            if not math.isclose(a, b, rel_tol=ROUNDING, abs_tol=ROUNDING):
                messages.append(f"{name} of the {whose}: {b:.9g}, was {a:.9g}")
    return sorted(messages)


def _settings(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Describe every differing setting in words, nested ones by their dotted name."""
    messages = []
    for key in sorted(before.keys() | now.keys()):
        a, b = before.get(key), now.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            messages += _settings(a, b, f"{prefix}{key}.")
        elif a != b:
            messages.append(f"{prefix}{key} is {b}, was {a}")
    return messages


def _episode(before: CaseEpisode, now: CaseEpisode, allowed: int) -> EpisodeDiff:
    if before.episode != now.episode:
        differing = [key for key in now.episode if now.episode[key] != before.episode.get(key)]
        was = ", ".join(f"{key} is {now.episode[key]}, was {before.episode.get(key)}" for key in differing)
        return EpisodeDiff(now.number, 0, [f"another episode: {was}"], same=False)
    if before.size != now.size or len(before.slots) != len(now.slots):
        what = f"size {now.size}, was {before.size}; {len(now.slots)} slots, were {len(before.slots)}"
        return EpisodeDiff(now.number, 0, [what], same=False)
    pixels = int((before.label_map() != now.label_map()).sum())
    reasons = [f"{pixels} pixels differ"] if pixels > allowed else []
    for a, b in zip(before.slots, now.slots, strict=True):
        for name, old, new in zip(a._fields, a, b, strict=True):
            if not _is_close(name, old, new, pixels, pixels / (now.size[0] * now.size[1])):
                digits = ".6g" if isinstance(new, float) else ""
                reasons.append(f"slot {b.slot} {name} {new:{digits}}, was {old:{digits}}")
    return EpisodeDiff(now.number, pixels, reasons)


def _is_close(name: str, old: Any, new: Any, pixels: int, share: float) -> bool:
    """Return whether a figure differs by no more than `pixels` differing pixels, a `share` of the mask, explain."""
    if name in TRUTH or name == "decided":
        return bool(old == new)
    if name in COUNTS:
        return bool(abs(new - old) <= pixels)
    if name in REGIONS:  # one pixel may part a region
        return pixels > 0 or abs(new - old) <= 1e-6
    return bool(abs(new - old) <= SCORE + share)


class PackageCases(BaseModel):
    """Content of the file `cases.yaml` with the regression cases of a package.

    Attributes:
        cases: {name of a case: its options}.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    cases: dict[str, dict[str, Any]]


def read_cases(names: Sequence[str] = (), folder: Path | None = None) -> list[Case]:
    """Read regression cases from `cases.yaml`.

    Args:
        names: names of methods or cases to return; all cases if empty.
        folder: a package's folder with `cases.yaml`; None for the cases of fsbench itself.

    Raises:
        SettingsError: the file cannot be read, a name is unknown, or a case has an unknown option.
    """
    content = yaml.safe_load((FOLDER / "cases.yaml").read_text())
    listed, file = content["cases"], (folder or FOLDER) / "cases.yaml"
    if folder is None:
        there = {*names, *(file.stem for file in FOLDER.glob("*.json"))}
        unlisted = (name for name in registry.names("methods") if name in there and name not in listed)
        usual = [name for name in unlisted if registry.task_of("methods", name) == "segmentation"]
        listed = dict.fromkeys(usual, content["usual"]) | listed
    else:
        listed = read_yaml(file, PackageCases, "cases of fsbench regress").cases
        if not listed:
            raise SettingsError(f"{file} lists no cases, expected one or more, each with its options")
    cases = []
    for name, given in listed.items():
        _check_case(name, given, file)
        options = dict(given)
        allowed = int(options.pop("pixels", PIXELS))
        method = options.pop("method", name)
        cases.append(Case(name, folder or FOLDER, method, options, content, allowed))
    known = [case.name for case in cases]
    unknown = [name for name in names if name not in {*known, *(case.method for case in cases)}]
    if unknown:
        raise SettingsError(f"no case or method '{unknown[0]}' in {file}{known_names(unknown[0], known)}")
    return [case for case in cases if not names or case.name in names or case.method in names]


def _check_case(name: str, options: Mapping[str, Any], file: Path) -> None:
    """Raise SettingsError for an invalid file name or an unknown option."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name, re.ASCII):
        raise SettingsError(f"{file} has a case {name!r}, expected a name of letters, digits, - and _")
    known = {"method", "pixels"} | {option.name for option in fields(RunConfig)}
    known -= {"fold", "runs", "checkpoint", "force", "debug"}  # the command's own to say
    known -= set() if "dataset" in options else {"data_root"}  # that of the drawn data set is the command's
    for option in options:
        if option not in known:
            raise SettingsError(
                f"{file}: the case {name} has an unknown option '{option}'{known_names(option, sorted(known))}"
            )
