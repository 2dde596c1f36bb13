"""The card of a result: what decides whether two rows may be ranked together, as far as a record or its folder tells.

A bundle asks for a whole card. A run on this machine has what follows from its record; a file `card.yaml` in its
folder, or in the folder of runs, states the rest. An unpacked bundle has its card in `bundle.json`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fsbench.data.annotations import ANNOTATIONS, WEAK
from fsbench.errors import SettingsError
from fsbench.files import load_yaml, read_json
from fsbench.files.validation import first_problem
from fsbench.protocols.segmentation import segmentation_of
from fsbench.records.record import Record
from fsbench.records.run import (
    AUTHORS,
    OTHER_RUN,
    TRAINED_HERE,
    UNTRAINED,
    KnownOrNot,
    Supervision,
    Weights,
)

FILE, BUNDLE = "card.yaml", "bundle.json"
NOT_STATED = "not stated"

CONDITIONS = ("novel_pixels", "supervision", "backbone_saw_test_images", "checkpoint_choice", "saw_test_classes")
"""Entries that rows must share to be ranked together; see `ranking_groups`."""

Words = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]


def _check_entry(text: str) -> str:
    """Return an entry of BibTeX without the spaces around it. Raises ValueError for other text."""
    text = text.strip()
    depth = 0
    for place, character in enumerate(text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth < 0 or (depth == 0 and character == "}" and place + 1 < len(text)):
            raise ValueError("its braces do not match, or more than one entry is there")
    if depth or not re.match(r"@[A-Za-z]+\{[^\s{},]+,", text) or re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text):
        raise ValueError("expected one entry of BibTeX such as @inproceedings{key, title = {...}}")
    return text


class Card(BaseModel):
    """A whole card, as a bundle has it.

    Attributes:
        novel_pixels: whether the training saw pixels of the test's classes: not at all, without their labels (as
            background), or with labels.
        supervision: what the training and the supports are labelled with.
        backbone_data: what the backbone was trained on before, in words.
        backbone_saw_test_images: whether that data holds images of the test.
        trials: number of trainings or settings that were tried on the way to this result, itself included.
        checkpoint_choice: how the checkpoint was chosen.
        saw_test_classes: whether networks that the method comes with were trained with labels of the test's classes;
            None: as its records tell.
        bibtex: the paper's entry, for those who cite the result; None where there is none.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    novel_pixels: Literal["no", "unlabelled", "labelled", "unknown"]
    supervision: tuple[Supervision, ...] = Field(min_length=1)
    backbone_data: Words
    backbone_saw_test_images: KnownOrNot
    trials: Annotated[int, Field(ge=1, le=10**6)]
    checkpoint_choice: Literal["nothing trained", "last", "base classes", "novel classes", "released", "unknown"]
    saw_test_classes: KnownOrNot | None = None
    bibtex: Annotated[str, Field(max_length=4000), AfterValidator(_check_entry)] | None = None

    def as_rows(self) -> list[list[str]]:
        """Return a name and a value in words for each entry but the citation."""
        return [[name.replace("_", " "), _in_words(value)] for name, value in self if name != "bibtex"]

    @property
    def conditions(self) -> dict[str, str]:
        """The entries that rows must share to be ranked together, by their names in words."""
        return {name.replace("_", " "): _in_words(getattr(self, name)) for name in CONDITIONS}


def _in_words(value: Any) -> str:
    """Return the value of an entry in words; the order in which labels are named says nothing."""
    if value is None:
        return NOT_STATED
    return ", ".join(sorted(value)) if isinstance(value, (tuple, list)) else str(value)


ALLOWED = {
    **{name: get_args(field.annotation) for name, field in Card.model_fields.items() if name in CONDITIONS},
    "supervision": get_args(Supervision),
    "saw_test_classes": get_args(KnownOrNot),
}
"""Entry -> its values in a card; others are free words."""

CHOICES = """\
# The card of a result, which fsbench bundle asks for. Replace every ... by one of the values behind it.
novel_pixels: ...              # no | unlabelled | labelled | unknown: did the training see the test's classes?
supervision: [masks]           # any of masks, boxes, points, scribbles, image labels, text, class names
backbone_data: ...             # in words, such as ImageNet-1k
backbone_saw_test_images: ...  # yes | no | unknown
trials: ...                    # number of trainings or settings that were tried, this one included
checkpoint_choice: ...         # nothing trained | last | base classes | novel classes | released | unknown
# Where networks that the method comes with were, or may have been, trained with labels of the test's classes:
# saw_test_classes: yes        # yes | no | unknown
# If there is a paper, its entry, for those who cite the result:
# bibtex: "@inproceedings{key, title = {...}, author = {...}, year = {...}}"
"""
"""A card to fill in."""


