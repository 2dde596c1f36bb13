"""Whether a run and a reported score were made alike: all that differs between the two, in words."""

from collections.abc import Mapping
from typing import Any

from fsbench.base.precision import FULL_NAMES
from fsbench.protocols.draws.classes import OFFICIAL_CLASS_SIZE
from fsbench.protocols.reading import ATLAS, load_protocol, load_segmentation
from fsbench.records.grouping import fold_of
from fsbench.records.record import Record
from fsbench.records.run import (
    AUTHORS,
    LAST,
    ON_TRUST,
    OTHER_RUN,
    UNTRAINED,
    BackboneSettings,
    Identity,
    Training,
    Weights,
)
from fsbench.results.published.conditions import program_differences, protocol_differences
from fsbench.results.published.scores import UNSTATED_TRAINING, PaperSettings, PublishedScore, flat, frozen

OFFICIAL_IMAGE_SIZE = 224
"""Side of the images of a classification (fort.md §3)."""
OFFICIAL_QUERIES = 15
"""Query images of a class."""
_OFFICIAL_SCORE = "val/mIoU"
"""Score by which the papers that train choose a checkpoint."""
_TF32 = {None: None, False: "off", True: "on", "convolutions": "in convolutions", "matmul": "in matrix products"}


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
    reasons += _task(record, published)
    if not record.header.is_official:
        reasons.append("the episodes are not those that the protocol draws")
    header, identity, paper = record.header, record.run.identity, published.made_with
    if header.protocol != published.protocol and not _is_of_its_program(
        header.protocol, published
    ):  # whatever else of the test differs follows from that
        words = protocol_differences(record.protocol, load_protocol(published.protocol), header.dataset)
        which = f" ({', '.join(words)})" if words else ""
        reasons.append(f"protocol {header.protocol} instead of {published.protocol}{which}")
    else:
        reasons += [*_TESTS[record.protocol.task](record, published), *program_differences(record, published)]
    reasons += _backbone(identity.backbone, published)
    if paper is None:
        return [*reasons, "the settings behind the reported score are not on file"]
    reasons += _image_and_numbers(identity, paper, "")
    reasons += _method(identity.method.as_json(), published, paper)
    if record.protocol.has_masks:
        reasons += _training(record.run.weights, published, paper)
        if record.run.checkpoint_variant == ON_TRUST:
            reasons.append("variant of the authors' checkpoint taken on trust")
    else:
        reasons += record.run.remarks
    return list(dict.fromkeys(reasons))


def _is_of_its_program(protocol: str, published: PublishedScore) -> bool:
    """Return whether a protocol is the row of the atlas whose program made a reported score."""
    row = "/".join(published.row.split("/")[:2])  # without the backbone
    return protocol.partition("@")[0] == f"{ATLAS}{row}"


def same_method(record: Record, published: PublishedScore) -> bool:
    """Return whether a run's method has the class and options of the method that a published score is about."""
    method = record.run.identity.method.as_json()
    return published.kind == method.get("type") and all(
        _is_option(frozen(method.get(key)), value) for key, value in published.options
    )


def _is_option(value: Any, wanted: Any) -> bool:
    return bool(value) if wanted == "any" else bool(value == wanted)


def _differs(name: str, ours: Any, theirs: Any) -> list[str]:
    """Name a difference; a value that the record lacks is None, and one that a paper does not tell, too."""
    if ours is None:
        return [f"{name} not recorded"]
    if theirs is None:
        return [f"{name} {ours}, and the paper's is not known"]
    return [] if ours == theirs else [f"{name} {ours} instead of {theirs}"]


def _task(record: Record, published: PublishedScore) -> list[str]:
    header = record.header
    reasons = [] if same_method(record, published) else [f"another method than {published.method}"]
    for name in ("dataset", "way", "shot"):
        reasons += _differs({"dataset": "data set"}.get(name, name), getattr(header, name), getattr(published, name))
    if record.protocol.has_masks and published.fold != "mean":
        reasons += _differs("fold", str(fold_of(record)), published.fold)
    return reasons


def _backbone(backbone: BackboneSettings, published: PublishedScore) -> list[str]:
    reasons = []
    if backbone.name not in published.backbones:
        theirs = " or ".join(published.backbones) or published.backbone
        reasons.append(f"backbone {backbone.name} instead of {theirs}")
    if backbone.weights.startswith(("random", "unofficial")):
        reasons.append(f"the backbone's weights are {backbone.weights.split()[0]}")
    if backbone.cache_dtype != "float32":
        reasons.append(f"features kept in {backbone.cache_dtype} instead of float32")
    if backbone.backbone_precision != "fp32":
        reasons.append(f"the backbone computes in {backbone.backbone_precision} instead of fp32")
    return reasons


def _image_and_numbers(made: Identity | Training, paper: PaperSettings, where: str) -> list[str]:
    """Compare image size, precision and TF32; `where` is "" for a test and " of the training"."""
    ours, theirs = _TF32[made.tf32], made.tf32 if paper.tf32 is None else paper.tf32
    return [
        *_differs(f"image size{where}", made.image_size, paper.image_size or OFFICIAL_IMAGE_SIZE),
        *_differs(f"precision{where}", _precision(made.precision), _precision(paper.precision)),
        *_differs(f"TF32{where}", ours, _TF32[theirs]),
    ]


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


