"""Write the page of the atlas: one file, which opens from disk."""

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

from jinja2 import Environment

from fsbench.base.errors import SettingsError
from fsbench.base.files import write_text
from fsbench.base.version import __version__
from fsbench.pages.look.theme import page_scripts, page_styles, template_environment
from fsbench.pages.report.atlas.islands import WIDTH, place_islands
from fsbench.protocols.conditions import (
    CONDITIONS,
    DATASET,
    DEPENDS_ON,
    LABELS,
    METRIC,
    MIN_OBJECT,
    TASK,
    UNKNOWN,
    VOID,
)
from fsbench.protocols.programs import EVIDENCED, Program
from fsbench.protocols.published_tests import meanings
from fsbench.results.atlas.atlas import TEST, TOLD, Atlas, Entry, Group, Rank
from fsbench.results.atlas.effects import Effect, read_effects
from fsbench.results.atlas.moves import BEYOND, WITHIN, Cell, known_moves, run_options
from fsbench.results.atlas.pairs import ONE, Comparisons, plain, title

FILTERS = tuple(key for key in (*TEST, *TOLD, MIN_OBJECT.key, DEPENDS_ON.key) if key != DATASET.key)
"""Conditions that rows are filtered by, besides data set, shot, backbone and method."""
USUAL = ("1", "mIoU")
"""Way and metric that the page shows first."""
SHOTS = ("1", "5", "10")
"""Shots that have a column."""

TEMPLATES = Path(__file__).parent.with_name("templates")

_SOURCES = {DATASET.key: DATASET.label, "program": "whole program"}


def write_atlas_page(atlas: Atlas, out: Path) -> Path:
    """Write the atlas (page of published scores and of the programs that produced them) to `out`; return its file."""
    write_text(out, atlas_page(atlas))
    return out


def atlas_page(atlas: Atlas) -> str:
    """Return the atlas (page of published scores and of the programs that produced them) as HTML, for the manual."""
    common = {"up": "", "has_papers": False, "has_atlas": False, "refused": (), "command": "fsbench atlas page",
              "version": __version__}  # fmt: skip
    return render_atlas(template_environment(TEMPLATES), atlas, common)


def render_atlas(environment: Environment, atlas: Atlas, common: Mapping[str, Any]) -> str:
    """Return the HTML of the atlas: the page of published scores and of the programs that produced them.

    Args:
        environment: Jinja environment with the report's templates.
        atlas: the published scores and programs, perhaps with the user's own runs.
        common: {variable: value} for the template that all pages share.
    """
    groups = atlas.groups()
    numbers = _numbers(groups)
    shown = [_group_values(group, number) for group, number in zip(groups, numbers, strict=True)]
    ranks = {key: rank for group in groups for key, rank in group.ranks(atlas).items()}
    entries = {entry.id: _entry_values(atlas, entry, ranks) for group in groups for entry in group.entries}
    places = {id_: place for place, id_ in enumerate(sorted(entries))}  # as JSON has them
    effects, names = read_effects(), _names(atlas)
    sets, pairs = _pairs(atlas, names)
    figures = sorted({(f["way"], f["metric"]) for e in entries.values() for f in e["figures"] if f["whole"]})
    figures.sort(key=lambda each: (each != USUAL, each))
    data = {
        "entries": entries, "labels": LABELS, "conditions": list(CONDITIONS), "test": TEST, "told": TOLD,
        "shots": SHOTS,
        "meaning": {key: one.meaning for key, one in CONDITIONS.items()}, "words": _words(), "unknown": list(UNKNOWN),
        "open": {key: [value.word for value in one.values if value.is_open] for key, one in CONDITIONS.items()},
        "groups": {str(each["number"]): each["words"] for each in shown},
        "within": WITHIN, "beyond": BEYOND, "names": names, "sets": sets,
        "pairs": {key: [places.get(word, word) for word in found] for key, found in pairs.items()},
    }  # fmt: skip
    datasets = list(dict.fromkeys(group.conditions[DATASET.key] for group in groups))
    values = {name: sorted({entry.conditions[name] for entry in atlas.entries}) for name in FILTERS}
    return environment.get_template("atlas.html").render(
        **dict(common)
        | {"styles": page_styles(TEMPLATES / "atlas.css"), "scripts": page_scripts(TEMPLATES / "atlas.js")},
        groups=shown, data=data, datasets=datasets, filters=values, labels=LABELS, figures=figures, shots=SHOTS,
        backbones=sorted({entry.backbone for entry in atlas.entries}), meaning=_meanings(effects),
        islands=[_islands(name, groups, numbers) for name in datasets], width=WIDTH,
        programs=len(atlas.programs), run=sum(program.certainty == "run" for program in atlas.programs), names=names,
        meaning_of=lambda key, word: CONDITIONS[key].meaning_of(word), ours=any(entry.ours for entry in atlas.entries),
    )  # fmt: skip


