"""Figures that papers report, beside ours: whether they may be compared, and what follows.

`benchmarks/published/mapping.yaml` says how the columns of each csv file are read.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from fsbench.classification import OFFICIAL_CLASS_SIZE
from fsbench.errors import DataError
from fsbench.grouping import fold_of
from fsbench.manifest import classifies
from fsbench.paths import REPOSITORY
from fsbench.protocol import load_protocol
from fsbench.records import Record
from fsbench.stats import Interval

FOLDER = REPOSITORY / "benchmarks" / "published"
COLUMNS = {"method", "backbone", "dataset", "way", "shot", "setting", "metric", "value", "source"}
OFFICIAL_IMAGE_SIZE = 224
"""Of classification (fort.md §3)."""
NO_SCORE = ("std", "")
"""Folds of rows that are no score of a fold or of all."""


@dataclass(frozen=True)
class Figure:
    """A reported score.

    Attributes:
        method, backbone, stated: names as printed; `stated` is the setting.
        dataset, fold, way, shot, metric: as ours; `fold` is a number or "mean".
        protocol: that it was made under.
        setting: of the test, as ours.
        kind: class of our method, and `options` that make it the same method.
        backbones: ours that are the printed one; none where the source does not say.
        episodes, seed: of the test, where they are not the protocol's.
        value, digits: the score, and digits after its point.
        doubt: why it is no target; "" where it is one.
    """

    method: str
    backbone: str
    stated: str
    dataset: str
    fold: str
    way: int
    shot: int
    metric: str
    value: float
    digits: int
    source: str
    protocol: str
    kind: str
    setting: str = "original"
    backbones: tuple[str, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    episodes: int | None = None
    seed: int | None = None
    doubt: str = ""


@dataclass(frozen=True)
class Beside:
    """A score of ours and a reported one.

    `difference` is ours minus theirs; `verdict` "within the interval", "above" or "below" (ours is, and by more than
    the interval, of classification sqrt(2) times as wide, and the rounding), or "not comparable: …", then without a
    difference.
    """

    method: str
    fold: str
    metric: str
    measured: Interval
    reported: Figure
    difference: float | None
    verdict: str


def read_published(folder: Path = FOLDER) -> list[Figure]:
    """Scores of our methods in all csv files of `folder`, each once. Raises DataError for what the mapping lacks."""
    import yaml

    file = folder / "mapping.yaml"
    if not file.is_file():
        raise DataError(f"{file} is not there; expected the folder benchmarks/published of a checkout")
    mapping = yaml.safe_load(file.read_text())
    strange = {path.name for path in folder.glob("*.csv")} ^ set(mapping["files"])
    if strange:
        raise DataError(f"{', '.join(sorted(strange))}: either not in {folder} or not in mapping.yaml; expected both")
    found: list[Figure] = []
    for name, rules in mapping["files"].items():
        with (folder / name).open(newline="") as opened:
            reader = csv.DictReader(opened)
            columns = set(reader.fieldnames or ())
            if columns - {"fold"} != COLUMNS:
                raise DataError(
                    f"{folder / name} has the columns {', '.join(sorted(columns))}; expected "
                    f"{', '.join(sorted(COLUMNS))}, and fold where there are folds"
                )
            for row in reader:
                figure = _figure(row, rules, mapping, f"{name}, line {reader.line_num}")
                found += [figure] if figure is not None else []
    return list(dict.fromkeys(found))


def _figure(row: Mapping[str, str], rules: Mapping[str, Any], names: Mapping[str, Any], where: str) -> Figure | None:
    """The score in a row; None where it is none of ours."""
    others = {"dataset": names["other_datasets"], "metric": names["other_metrics"]}
    others["method"] = rules.get("other_methods", ())
    ours = {"dataset": names["datasets"], "metric": names["metrics"], "method": rules["methods"]}
    for column, known in ours.items():
        if row[column] not in known and row[column] not in others[column]:
            raise DataError(f"{where}: {column} is '{row[column]}', which mapping.yaml does not know; add it there")
    fold = row.get("fold", rules.get("fold", ""))
    if any(row[column] not in known for column, known in ours.items()) or fold in NO_SCORE:
        return None
    method = rules["methods"][row["method"]]
    setting = _setting(row["setting"], rules["settings"], where)
    if setting.get("skip"):
        return None
    shot = int(row["shot"])
    options = method.get("options", {}) | setting.get("options", {})
    backbones = method["backbones"].get(row["backbone"], ())
    doubts = [reason for text, reason in rules.get("doubts", {}).items() if text in row["source"]]
    doubts += [setting["doubt"]] if "doubt" in setting else []
    return Figure(
        row["method"],
        row["backbone"],
        row["setting"],
        names["datasets"][row["dataset"]],
        "0" if fold == "test" else fold,
        int(row["way"]),
        shot,
        names["metrics"][row["metric"]],
        float(row["value"]),
        len(row["value"].partition(".")[2]),
        row["source"],
        rules["protocol"],
        method["class"],
        setting.get("setting", "original"),
        (backbones,) if isinstance(backbones, str) else tuple(backbones),
        tuple((key, shot if value == "{shot}" else _frozen(value)) for key, value in options.items()),
        setting.get("episodes"),
        setting.get("seed"),
        "; ".join(doubts),
    )


def _setting(text: str, settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What a printed setting is: what the mapping says, or option=value;option=value."""
    if text in settings:
        return dict(settings[text])
    pairs = [part.partition("=") for part in text.split(";")]
    if not all(sign for _, sign, _ in pairs):
        raise DataError(f"{where}: setting is '{text}', which mapping.yaml does not know; add it there")
    return {"options": {key: _option(key, value) for key, _, value in pairs}}