def check_card(values: Any, source: str) -> Card:
    """Return the card of plain values. Raises SettingsError that names `source` and all that does not fit."""
    if isinstance(values, dict):  # YAML's yes and no are truth values, and its lists no tuples
        words = {True: "yes", False: "no"}
        values = {key: words[value] if isinstance(value, bool) else value for key, value in values.items()}
        if isinstance(values.get("supervision"), list):
            values["supervision"] = tuple(values["supervision"])
    try:
        return Card.model_validate(values)
    except ValidationError as error:
        others = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise SettingsError(
            f"{source} is no card: {first_problem(error, values)}{others}; see: fsbench bundle --new-card FILE"
        ) from None


def read_card(file: Path) -> Card:
    """Read a card from a YAML file. Raises SettingsError where it cannot be read or does not fit."""
    try:
        values = load_yaml(file)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"cannot read {file} ({error}); expected a card; make one with: fsbench bundle --new-card FILE"
        ) from None
    return check_card(values, str(file))


@dataclass(frozen=True)
class StatedCard:
    """The entries of a card in words, `NOT_STATED` where nothing tells; see `Card`.

    `trained_on` is no entry of a bundle's card, since it always follows from the record: the base classes that anything
    was trained on, by fold, data set and protocol.
    """

    novel_pixels: str = NOT_STATED
    supervision: str = NOT_STATED
    backbone_data: str = NOT_STATED
    backbone_saw_test_images: str = NOT_STATED
    trials: str = NOT_STATED
    checkpoint_choice: str = NOT_STATED
    saw_test_classes: str = NOT_STATED
    trained_on: str = NOT_STATED

    @property
    def conditions(self) -> dict[str, str]:
        """The entries that rows must share to be ranked together, by their names in words."""
        return {name.replace("_", " "): getattr(self, name) for name in CONDITIONS}

    @property
    def words(self) -> dict[str, str]:
        """All entries by their names in words."""
        return {field.name.replace("_", " "): getattr(self, field.name) for field in fields(self)}


class Cards:
    """The cards of runs; a file that states those of several is read once.

    Args:
        backbone_data: name of a backbone -> what it was trained on, where that is wanted.
    """

    def __init__(self, backbone_data: Mapping[str, str] | None = None):
        self._backbone_data = backbone_data or {}
        self._stated: dict[Path, dict[str, str]] = {}

    def method_card(self, records: Sequence[Record]) -> StatedCard:
        """Return the card of a method's runs; entries in which its folds differ name all their values."""
        cards = [self.run_card(record) for record in records]
        entries = {
            field.name: " / ".join(dict.fromkeys(getattr(card, field.name) for card in cards))
            for field in fields(StatedCard)
        }
        return StatedCard(**entries)

    def run_card(self, record: Record) -> StatedCard:
        """Return the card of a run: what is stated beside it, else what its record tells.

        Raises SettingsError where a card beside it cannot be read or has other values than cards have.
        """
        derived = derived_entries(record)
        known = derived.keys() & {"trained_on", *own_statements(record)}
        backbone = self._backbone_data.get(record.run.identity.backbone.name)
        if backbone and "backbone_data" not in derived:
            derived["backbone_data"] = backbone
        stated = self._folder_entries(record.path.parent) | _read(record.path / FILE)
        return StatedCard(**derived | {name: words for name, words in stated.items() if name not in known})

    def _folder_entries(self, folder: Path) -> dict[str, str]:
        if folder not in self._stated:
            self._stated[folder] = _read_bundled(folder / BUNDLE) | _read(folder / FILE)
        return self._stated[folder]


def ranking_groups(cards: Mapping[str, StatedCard], rank_all: bool = False) -> dict[str, int]:
    """Return for each method the number of the group that it is ranked in, from 0 in the order of `cards`.

    Rows are ranked together only where all conditions of their cards are the same: what was told to a method, and what
    its networks have seen. With `rank_all` there is one group.
    """
    kinds = list(dict.fromkeys(tuple(card.conditions.values()) for card in cards.values()))
    return {name: 0 if rank_all else kinds.index(tuple(card.conditions.values())) for name, card in cards.items()}


def differing_cards(cards: Mapping[str, StatedCard]) -> list[str]:
    """Return a line that names the conditions in which the cards of methods differ; none where they are the same."""
    of_method = {name: card.conditions for name, card in cards.items()}
    first = next(iter(of_method.values()), {})
    differing = [name for name in first if len({card[name] for card in of_method.values()}) > 1]
    if not differing:
        return []
    words = [
        f"{method} {', '.join(f'{name} {card[name]}' for name in differing)}" for method, card in of_method.items()
    ]
    return [f"cards differ: {'; '.join(words)}"]


