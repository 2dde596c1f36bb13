"""Title and notes of a group of runs: what stands over and under every table of them."""

from collections.abc import Sequence
from typing import Any

from fsbench.data.annotations import ANNOTATIONS, WEAK
from fsbench.data.episodes.manifest import Header
from fsbench.records.record import Record
from fsbench.records.run import Run

STATED_VARIANT = "stated beside the checkpoint"
ON_TRUST = "taken on trust"
"""Values of a record's `checkpoint_variant`: an authors' checkpoint states settings that its weights do not show
(support side, image size), or not. None for other runs."""

MOST_ENTRIES = 20
"""Entries of a list of a record that are printed."""
MOST_CHARACTERS = 300
"""Characters of one of them that are printed."""


def title(records: Sequence[Record]) -> str:
    """Describe what the runs of a group have in common."""
    return records[0].protocol.title(records[0].header)


def notes(records: Sequence[Record]) -> list[str]:
    """List what a reader must know of the runs of a group: its rules first, then each run's peculiarities."""
    protocol, header = records[0].protocol, records[0].header
    sizes = {record.run.identity.method.name: record.run.identity.image_size for record in records}
    lines = [*protocol.rule_notes(header, sizes), *header_warnings(header), f"image lists: {header.lists}"]
    dropped = {number: name for record in records for number, name in _dropped_classes(record).items()}
    if dropped:
        names = [dropped[number] for number in sorted(dropped)]
        lines.append(f"classes left out for want of images (DROP_SMALL): {', '.join(printed(names))}")
    lines += [_undefined(record) for record in records if record.undefined_classes]
    remarks: dict[str, dict[str, None]] = {}  # with the methods that they are about, each once
    for run in (record.run for record in records):
        lines += _run_notes(run, protocol.counting.on_repetition)
        for remark in printed([*run.remarks, *filter(None, [run.beyond_authors_rule])]):
            remarks.setdefault(remark, {})[run.identity.method.name] = None
    return list(dict.fromkeys([*lines, *(f"{', '.join(methods)}: {remark}" for remark, methods in remarks.items())]))


def header_warnings(header: Header) -> list[str]:
    """Say why the figures of a manifest's episodes are no result of the protocol."""
    lines = []
    if header.requested != header.official_episodes:
        lines.append(
            f"{header.requested} instead of the protocol's {header.official_episodes} episodes: a trial, not a result"
        )
    if header.selection is not None:
        lines.append(
            "the episodes were chosen from a list, perhaps by what methods score on them: figures of these episodes, "
            "no result of the protocol"
        )
    return lines


def _dropped_classes(record: Record) -> dict[int, str]:
    """Return the classes that a run leaves out: number -> name, or the number where the record does not name each."""
    numbers = record.header.dropped_classes
    names = record.run.dropped_classes
    return dict(zip(numbers, names if len(names) == len(numbers) else map(str, numbers), strict=True))


def printed(entries: Sequence[Any]) -> list[str]:
    """Return what is printed of a list in a record, which may come from anybody: no flood, and how much is left out."""
    texts = [str(entry) for entry in entries[:MOST_ENTRIES]]
    long = f" … ({{}} characters, the first {MOST_CHARACTERS} shown)"
    lines = [
        text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + long.format(len(text)) for text in texts
    ]
    return lines + ([f"… and {len(entries) - MOST_ENTRIES} more"] if len(entries) > MOST_ENTRIES else [])


def _undefined(record: Record) -> str:
    """Say why a run has no mIoU."""
    names, header = record.undefined_classes, record.header
    where = f" of fold {header.fold}" if header.folds > 1 else ""
    has = "has" if len(names) == 1 else "have"
    reaction = record.protocol.counting.on_absent
    return f"mIoU{where} is not defined: {', '.join(printed(names))} {has} no episode; {reaction} there"


def _random_networks(backbone: str, weights: str) -> str:
    """Return which networks have random weights: the backbone, or those that its weights name (`… of sam_demo, …`)."""
    named = [part for part in weights.split(", ") if part.startswith("random") and " of " in part]
    several = [f"{network} has {seeded}" for seeded, network in (part.rsplit(" of ", 1) for part in named)]
    return " and ".join(several) or f"backbone {backbone} has {weights}"


def _failures(number: int) -> str:
    """Return the note on episodes that a method could not answer."""
    if number == 1:
        return "1 episode failed; its prediction is empty and counts"
    return f"{number} episodes failed; their predictions are empty and count"


def _run_notes(run: Run, on_repetition: str) -> list[str]:
    """List what is peculiar to one run, in the protocol's words for repetitions."""
    name, backbone = run.identity.method.name, run.identity.backbone
    lines = []
    if run.handed_in is not None:
        unchecked = "; whether each follows from its own episode alone cannot be checked" * (run.asked_alone is None)
        known = "its predictions were counted here, and nothing else of the method is known"
        lines.append(f"{name}: handed in: {known}{unchecked}")
    if run.asked_alone:
        lines.append(f"{name}: {run.asked_alone} episodes were asked alone as well, and answered alike")
    if backbone.weights.startswith("random"):
        lines.append(f"{name}: {_random_networks(backbone.name, backbone.weights)} weights; its figures mean nothing")
    elif backbone.weights.startswith("unofficial"):
        lines.append(f"{name}: backbone {backbone.name} has weights other than the official ones")
    if run.checkpoint_variant == ON_TRUST:
        lines.append(
            f"{name}: the authors' checkpoint does not state its variant (support side, image size), which is taken on "
            "trust; a config.yaml beside it would"
        )
    if run.failed_episodes:
        lines.append(f"{name}: {_failures(run.failed_episodes)}")
    if run.presence == "any_pixel":
        lines.append(f"{name} only segments; a way counts as present where any pixel is predicted as it")
    annotation = run.identity.support_annotation
    if annotation in WEAK:
        lines.append(
            f"{name}: supports are labelled with {ANNOTATIONS[annotation].words}, not with masks: no published score "
            "with masks stands beside it"
        )
    if annotation == "all_ways":
        lines.append(f"{name} is told what a support shows of the episode's other ways; others are told its own alone")
    for kernels, consequence in (
        (run.made.unordered_kernels, "training it again gives other weights"),
        (run.provenance.unordered_kernels, f"a repeated test may {on_repetition} otherwise"),
    ):
        if kernels:
            lines.append(f"{name}: {', '.join(printed(kernels))} add in no fixed order, so {consequence}")
    return lines
