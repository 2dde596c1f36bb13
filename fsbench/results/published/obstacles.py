"""Whether a run and a reported score were made alike: the difference of two flat mappings of facts."""

from collections.abc import Iterator, Mapping
from typing import Any

from fsbench.base.precision import FULL_NAMES
from fsbench.protocols.conditions import NETWORK_SIZE
from fsbench.protocols.draws.classes import OFFICIAL_CLASS_SIZE
from fsbench.protocols.reading import ATLAS, load_protocol, load_segmentation
from fsbench.records.grouping import fold_of
from fsbench.records.record import Record
from fsbench.records.run import AUTHORS, LAST, ON_TRUST, OTHER_RUN, UNTRAINED, Identity, Training
from fsbench.results.published.conditions import differences_of_tests
from fsbench.results.published.scores import UNSTATED_TRAINING, PaperSettings, PublishedScore, flat, frozen

OFFICIAL_IMAGE_SIZE = 224
"""Side of the images of a classification (fort.md §3)."""
OFFICIAL_QUERIES = 15
"""Query images of a class."""
_OFFICIAL_SCORE = "val/mIoU"
"""Score by which the papers that train choose a checkpoint."""
_OFFICIAL, _OF_THE_PAPER, _UNTOLD = "official", "the paper's", object()
_TF32 = {None: None, False: "off", True: "on", "convolutions": "in convolutions", "matmul": "in matrix products"}

Fact = tuple[str, Any, Any]
"""Name of a fact, ours, and the paper's: None for what is not recorded, or `_UNTOLD` for what a paper does not tell."""


def why_not_comparable(record: Record, published: PublishedScore) -> list[str]:
    """List everything that differs between how a run's score and a published one were made.

    Compared are data set, fold, way, shot, protocol, setting, episodes and image lists; the protocol's conditions with
    those of the program that produced the score; the method's options; the backbone and its weights; image size,
    precision and TF32. For segmentation the training is compared, too: the origin of the checkpoint and, unless it is
    the authors' (whose variant must be stated), its epochs, effective batch, data and choice of the checkpoint. A
    paper's settings are those of the configuration that fsbench ships for method, data set and backbone, and those in
    `benchmarks/published/mapping.yaml`.

    Args:
        record: a finished run.
        published: a score as `fsbench.runner.papers.results.published_scores` reads it; its metric and value do not
            matter.

    Returns:
        A phrase for each difference, such as "image size 400 instead of 700"; empty if the two may be compared. A fact
        that the record lacks is "not recorded" and never taken as equal.
    """
    reasons = [published.doubt] if published.doubt else []
    reasons += [f"{record.header.protocol} is run in spirit only: {why}" for why in record.protocol.in_spirit]
    facts = list(_facts(record, published))
    reasons += difference({name: ours for name, ours, _ in facts}, {name: theirs for name, _, theirs in facts})
    if published.made_with is None:
        reasons.append("the settings behind the reported score are not on file")
    elif not record.protocol.has_masks:
        reasons += record.run.remarks
    return list(dict.fromkeys(reasons))


def difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return a phrase for each entry of `theirs` that `ours` has otherwise, or as None: not recorded."""
    found = []
    for name, wanted in theirs.items():
        mine = ours.get(name)
        if mine is None:
            found.append(f"{name} not recorded")
        elif wanted is _UNTOLD:
            found.append(f"{name} {_word(mine)}, and the paper's is not known")
        elif mine != wanted:
            found.append(f"{name} {_word(mine)} instead of {_word(wanted)}")
    return found


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _told(value: Any) -> Any:
    return _UNTOLD if value is None else value


def same_method(record: Record, published: PublishedScore) -> bool:
    """Return whether a run's method has the class and options of the method that a published score is about."""
    method = record.run.identity.method.as_json()
    options = [(frozen(method.get(key)), wanted) for key, wanted in published.options]
    return published.kind == method.get("type") and all(
        bool(ours) if wanted == "any" else ours == wanted for ours, wanted in options
    )