def derived_entries(record: Record) -> dict[str, str]:
    """Return the entries that follow from a record: by its task, its protocol and the training of its weights."""
    weights = record.run.origin_of_weights
    label = "masks" if record.protocol.has_masks else "image labels"
    entries = {"supervision": label, "saw_test_classes": "no"} | own_statements(record)
    annotation = record.run.identity.support_annotation
    if annotation in WEAK:  # in place of the supports' masks, not of those of training
        labels = {*entries["supervision"].split(", "), ANNOTATIONS[annotation].label}
        entries["supervision"] = _in_words([*(labels - {"masks"} if weights.origin == UNTRAINED else labels)])
    if record.run.identity.backbone.weights.startswith("random"):
        entries["backbone_data"] = "none: random weights"
    if record.protocol.has_masks and (trained_on := _trained_on(record, weights)):
        entries["trained_on"] = trained_on
    if weights.origin == UNTRAINED:
        return entries | {"novel_pixels": "no", "checkpoint_choice": "nothing trained"}
    if weights.origin == AUTHORS:
        return entries | {"checkpoint_choice": "released"}
    settings = weights.training.settings if weights.training else {}
    if weights.origin == TRAINED_HERE and record.protocol.has_masks:  # base classes are learnt, in images with others
        usual = segmentation_of(record.header).drops_novel_images and settings.get("training_items") != "images"
        entries["novel_pixels"] = "no" if settings.get("filter_novel", usual) else "unlabelled"
        if "source" in settings:  # of another data set
            entries["novel_pixels"] = "no"
    choice = dict.fromkeys(("base", "images", "source"), "base classes") | {"novel": "novel classes"}
    chosen = choice.get(str(settings.get("validation")))
    return entries | ({"checkpoint_choice": chosen} if chosen else {})


def own_statements(record: Record) -> dict[str, str]:
    """Return what a record states of its method beyond what holds for most: no card takes it back.

    Most segment from masks, or classify from image labels, with networks that did not learn the test's classes.
    """
    told = record.run.told
    if told is None:
        return {}
    stated = {"supervision": _in_words(told.supervision), "saw_test_classes": told.saw_test_classes}
    usual = {"supervision": "masks" if record.protocol.has_masks else "image labels", "saw_test_classes": "no"}
    return {name: words for name, words in stated.items() if words != usual[name]}


def card_of_runs(card: Card, records: Sequence[Record]) -> Card:
    """Return the card of a bundle as it holds for some of its runs: what their records state of themselves is known."""
    stated = [own_statements(record) for record in records]
    labels = {label for entries in stated if "supervision" in entries for label in entries["supervision"].split(", ")}
    saw = {entries.get("saw_test_classes", "no") for entries in stated}
    entries: dict[str, Any] = {"saw_test_classes": card.saw_test_classes or "no"}
    entries |= {"supervision": tuple(sorted(labels))} if labels else {}
    entries |= {"saw_test_classes": "yes" if "yes" in saw else max(saw)} if saw - {"no"} else {}
    return card.model_copy(update=entries)


def _trained_on(record: Record, weights: Weights) -> str:
    """Say which base classes a method was trained on; empty where neither the record nor the checkpoint tells."""
    if weights.origin == UNTRAINED:
        return "nothing"
    if weights.origin == TRAINED_HERE:
        header = record.header
        source = weights.training.settings.get("source") if weights.training else None
        dataset, fold = (header.dataset, header.fold) if source is None else (str(source), 0)
        return _classes("", dataset, fold, header.protocol)
    told = weights.trained_on if weights.origin == OTHER_RUN else None
    if told is None:
        return ""
    return _classes("" if told.classes is None else str(told.classes), told.dataset, told.fold, told.protocol)


def _classes(number: str, dataset: str, fold: int, protocol: str | None) -> str:
    words = f"{number} base classes of {dataset} fold {fold}".strip()
    return words + (f", by protocol {protocol}" if protocol else "")


def _read(file: Path) -> dict[str, str]:
    """Read the entries that a card beside runs states; none where there is no such file."""
    if not file.is_file():
        return {}
    try:
        values = load_yaml(file)
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read {file} ({error}); expected entries of a card, such as trials: 1") from None
    return _entries(values, file)


def _read_bundled(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    try:
        values = read_json(file, "record")["card"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"cannot read {file} ({error}); expected the listing of a bundle; unpack it again"
        ) from None
    return _entries(values, file)


def _entries(values: Any, file: Path) -> dict[str, str]:
    """Turn the plain values of a card into words; entries that are not shown are left out."""
    if not isinstance(values, dict):
        raise SettingsError(f"{file} holds no entries; expected those of a card (fsbench bundle --new-card FILE)")
    names = [field.name for field in fields(StatedCard)]
    return {name: _word(name, values[name], file) for name in names if values.get(name) is not None}


def _word(name: str, value: Any, file: Path) -> str:
    parts = list(value) if isinstance(value, (list, tuple)) else [value]
    words = [{True: "yes", False: "no"}[part] if isinstance(part, bool) else str(part) for part in parts]
    allowed = ALLOWED.get(name, ())
    wrong = [word for word in words if (allowed and word not in allowed) or not 0 < len(word) <= 300]
    if wrong or not words:
        expected = f"one of {', '.join(allowed)}" if allowed else "a few words"
        raise SettingsError(f"{file}: {name} is {str(value)[:100]!r}; expected {expected}")
    return _in_words(words)
