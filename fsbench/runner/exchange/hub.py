"""Results as the Hugging Face Hub takes them: evaluation results for a model's repository, and a section of its card.

The format of `.eval_results/*.yaml` is that of https://huggingface.co/docs/hub/eval-results and of
https://github.com/huggingface/hub-docs/blob/main/eval_results.yaml, as `huggingface_hub.EvalResultEntry` has it: a list
of entries with the benchmark's data set on the Hub, a task of it and a value. The Hub has no place for the score's name
and its interval, which stand in the notes. A value is written of a whole test alone: not of a trial, and not where
folds are missing.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from fsbench.base.errors import SettingsError
from fsbench.base.files import make_folder, read_text, write_text
from fsbench.base.terminal import one_line
from fsbench.networks.weights.table import backbone_data
from fsbench.protocols.registry import metric_named
from fsbench.records.card import Card, StatedCard, merge_cards, resolve_card
from fsbench.records.description import header_warnings, title
from fsbench.records.grouping import fold_of, group_key, has_all_folds, short_test_name, variants
from fsbench.records.record import Record
from fsbench.runner.exchange.cards import method_file_name
from fsbench.scores.estimate import Estimate, estimates

SECTION = "model-card.md"
MARK = "<!-- fsbench bundle --hub wrote this section and replaces it -->"
"""First line of the section, by which a file is known that may be replaced."""
RESULT_MARK = "# fsbench bundle --hub wrote this file and replaces it"
"""First line of an evaluation result, for the same purpose."""
FOLDER = ".eval_results"


@dataclass(frozen=True)
class HubOptions:
    """Facts for the Hub that no record knows.

    Attributes:
        datasets: name of a data set here -> that of its benchmark on the Hub, OWNER/NAME.
        source: address of the records, such as that of the results repository; None where there is none.
    """

    datasets: Mapping[str, str]
    source: str | None = None

    def __post_init__(self) -> None:
        for name, benchmark in self.datasets.items():
            if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", benchmark, re.ASCII):
                raise SettingsError(
                    f"--hub-dataset gives {name} the benchmark '{benchmark}', expected OWNER/NAME as on the Hub"
                )
        if self.source is not None and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", self.source):
            raise SettingsError(f"--hub-source is '{self.source}', expected an address that begins with https://")


@dataclass(frozen=True)
class HubRow:
    """A variant of a method on one test, by its runs: one a fold."""

    label: str
    records: Sequence[Record]

    @property
    def obstacle(self) -> str:
        """Why there is no value of the whole test; empty where there is one."""
        header = self.records[0].header
        folds = [fold_of(record) for record in self.records]
        if not has_all_folds(folds, header):
            return f"only fold{'s' * (len(folds) > 1)} {', '.join(map(str, folds))} of {header.folds}"
        return next(iter(header_warnings(header)), "")

    @property
    def scores(self) -> dict[str, Estimate]:
        """The mean over the folds that are there, of the protocol's usual scores."""
        names = self.records[0].protocol.default_metrics
        return estimates([r.protocol.statistics(r.episodes, r.header).only(names) for r in self.records])

    @property
    def metric(self) -> str:
        """The score that ranks."""
        return self.records[0].protocol.default_metrics[0]


def write_hub_files(
    records: Sequence[Record], cards: Mapping[str, Card], licence: str, options: HubOptions, out: Path
) -> tuple[list[Path], list[str]]:
    """Write the files for the Hub of each method into its folder below `out`.

    Args:
        records: finished runs.
        cards: method -> its card.
        licence: of the results.
        options: what no record knows.
        out: folder of the results repository.

    Returns:
        The files, and lines about tests of which no evaluation result was written.

    Raises:
        SettingsError: a file of such a name is there that fsbench did not write.
    """
    known = backbone_data()
    files, lines = list[Path](), list[str]()
    by_method: dict[str, list[Record]] = {}
    for record in records:
        by_method.setdefault(record.run.identity.method.name, []).append(record)
    for method, of_method in sorted(by_method.items()):
        folder = make_folder(out / method_file_name(method))
        section = folder / SECTION
        _check_written(section, MARK)
        rows = method_rows(of_method)
        stated = cards[method].stated
        card = merge_cards([resolve_card(stated, r, known.get(r.run.identity.backbone.name, "")) for r in of_method])
        for file, entry, row in _entries(rows, options):
            if isinstance(entry, str):
                lines.append(f"no evaluation result of {row.label} on {title(row.records)}: {entry}")
                continue
            place = make_folder(folder / FOLDER) / file
            _check_written(place, RESULT_MARK)
            text = yaml.safe_dump([entry], sort_keys=False, allow_unicode=True, width=1000)
            write_text(place, f"{RESULT_MARK}\n{text}")
            files.append(place)
        write_text(section, _section(method, rows, card, licence, options))
        files.append(section)
    return files, lines


def _check_written(file: Path, mark: str) -> None:
    """Raise SettingsError where a file is there that does not begin with the mark of those that fsbench writes."""
    if file.is_file() and not read_text(file, "settings").startswith(mark):
        raise SettingsError(f"{file} is there and is none that fsbench wrote; expected a new file; rename it")