def _facts(record: Record, published: PublishedScore) -> Iterator[Fact]:
    header, identity, paper = record.header, record.run.identity, published.made_with
    method = identity.method.as_json()
    yield "method", published.method if same_method(record, published) else "another", published.method
    yield "data set", header.dataset, published.dataset
    yield "way", header.way, published.way
    yield "shot", header.shot, published.shot
    if record.protocol.has_masks and published.fold != "mean":
        yield "fold", str(fold_of(record)), published.fold
    yield "list of episodes", "the protocol's" if header.is_official else "another", "the protocol's"
    yield from _test(record, published)
    yield from _backbone(record, published)
    if paper is not None:
        yield from _numbers(identity, paper, "")
        yield from _method(method, published, paper)
        if record.protocol.has_masks:
            yield from _training(record, published, paper)


def _test(record: Record, published: PublishedScore) -> Iterator[Fact]:
    """Compare the tests under one protocol; whatever else differs between two protocols follows from that."""
    header = record.header
    stated = record.protocol.conditions(header.dataset)
    if header.protocol != published.protocol and header.protocol.partition("@")[0] != f"{ATLAS}{published.test}":
        theirs = load_protocol(published.protocol).conditions(header.dataset)
        apart = differences_of_tests(stated, theirs).items()
        words = ", ".join(f"{name} {our} instead of {their}" for name, (our, their) in apart)
        yield "protocol", header.protocol, f"{published.protocol} ({words})" if words else published.protocol
        return
    yield from _segmentation(record, published) if record.protocol.has_masks else _classification(record)
    program = dict(published.conditions)
    sizes = str(record.run.identity.image_size), program.get(NETWORK_SIZE.key, "")
    for name, (our, their) in differences_of_tests(stated, program, *sizes).items():
        yield name, our, their


def _segmentation(record: Record, published: PublishedScore) -> Iterator[Fact]:
    header, identity, draw = record.header, record.run.identity, load_segmentation(published.protocol).draw
    seed = draw.official_seed(header.dataset) if published.seed is None else published.seed
    yield "setting", header.setting, published.setting
    empty = {True: "at times empty", False: "never empty"}
    yield "queries", empty[header.empty], empty[draw.empty_queries]
    yield "support annotation", identity.support_annotation, published.annotation
    kept = identity.kept_support
    yield "labelled objects of the supports", "all" if kept == 1 else f"{kept:.2%}", "all"
    yield "episodes", header.requested, published.episodes or header.official_episodes
    yield "test seed", _or_none(header.seed), _or_none(seed)
    yield "image lists", _OFFICIAL if header.lists.startswith(_OFFICIAL) else header.lists, _OFFICIAL
    yield "tested classes", "a part of the fold's" if header.dropped_classes else "the fold's", "the fold's"


def _classification(record: Record) -> Iterator[Fact]:
    """Compare all but the episodes themselves.

    The authors' cannot be drawn again; another list of as many moves a score by less than half a point (fort.md §4), so
    it is no obstacle, and its seed is none either.
    """
    header = record.header
    yield "queries", header.queries, OFFICIAL_QUERIES
    yield "episodes", header.requested, header.official_episodes
    least = header.min_class_size if header.small_classes else OFFICIAL_CLASS_SIZE
    yield "--data.test.min_class_size", least or "none", OFFICIAL_CLASS_SIZE
    yield "listed images", "incomplete" if header.lists.endswith("incomplete") else "complete", "complete"


def _backbone(record: Record, published: PublishedScore) -> Iterator[Fact]:
    backbone = record.run.identity.backbone
    theirs = " or ".join(published.backbones) or published.backbone
    yield "backbone", backbone.name, backbone.name if backbone.name in published.backbones else theirs
    (weights, *_) = backbone.weights.split() or [""]
    yield "backbone's weights", weights if weights in ("random", "unofficial") else _OFFICIAL, _OFFICIAL
    yield "features kept in", backbone.cache_dtype, "float32"
    yield "number format of the backbone", backbone.backbone_precision, "fp32"