def _option(key: str, value: str) -> Any:
    """ "4+8" -> (4, 8), "none" -> (), of options that end in "scales"; true and false; numbers; words."""
    if key.endswith("scales"):
        return () if value == "none" else tuple(int(part) for part in value.split("+"))
    words = {"true": True, "false": False}
    return words.get(value, int(value) if value.isdecimal() else value)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def beside(
    label: str, fold: str, scores: Mapping[str, Interval], members: Sequence[Record], figures: Sequence[Figure]
) -> list[Beside]:
    """What is reported for the same method on the same task as a row of ours, made of the runs `members`.

    Where some of it can be compared, what cannot is left out; a figure that several tables repeat stands once.
    """
    found: list[Beside] = []
    identity, header = members[0].run["identity"], members[0].header
    for figure in figures:
        same = (figure.kind, figure.dataset, figure.way, figure.shot, figure.fold) == (
            identity["method"].get("class"), header["dataset"], header["way"], header["shot"], fold,
        )  # fmt: skip
        method = {key: _frozen(value) for key, value in identity["method"].items()}
        if not same or figure.metric not in scores or any(not _is(method.get(k), v) for k, v in figure.options):
            continue
        reasons = list(dict.fromkeys(reason for record in members for reason in _differing(record, figure)))
        measured = scores[figure.metric]
        if reasons:
            verdict = f"not comparable: {'; '.join(reasons)}"
            found.append(Beside(label, fold, figure.metric, measured, figure, None, verdict))
        else:
            verdict = _verdict(measured, figure, sqrt(2) if classifies(header) else 1)
            found.append(Beside(label, fold, figure.metric, measured, figure, measured.value - figure.value, verdict))
    comparable = {item.metric for item in found if item.difference is not None}
    once: dict[tuple[str, str, float], Beside] = {}
    for item in found:
        if item.difference is not None or item.metric not in comparable:
            once.setdefault((item.metric, item.reported.backbone, item.reported.value), item)
    return list(once.values())


def _is(found: Any, wanted: Any) -> bool:
    return bool(found) if wanted == "any" else bool(found == wanted)


def _verdict(measured: Interval, figure: Figure, widening: float) -> str:
    """`widening`, of the interval: sqrt(2) where the printed figure was made with as many episodes, but others, and
    therefore has as much noise of its own."""
    rounding = 0.5 * 10**-figure.digits
    value = measured.value
    if figure.value + rounding < value - widening * (value - measured.low):
        return "above"
    high = value + widening * (measured.high - value)
    return "below" if figure.value - rounding > high else "within the interval"


def _differing(record: Record, figure: Figure) -> list[str]:
    """Why a run's score and a reported one may not be compared, a reason each."""
    header, backbone = record.header, record.run["identity"]["backbone"]
    if header["protocol"] != figure.protocol:
        return [f"protocol {header['protocol']} here, {figure.protocol} there"]
    if figure.doubt:
        return [figure.doubt]
    found = _differing_backbone(backbone, figure)
    if classifies(header):
        return [*found, *_differing_classification(record)]
    protocol = load_protocol(figure.protocol)
    if header["setting"] != figure.setting:
        found.append(f"setting {header['setting']} here, {figure.setting} there")
    if header["empty"] != protocol.empty_queries:
        empty = "may be" if protocol.empty_queries else "are never"
        found.append(f"queries {empty} empty there")
    episodes = figure.episodes or header["official_episodes"]
    if header["requested"] != episodes:
        found.append(f"{header['requested']} episodes here, {episodes} there")
    seed = protocol.seed if figure.seed is None else figure.seed
    if header["seed"] != seed:
        found.append(f"test seed {header['seed']} here, {seed} there")
    if not header["lists"].startswith("official"):
        found.append(f"image lists here are {header['lists']}, not the official ones")
    if header["dropped_classes"]:
        found.append(f"fold {fold_of(record)} lacks classes")
    return found


def _differing_backbone(backbone: Mapping[str, str], figure: Figure) -> list[str]:
    found = []
    if not figure.backbones:
        found.append(f"backbone {backbone['name']} here, {figure.backbone} there")
    elif backbone["name"] not in figure.backbones:
        found.append(f"backbone {backbone['name']} here, {' or '.join(figure.backbones)} there")
    if backbone["weights"].startswith(("random", "unofficial")):
        found.append(f"the backbone's weights are {backbone['weights'].split()[0]}")
    return found


def _differing_classification(record: Record) -> list[str]:
    """The authors' episodes cannot be drawn again; another list of as many moves a score by less than half a point
    (fort.md §4), so it is no reason. Its seed therefore is none either."""
    header = record.header
    asked = {"queries": (header["queries"], 15), "episodes": (header["requested"], header["official_episodes"])}
    found = [f"{here} {name} here, {there} there" for name, (here, there) in asked.items() if here != there]
    if header["small_classes"] and header["min_class_size"] != OFFICIAL_CLASS_SIZE:
        found.append(
            f"{header['small_classes']} small classes are repeated up to {OFFICIAL_CLASS_SIZE} images there, not here "
            f"(--data.min_class_size={OFFICIAL_CLASS_SIZE})"
        )
    identity = record.run["identity"]
    if identity["image_size"] != OFFICIAL_IMAGE_SIZE:
        found.append(f"images of {identity['image_size']} pixels here, {OFFICIAL_IMAGE_SIZE} there")
    precision = str(identity.get("precision", "32-true"))
    if precision not in ("32", "32-true"):
        found.append(f"precision {precision} here, 32-true there")
    if header["lists"].endswith("incomplete"):
        found.append("the list of images is not complete here")
    return [*found, *record.run.get("remarks", ())]