def method_rows(records: Sequence[Record]) -> list[HubRow]:
    """Return a row for each variant of a method and test."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(group_key(record), []).append(record)
    return [
        HubRow(label, sorted(members, key=fold_of))
        for group in groups.values()
        for label, members in variants(group).items()
    ]


def _entries(rows: Sequence[HubRow], options: HubOptions) -> list[tuple[str, dict[str, object] | str, HubRow]]:
    """Return for each row a file's name, and its entry or why there is none. Variants have files of their own."""
    found: list[tuple[str, dict[str, object] | str, HubRow]] = []
    names: dict[str, int] = {}
    for row in rows:
        test = short_test_name(row.records[0])
        names[test] = names.get(test, 0) + 1
        file = f"{test}.yaml" if names[test] == 1 else f"{test}-{names[test]}.yaml"
        found.append((file, _entry(row, test, options), row))
    return found


def _entry(row: HubRow, test: str, options: HubOptions) -> dict[str, object] | str:
    """Return an evaluation result, or why there is none."""
    if row.obstacle:
        return row.obstacle
    dataset = str(row.records[0].header.dataset)
    if dataset not in options.datasets:
        return f"the Hub's benchmark of {dataset} is not named (--hub-dataset {dataset}=OWNER/NAME)"
    score = row.scores.get(row.metric)
    if score is None:
        return f"{row.metric} is not defined"
    entry: dict[str, object] = {
        "dataset": {"id": options.datasets[dataset], "task_id": test},
        "value": round(score.value, 4),
    }
    dates = [match[0] for r in row.records if (match := re.match(r"\d{4}-\d\d-\d\d", r.run.provenance.finished))]
    entry |= {"date": max(dates)} if dates else {}
    entry |= {"source": {"url": options.source, "name": "records of fsbench"}} if options.source else {}
    folds = row.records[0].header.folds
    words = [f"{row.metric} in percent", row.label, title(row.records), _interval(score, row.metric)]
    words += [f"mean of {folds} folds"] if folds > 1 else []
    words += ["predictions handed in"] if any(r.run.handed_in is not None for r in row.records) else []
    return entry | {"notes": one_line("; ".join(filter(None, words)), 600)}


def _interval(score: Estimate, metric: str) -> str:
    digits = metric_named(metric).digits()
    return f"95 % interval [{score.low:.{digits}f}, {score.high:.{digits}f}]" if score.has_interval else ""


def _section(method: str, rows: Sequence[HubRow], card: StatedCard, licence: str, options: HubOptions) -> str:
    """Return the section of a model's card: scores with intervals, and what a reader must know of the method."""
    lines = [MARK, "## Few-shot evaluation", ""]
    tests = {short_test_name(row.records[0]): title(row.records) for row in rows}
    shared = [heading for heading, count in Counter(tests.values()).items() if count > 1]
    for test, words in tests.items():
        of_test = [row for row in rows if short_test_name(row.records[0]) == test]
        heading = f"{words} ({test})" if words in shared else words
        metrics = list(of_test[0].records[0].protocol.default_metrics)
        lines += [f"**{_plain(heading)}**", "", f"| method | backbone | {' | '.join(metrics)} |"]
        lines += [f"| --- | --- |{' ---: |' * len(metrics)}"]
        for row in of_test:
            scores = row.scores
            backbone = row.records[0].run.identity.backbone.name
            cells = [_cell(scores.get(metric), metric) for metric in metrics]
            lines.append(f"| {_plain(row.label)} | {_plain(backbone)} | {' | '.join(cells)} |")
        lines += ["", *(f"- {_plain(row.label)}: {_plain(row.obstacle)}: no result" for row in of_test if row.obstacle)]
        lines += [""] * any(row.obstacle for row in of_test)
    lines += ["Scores in percent with their 95 % intervals, of other images of these classes and the same weights.", ""]
    lines += ["| card | |", "| --- | --- |"]
    lines += [f"| {_plain(name)} | {_plain(words)} |" for name, words in card.words.items()]
    where = f" Records: {options.source}" if options.source else ""
    lines += [
        "",
        "An entry marked (stated) is the word of who handed it in; others follow from the records. That anybody "
        "predicted what was counted is shown by `fsbench verify`, which predicts some episodes again. Licence of the "
        f"results: {_plain(licence)}.{where}",
    ]
    return "\n".join(lines) + "\n"


def _cell(score: Estimate | None, metric: str) -> str:
    if score is None:
        return "–"
    digits = metric_named(metric).digits()
    ends = f" [{score.low:.{digits}f}, {score.high:.{digits}f}]" if score.has_interval else ""
    return f"{score.value:.{digits}f}{ends}"


def _plain(text: str) -> str:
    """Return a text of a record, which may be anybody's, as one line of Markdown without markup of its own."""
    return re.sub(r"([\\`*_{}\[\]<>|#!~&])", r"\\\1", one_line(str(text), 300))