def _numbers(made: Identity | Training, paper: PaperSettings, where: str) -> Iterator[Fact]:
    """Compare image size, precision and TF32; `where` is "" for a test and " of the training"."""
    yield f"image size{where}", made.image_size, paper.image_size or OFFICIAL_IMAGE_SIZE
    yield f"precision{where}", _precision(made.precision), _told(_precision(paper.precision))
    yield f"TF32{where}", _TF32[made.tf32], _TF32[made.tf32 if paper.tf32 is None else paper.tf32]


def _precision(value: Any) -> str | None:
    return None if value is None else FULL_NAMES.get(str(value), str(value))


def _method(method: Mapping[str, Any], published: PublishedScore, paper: PaperSettings) -> Iterator[Fact]:
    """Compare the settings of the method that its configuration states; those that the score's options name win."""
    ours = {key: frozen(value) for key, value in flat(method).items()}
    stated = dict(paper.method) | {key: value for key, value in published.options if value != "any"}
    for key, theirs in stated.items():
        if theirs is not None or ours.get(key) is not None:
            yield key, _or_none(ours[key]) if key in ours else None, _or_none(theirs)


def _or_none(value: Any) -> Any:
    return "none" if value is None else value


def _training(record: Record, published: PublishedScore, paper: PaperSettings) -> Iterator[Fact]:
    """Compare the training of a run's weights with the paper's; the authors' checkpoint is the paper's."""
    weights, theirs = record.run.weights, _OF_THE_PAPER if paper.trained else "none"
    training = weights.training
    if record.run.checkpoint_variant == ON_TRUST:
        yield "variant of the authors' checkpoint", ON_TRUST, "stated"
    if weights.origin == AUTHORS:
        return
    if weights.origin == UNTRAINED or not paper.trained:
        yield "training", weights.origin and ("none" if weights.origin == UNTRAINED else "some"), theirs
        return
    if weights.origin is None or training is None:
        yield "training", None, theirs
        return
    settings = training.settings
    yield "epochs", settings.get("max_epochs"), _told(paper.epochs)
    yield "effective batch", training.effective_batch, _told(paper.batch)
    chosen_by = LAST if paper.validation == "none" else _OFFICIAL_SCORE
    yield "choice of the checkpoint", training.chosen_by, chosen_by
    yield "validation on classes", settings.get("validation"), _told(paper.validation)
    yield "validation episodes", training.episodes, _told(training.official_episodes)
    stated = UNSTATED_TRAINING | dict(paper.training)
    if stated.get("micro_batch") is not None:  # where the division of a step changes its loss
        yield "micro-batch", settings.get("division", {}).get("micro_batch"), stated["micro_batch"]
    for key, unstated in UNSTATED_TRAINING.items():
        yield key, _or_none(frozen(settings.get(key, unstated))), _or_none(stated[key])
    yield "features of the training kept in", settings.get("cache_dtype") or "float32", "float32"
    yield "number format of the backbone in training", settings.get("backbone_precision") or "fp32", "fp32"
    for key in ("optimizer", "lr_scheduler"):
        yield key, "another" if settings.get(key) else "the method's", "the method's"
    lists = settings.get("base_lists")
    yield "training lists", lists and (_OFFICIAL if str(lists).startswith(_OFFICIAL) else lists), _OFFICIAL
    if weights.origin == OTHER_RUN:  # else one configuration has both training and test
        yield from _numbers(training, paper, " of the training")
        tested = flat(record.run.identity.method.as_json())
        for key, ours, wanted in _method(training.method, published, paper):
            if ours != _or_none(frozen(tested.get(key))):  # else it is a fact of the test
                yield f"{key} of the training", ours, wanted


def caveats(record: Record, published: PublishedScore) -> list[str]:
    """List what is unknown about a published score, without preventing a comparison.

    These are whether TF32 was used, and remarks about the evaluation program behind the score.
    """
    marks = program_remarks(published)
    if published.made_with is None or published.made_with.tf32 is not None:
        return marks
    return [*marks, f"TF32 {_TF32[record.run.identity.tf32]} here; whether the authors' GPUs had it is not known"]


def program_remarks(published: PublishedScore) -> list[str]:
    """Return remarks about the evaluation program behind a published score, such as "partly read"."""
    return [f"the program of the reported score: {mark}" for mark in published.marks]