def _precision(value: Any) -> str | None:
    return None if value is None else FULL_NAMES.get(str(value), str(value))


def _method(method: Mapping[str, Any], published: PublishedScore, paper: PaperSettings) -> list[str]:
    """Compare the settings of the method that its configuration states; those that the score's options name win."""
    method = flat(method)
    stated = dict(paper.method) | {key: value for key, value in published.options if value != "any"}
    reasons = [f"{key} not recorded" for key, theirs in stated.items() if theirs is not None and key not in method]
    for key, theirs in stated.items():
        ours = frozen(method.get(key, theirs))
        reasons += [f"{key} {_word(ours)} instead of {_word(theirs)}"] if ours != theirs else []
    return reasons


def _word(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _training(weights: Weights, published: PublishedScore, paper: PaperSettings) -> list[str]:
    """Compare the training of a run's weights with the paper's; the authors' checkpoint is the paper's."""
    training = weights.training
    if weights.origin == AUTHORS:
        return []
    if weights.origin is None:
        return ["checkpoint's origin not recorded"]
    if not paper.trained:
        return [] if weights.origin == UNTRAINED else ["the method was trained, and the paper's is not"]
    if weights.origin == UNTRAINED:
        return ["nothing was trained"]
    if training is None:
        return ["training of the checkpoint not recorded"]
    settings, chosen_by = training.settings, LAST if paper.validation == "none" else _OFFICIAL_SCORE
    reasons = [
        *_differs("epochs", settings.get("max_epochs"), paper.epochs),
        *_differs("effective batch", training.effective_batch, paper.batch),
        *_differs("choice of the checkpoint", training.chosen_by, chosen_by),
        *_differs("validation on classes", settings.get("validation"), paper.validation),
        *_differs("validation episodes", training.episodes, training.official_episodes),
    ]
    stated = UNSTATED_TRAINING | dict(paper.training)
    if stated.get("micro_batch") is not None:  # where the division of a step changes its loss
        ours = settings.get("division", {}).get("micro_batch")
        reasons += _differs("micro-batch", ours, stated["micro_batch"])
    for key, unstated in UNSTATED_TRAINING.items():
        ours, theirs = frozen(settings.get(key, unstated)), stated[key]
        if ours != theirs:
            reasons.append(f"{key} {_word(ours)} instead of {_word(theirs)}")
    if dtype := settings.get("cache_dtype"):
        reasons.append(f"features of the training kept in {dtype} instead of float32")
    if precision := settings.get("backbone_precision"):
        reasons.append(f"the backbone of the training computes in {precision} instead of fp32")
    reasons += [f"another {key} than the method's" for key in ("optimizer", "lr_scheduler") if settings.get(key)]
    if not str(settings.get("base_lists")).startswith("official"):
        reasons.append(f"training lists are {settings.get('base_lists', 'not recorded')} instead of official")
    if weights.origin != OTHER_RUN:  # one configuration has both training and test
        return reasons
    reasons += _image_and_numbers(training, paper, " of the training")
    return reasons + _method(training.method, published, paper)


def _segmentation_test(record: Record, published: PublishedScore) -> list[str]:
    header, protocol = record.header, load_segmentation(published.protocol)
    reasons = _differs("setting", header.setting, published.setting)
    if header.empty != protocol.draw.empty_queries:
        reasons.append(f"queries {'are never' if protocol.draw.empty_queries else 'may be'} empty")
    annotation = record.run.identity.support_annotation
    reasons += _differs("support annotation", annotation, published.annotation)
    if (kept := record.run.identity.kept_support) < 1:
        reasons.append(f"{kept:.2%} of the supports' objects are labelled instead of all")
    reasons += _differs("episodes", header.requested, published.episodes or header.official_episodes)
    seed = protocol.draw.official_seed(header.dataset) if published.seed is None else published.seed
    if header.seed != seed:
        reasons.append(f"test seed {_word(header.seed)} instead of {_word(seed)}")
    if not header.lists.startswith("official"):
        reasons.append(f"image lists are {header.lists} instead of official")
    if header.dropped_classes:
        reasons.append(f"fold {fold_of(record)} lacks classes")
    return reasons


def _classification_test(record: Record, published: PublishedScore) -> list[str]:
    """Compare all but the episodes themselves.

    The authors' cannot be drawn again; another list of as many moves a score by less than half a point (fort.md §4), so
    it is no obstacle, and its seed is none either.
    """
    header = record.header
    reasons = _differs("queries", header.queries, OFFICIAL_QUERIES)
    reasons += _differs("episodes", header.requested, header.official_episodes)
    if header.small_classes and header.min_class_size != OFFICIAL_CLASS_SIZE:
        reasons.append(
            f"{header.small_classes} small classes are not repeated up to {OFFICIAL_CLASS_SIZE} images as the "
            f"authors' (--data.test.min_class_size={OFFICIAL_CLASS_SIZE})"
        )
    if header.lists.endswith("incomplete"):
        reasons.append("the list of images is not complete")
    return reasons


_TESTS = {"segmentation": _segmentation_test, "classification": _classification_test}
"""Name of a task -> how its tests are compared under one protocol."""
