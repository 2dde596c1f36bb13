"""Title and notes of a group of runs: what stands over and under every table of them."""

from collections.abc import Callable, Iterable, Sequence

from fsbench.data.annotations import ANNOTATIONS, WEAK
from fsbench.data.episodes.manifest import Header
from fsbench.records.grouping import fold_of, grouped, trainings_of_folds, variants
from fsbench.records.record import Record
from fsbench.records.run import ON_TRUST

LISTS = {"derived": "made by fsbench's own rule (the authors' lists are not here)"}
"""Source of image lists that are not the authors', as a header has it -> in words. It is told as a warning."""
MOST_NAMES = 20


def title(records: Sequence[Record]) -> str:
    """Return the title of a table of runs."""
    return records[0].protocol.title(records[0].header)


def warnings(records: Sequence[Record]) -> list[str]:
    """Return warnings about a table of runs, the most important first; one about several methods is given once."""
    undefined = [record for record in records if record.undefined_classes]
    return [
        *([_undefined(undefined)] if undefined else []),
        *_by_methods(records, _run_warnings),
        *_equal_trainings(records),
        *header_warnings(records[0].header),
        *shorter(records),
        *records[0].protocol.rule_warnings(records[0].header),
        *_by_methods(records, lambda record: filter(None, [*record.run.remarks, record.run.beyond_authors_rule])),
        *([_image_lists(records[0].header)] if records[0].header.lists in LISTS else []),
    ]


def notes(records: Sequence[Record]) -> list[str]:
    """Return notes about a table of runs: counting rules, image lists, and what single runs did."""
    header = records[0].header
    sizes = {record.run.identity.method.name: record.run.identity.image_size for record in records}
    lines = [*records[0].protocol.rule_notes(header, sizes), *_by_methods(records, _run_notes)]
    dropped = {
        number: name
        for record in records
        for number, name in zip(record.header.dropped_classes, record.run.dropped_classes, strict=False)
    }
    if dropped:
        names = [dropped[number] for number in sorted(dropped)]
        lines.append(f"classes left out, because they have too few images (DROP_SMALL): {_listed(names)}")
    if header.lists not in LISTS:
        lines.append(_image_lists(header))
    return list(dict.fromkeys(lines))


def all_notes(records: Sequence[Record]) -> list[str]:
    return [*warnings(records), *notes(records)]