def _words() -> dict[str, dict[str, str]]:
    return {key: meanings(one) for key, one in CONDITIONS.items() if one.values}


def _names(atlas: Atlas) -> dict[str, str]:
    """Return {name as `plain` writes it: name} of each method, and of each with each of its data sets."""
    both = sorted(
        {(program.method, program.dataset) for program in atlas.programs}, key=lambda each: plain("".join(each))
    )
    return {plain(name): name for method, dataset in both for name in (method, f"{method}, {dataset}")}


def _pairs(atlas: Atlas, names: Mapping[str, str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return which tests are compared for each two names.

    Returns:
        {"plain name|plain name": data set} of each two methods that share one, and {the same, each on one data set:
        [verdict, first entry, second entry, the verdict's mark]}, or [why not].
    """
    comparisons, sets, found = Comparisons(atlas), dict[str, str](), dict[str, list[str]]()
    for pair_names in combinations_with_replacement(names, 2):
        one, other = (names[name].partition(", ")[2] for name in pair_names)
        key = "|".join(pair_names)
        if one != other:
            continue
        try:
            pair = comparisons.pair(*pair_names)
        except SettingsError as error:
            found |= {key: [f"{str(error)[0].upper()}{str(error)[1:]}."]} if one else {}
            continue
        if not one:
            sets[key] = pair.one.dataset
        else:
            found[key] = [f"{pair.sentence}.", pair.one.id, pair.other.id, "alike" if pair.verdict == ONE else "apart"]
    return sets, found


def _numbers(groups: Sequence[Group]) -> list[int]:
    """Number the groups of each data set from 1, those whose test is not known with 0."""
    counts: dict[str, int] = {}
    numbers = []
    for group in groups:
        name = group.conditions[DATASET.key]
        counts[name] = counts.get(name, 0) + 1
        numbers.append(counts[name] if group.is_known else 0)
    return numbers


def _group_values(group: Group, number: int) -> dict[str, Any]:
    shown = [name for name in TEST if name not in (TASK.key, DATASET.key)]
    own = [(CONDITIONS[name], group.conditions[name]) for name in shown]
    conditions = [(one.label, word, one.meaning_of(word)) for one, word in own]
    dataset, task = group.conditions[DATASET.key], group.conditions[TASK.key]
    words = "; ".join(f"{label}: {value}" for label, value, _ in conditions)
    return {
        "number": f"{_anchor(dataset)}-{number}" if number else f"{_anchor(dataset)}-{_anchor(group.entries[0].id)}",
        "name": f"{dataset}, {f'test {number}' if number else _unknown(group)}",
        "conditions": conditions, "known": group.is_known, "entries": group.entries, "dataset": dataset, "task": task,
        "words": f"{dataset}, {task}; {words}",
        "shared": group.is_known and len({_island_name(entry) for entry in group.entries}) > 1,
        "methods": len({entry.method for entry in group.entries}),
    }  # fmt: skip


def _unknown(group: Group) -> str:
    """Say what of a test is not known, if not all of it."""
    unsure = [CONDITIONS[key] for key, word in group.conditions.items() if CONDITIONS[key].is_unsure(word)]
    return "test not known" if {VOID, METRIC} <= {*unsure} else f"not known: {', '.join(one.label for one in unsure)}"


def _entry_values(atlas: Atlas, entry: Entry, ranks: Mapping[tuple[str, Cell], Rank]) -> dict[str, Any]:
    """Return what the page's script knows of an entry; `ranks` are by its id and the cell of a figure."""
    is_compared = entry.program is not None and not entry.ours
    program = entry.program
    cells = {id(each): cell for cell, each in entry.cells().items()}
    figures = []
    for each in entry.figures:
        figure, cell = each.figure, cells.get(id(each))
        rank = ranks.get((entry.id, cell)) if cell else None
        figures.append(
            {
                "way": figure.way, "shot": figure.shot, "metric": figure.metric, "fold": figure.fold,
                "value": figure.printed, "source": figure.source, "repeated": each.repeated, "note": each.note,
                "setting": figure.setting, "whole": figure.is_whole, "first": cell is not None,
                "rank": str(rank) if rank else "",
                "moves": _moves(atlas, entry, cell) if cell and is_compared else {},
            }
        )  # fmt: skip
    return {
        "method": entry.method, "backbone": entry.backbone, "variant": entry.variant, "dataset": entry.dataset,
        "conditions": dict(entry.conditions), "figures": figures, "marks": entry.marks,
        "ours": entry.ours, "changes": [] if entry.ours else list(entry.changes), "title": title(entry),
        "run": run_options(entry, next(iter(cells.values()), ("1", "1", "mIoU"))),
        "program": None if program is None else {
            "id": program.id, "method": program.method, "file": program.program, "paper": program.paper,
            "venue": program.venue, "year": program.year, "repository": program.repository,
            "commit": program.commit, "licence": program.licence, "quirks": program.quirks, "no_line": program.unlined,
            "absences": {one.key: _absence(program, one.key) for one in EVIDENCED if program.absence(one.key)},
            "evidence": {name: list(places) for name, places in program.places.items()},
        },
    }  # fmt: skip


def _moves(atlas: Atlas, entry: Entry, cell: Cell) -> dict[str, Any]:
    """Return the sentences and the limit of `known_moves`."""
    moves = known_moves(atlas, entry, cell)
    return {"known": moves.known, "limit": moves.limit, "whole": moves.is_whole, "measure": moves.measure}


def _absence(program: Program, name: str) -> str:
    """Say what an absence follows from, with its place where that is another condition."""
    source = program.absence(name) or ""
    places = program.places.get(source)
    return f"as {LABELS[source]}: {'; '.join(places)}" if places else f"there is no line, from the {_SOURCES[source]}"


def _meanings(effects: Sequence[Effect]) -> list[dict[str, Any]]:
    """Return each condition with what follows from it and how far it was measured to move a figure."""
    shown = [key for key, one in CONDITIONS.items() if one.meaning or one.values]
    by_condition = {name: [each for each in effects if each.condition == name] for name in shown}
    return [
        {
            "name": name,
            "label": LABELS[name],
            "consequence": CONDITIONS[name].meaning,
            "words": meanings(CONDITIONS[name]),
            "effects": by_condition[name],
            "alone": any(not each.together for each in by_condition[name]),
        }
        for name in by_condition
    ]


def _islands(dataset: str, groups: Sequence[Group], numbers: Sequence[int]) -> dict[str, Any]:
    """Return the figure of a data set: an island for each test of a program, without figures of unknown programs."""
    own = [
        (group, number) for group, number in zip(groups, numbers, strict=True)
        if group.conditions[DATASET.key] == dataset and any(entry.program or entry.ours for entry in group.entries)
    ]  # fmt: skip
    words, marked = [], dict[str, tuple[str, ...]]()
    for group, number in own:
        names = tuple(dict.fromkeys(filter(None, map(_island_name, group.entries))))
        marked |= {_island_name(entry): entry.marks for entry in group.entries if entry.program and entry.marks}
        kind = "unknown" if not number else "shared" if len(names) > 1 else "alone"
        words.append((number, names, kind))
    words.sort(key=lambda each: ("shared", "alone", "unknown").index(each[2]))
    unknown = {names for _, names, kind in words if kind == "unknown"}
    words = list(dict.fromkeys(words))
    islands, height = place_islands(words)
    shared = [each for each in islands if each.kind == "shared"]
    return {
        "dataset": dataset, "anchor": _anchor(dataset), "islands": islands, "height": round(height),
        "tests": sum(each.kind != "unknown" for each in islands), "shared": len(shared),
        "alone": sum(each.kind == "alone" for each in islands), "unknown": len(unknown), "marked": marked,
    }  # fmt: skip


def _island_name(entry: Entry) -> str:
    """Return the name of a program, or of a run; "" of figures without either."""
    return entry.program.method if entry.program else f"{entry.method[:28]} (run)" if entry.ours else ""


def _anchor(text: str) -> str:
    """Return a text as part of an anchor."""
    return "".join(letter if letter.isalnum() else "-" for letter in text.lower())