def _listed(names: Sequence[str]) -> str:
    left = [f"… and {len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
    return ", ".join([*names[:MOST_NAMES], *left])


def _image_lists(header: Header) -> str:
    return f"image lists: {LISTS.get(header.lists, header.lists)}"


def _by_methods(records: Sequence[Record], remarks: Callable[[Record], Iterable[str]]) -> list[str]:
    methods: dict[str, dict[str, None]] = {}
    for record in records:
        for remark in remarks(record):
            methods.setdefault(remark, {})[record.run.identity.method.name] = None
    return [f"{', '.join(names)}: {remark}" for remark, names in methods.items()]


def _equal_trainings(records: Sequence[Record]) -> list[str]:
    folds: dict[str, list[str]] = {}
    for label, members in variants(list(records)).items():
        for trainings in trainings_of_folds(members):
            by_counts = grouped(trainings, lambda record: record.counts_sha256) if len(trainings) > 1 else {}
            for alike in (runs for runs in by_counts.values() if len(runs) > 1):
                *seeds, last = sorted(str(record.run.identity.seed) for record in alike)
                who = f"all {len(alike)} trainings" if alike == trainings else f"seeds {', '.join(seeds)} and {last}"
                predicted = alike[0].episodes.select("pred", "pred_void").sum_horizontal().sum()
                words = "answer all episodes alike" if predicted else "predict no object at all"
                of_folds = folds.setdefault(f"{label}: {who} {words}", [])
                of_folds += [str(fold_of(alike[0]))] * (alike[0].header.folds > 1)
    return [f"{line}, fold {', '.join(numbers)}" if numbers else line for line, numbers in folds.items()]


def header_warnings(header: Header) -> list[str]:
    """Return sentences on why scores on a list of episodes are no result of its protocol; [] if they are."""
    lines = []
    if header.requested != header.official_episodes:
        lines.append(
            f"a trial, not a result: {header.requested} episodes, and the protocol has {header.official_episodes}"
        )
    if header.own_list:
        lines.append(f"no result of {header.protocol}: the episodes are a list of one's own, not drawn by the protocol")
    elif header.selection is not None:
        lines.append(
            f"no result of {header.protocol}: somebody chose these episodes from a list, perhaps by the scores of "
            "methods on them"
        )
    return lines


def shorter(records: Sequence[Record]) -> list[str]:
    """Return a sentence for each fold that has fewer episodes than requested, for example because its list ends."""
    headers = {record.header.fold: record.header for record in records}
    return [
        f"fold {fold} has only {header.episodes} of the {header.requested} episodes that were asked for"
        for fold, header in sorted(headers.items())
        if header.episodes is not None and header.episodes < header.requested
    ]


def _undefined(records: Sequence[Record]) -> str:
    by_fold: dict[int, list[str]] = {}
    for record in records:
        by_fold.setdefault(int(record.header.fold), list(record.undefined_classes))
    has_folds = records[0].header.folds > 1
    lacking = "; ".join(
        f"{f'fold {fold} has' if has_folds else 'there are'} no episodes of {_listed(names)}"
        for fold, names in sorted(by_fold.items())
    )
    return f"mIoU is not defined: {lacking}, and without them {records[0].protocol.counting.on_absent}"


def _random_networks(backbone: str, weights: str) -> str:
    named = [part for part in weights.split(", ") if part.startswith("random") and " of " in part]  # of sam_demo, say
    several = [f"{network} has {seeded}" for seeded, network in (part.rsplit(" of ", 1) for part in named)]
    return " and ".join(several) or f"backbone {backbone} has {weights}"


def _run_warnings(record: Record) -> list[str]:
    run, backbone, lines = record.run, record.run.identity.backbone, []
    if backbone.weights.startswith("random"):
        lines.append(f"{_random_networks(backbone.name, backbone.weights)} weights; the scores mean nothing")
    elif backbone.weights.startswith("unofficial"):
        lines.append(f"backbone {backbone.name} does not have the official weights")
    if failed := record.failed_episodes:
        one = "1 episode failed; it counts as an empty prediction"
        lines.append(one if failed == 1 else f"{failed} episodes failed; they count as empty predictions")
    if run.handed_in:
        unchecked = ". Nobody can check whether a prediction used more than its own episode" * (run.asked_alone is None)
        asked = f". {_asked_alone(run.asked_alone)}" if run.asked_alone else ""
        lines.append(
            f"handed in: fsbench counted the predictions and knows nothing else of the method{unchecked}{asked}"
        )
    if run.checkpoint_variant == ON_TRUST:
        lines.append(
            "the authors' checkpoint does not say for which variant it was trained (support side, image size); the "
            "settings of the run are taken on trust. A config.yaml beside the checkpoint would say it"
        )
    annotation = run.identity.support_annotation
    if annotation in WEAK:
        lines.append(
            f"supports are labelled with {ANNOTATIONS[annotation].words}, not with masks, so published scores with "
            "masks are not comparable"
        )
    return lines


def _asked_alone(episodes: int) -> str:
    return f"{episodes} episodes were also asked alone, with equal answers"


def _run_notes(record: Record) -> list[str]:
    run, lines = record.run, []
    if run.asked_alone and not run.handed_in:
        lines.append(_asked_alone(run.asked_alone))
    if (before := run.went_on) is not None:
        changed = ", although its code had changed" if before.code == "changed" else ""
        lines.append(
            f"went on after an interruption: {before.episodes} episodes had been answered. {before.asked_again} of "
            f"these {before.episodes} were asked again, with equal answers{changed}"
        )
    if run.presence == "any_pixel":
        lines.append("does not say whether a way is present; a way counts as present if the mask has any pixel of it")
    if run.identity.support_annotation == "all_ways":
        lines.append("sees in a support the masks of all ways of the episode, where other methods see only one way")
    for kernels, consequence in (
        (run.made.unordered_kernels, "training it again gives other weights"),
        (run.provenance.unordered_kernels, f"a repeated test may {record.protocol.counting.on_repetition} otherwise"),
    ):
        if kernels:
            lines.append(f"{_listed(kernels)} add in no fixed order, so {consequence}")
    return lines
