"""The card of a method: what decides whether its rows may be ranked beside others, and who says so.

An entry is proved by a run's record, or stated by somebody, or unknown. A record that was made here proves most
entries; one whose predictions were handed in proves none. What is stated comes from the card that a bundle has for each
method (`bundle.json`), or from a file `card.yaml` beside a run or in the folder of runs. `contradictions` decides
whether a card fits a record, and `resolve_card` puts the two together.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fsbench.base.errors import SettingsError
from fsbench.base.files import load_yaml, read_json
from fsbench.base.files.validation import first_problem
from fsbench.base.statements import Statement
from fsbench.data.annotations import ANNOTATIONS, WEAK
from fsbench.protocols.reading import segmentation_of, stored_protocol
from fsbench.records.record import Record
from fsbench.records.run import AUTHORS, LAST, OTHER_RUN, TRAINED_HERE, UNTRAINED, KnownOrNot, Supervision, Weights

FILE, BUNDLE = "card.yaml", "bundle.json"
UNKNOWN: Final = "unknown"
"""Word for an entry that no record proves and nobody stated."""
NOTHING_TRAINED = "nothing trained"
RANDOM_WEIGHTS = "none: random weights"
NO_BACKBONE = "none: no backbone"
NOVEL_CLASSES = "novel classes"
"""Choice of a checkpoint by its score on the classes of the test."""

SUPPORTS_ALONE = "the supports alone"
"""Entry `told` of methods that see no labelled image of a test's classes but an episode's supports."""

CONDITIONS = (
    "novel_pixels", "supervision", "backbone_saw_test_images", "checkpoint_choice", "saw_test_classes", "told",
)  # fmt: skip
"""Entries that rows must share to be ranked together; see `ranking_groups`."""


def _check_filled_in(text: str) -> str:
    if not text.strip(" .…?-"):
        raise ValueError(f"expected words in place of {text!r}; leave the entry out where you do not know")
    return text


Words = Annotated[
    str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$"), AfterValidator(_check_filled_in)
]


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


ToldImages = Annotated[str, Field(pattern=rf"^({SUPPORTS_ALONE}|[1-9][0-9]{{0,8}} labelled images a class)$")]
"""Labelled images of the test's classes that a method learned from, in words."""


class Card(BaseModel):
    """A method's card: what somebody states about its training and inputs; missing entries are unknown.

    Attributes:
        novel_pixels: whether the training saw pixels of the test's classes: "no", "unlabelled" (without their labels,
            as background), "labelled" or "unknown".
        supervision: what training images and supports are labelled with, such as "masks" or "boxes".
        backbone_data: the data on which the backbone was pretrained, in words.
        backbone_saw_test_images: whether the backbone's pretraining data contains images of the test.
        trials: number of trainings or settings that were tried to get this result, including the final one.
        checkpoint_choice: how the checkpoint was chosen: "last", "nothing trained", "released" by authors, or by the
            score on "base classes", "held-out classes" or "novel classes".
        saw_test_classes: whether pretrained networks in the method were trained with labels of the test's classes.
        told: labelled images of the test's classes that the method learned from, in words: "the supports alone" of each
            episode, or, before the test, such as "20 labelled images a class".
        bibtex: the paper's BibTeX entry, for citing the result; None if there is none.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    novel_pixels: Literal["no", "unlabelled", "labelled", "unknown"] = UNKNOWN
    supervision: Annotated[tuple[Supervision, ...], Field(min_length=1)] | None = None
    backbone_data: Words | None = None
    backbone_saw_test_images: KnownOrNot = UNKNOWN
    trials: Annotated[int, Field(ge=1, le=10**6)] | None = None
    checkpoint_choice: Literal[
        "nothing trained", "last", "base classes", "held-out classes", "novel classes", "released", "unknown"
    ] = UNKNOWN
    saw_test_classes: KnownOrNot | None = None
    told: ToldImages | None = None
    bibtex: Annotated[str, Field(max_length=4000), AfterValidator(_check_entry)] | None = None

    @property
    def stated(self) -> dict[str, str]:
        """{name: value in words} of the entries that the card states, without `bibtex`; a value may be `UNKNOWN`."""
        return {
            name: _in_words(value)
            for name, value in self
            if name in self.model_fields_set and value is not None and name != "bibtex"
        }

    def as_rows(self) -> list[list[str]]:
        """Return (name, value in words) for each entry except the citation."""
        return [[name.replace("_", " "), _in_words(value)] for name, value in self if name != "bibtex"]


def _in_words(value: Any) -> str:
    """Return the value of an entry in words; the order in which labels are named says nothing."""
    if value is None:
        return UNKNOWN
    return ", ".join(sorted(value)) if isinstance(value, (tuple, list)) else str(value)


ALLOWED = {
    **{name: get_args(field.annotation) for name, field in Card.model_fields.items() if name in CONDITIONS[:-1]},
    "supervision": get_args(Supervision),
    "saw_test_classes": get_args(KnownOrNot),
}
"""Entry -> its values in a card; others are free words."""

CHOICES = """\
# The card of a method, which fsbench bundle asks for. Replace every ... by one of the values behind it.
# Remove a line if you do not know its value, which is then shown as unknown. Also remove it if the records of your runs
# have the value: they usually have all but backbone_saw_test_images and trials. A card that contradicts a record is
# refused.
# method: ...                  # name of the method, where the bundle has several
novel_pixels: ...              # no | unlabelled | labelled | unknown: did the training see the test's classes?
supervision: [masks]           # any of masks, boxes, points, scribbles, image labels, text, class names
backbone_data: ...             # in words, such as ImageNet-1k
backbone_saw_test_images: ...  # yes | no | unknown
trials: ...                    # number of trainings or settings that were tried, this one included
# nothing trained | last | base classes | held-out classes | novel classes | released | unknown:
checkpoint_choice: ...         # how was the checkpoint chosen?
# Where networks that the method comes with were, or may have been, trained with labels of the test's classes:
# saw_test_classes: yes        # yes | no | unknown
# Where the method learned from labelled images of the test's classes before the test, beside an episode's supports:
# told: 20 labelled images a class
# If there is a paper, its entry, for those who cite the result:
# bibtex: "@inproceedings{key, title = {...}, author = {...}, year = {...}}"
"""
"""A card to fill in."""


def check_card(values: Any, source: str) -> Card:
    """Check plain values, such as those of a YAML file, and return them as a `Card` (facts about a method).

    Raises SettingsError, which names `source` and every entry that does not fit.
    """
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


def read_card(file: Path) -> tuple[str | None, Card]:
    """Read a method's card (what is stated about its training and inputs) from a YAML file.

    Returns:
        The name of the method that the file states under `method` (None if it states none), and the card.

    Raises:
        SettingsError: the file cannot be read, or its entries are not those of a card.
    """
    try:
        values = load_yaml(file)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"cannot read {file} ({error}); expected a card; make one with: fsbench bundle --new-card FILE"
        ) from None
    method = None
    if isinstance(values, dict) and "method" in values:
        values = dict(values)
        method = values.pop("method")
        if not isinstance(method, str) or not method:
            raise SettingsError(f"{file}: method is {str(method)[:100]!r}; expected the name of a method in the runs")
    return method, check_card({} if values is None else values, str(file))


@dataclass(frozen=True)
class StatedCard:
    """Entries of a method's card (its training and inputs) in words; `UNKNOWN` if neither record nor card tells.

    Attributes:
        trained_on: the base classes that were trained on, by fold, data set and protocol. This entry follows from the
            run's record alone; a card file cannot state it.
        handed_in: whether only predictions made elsewhere were counted, so that the record proves nothing about the
            method.
        stated: names of the entries that come from a card file; other known entries follow from the record.
    """

    novel_pixels: str = UNKNOWN
    supervision: str = UNKNOWN
    backbone_data: str = UNKNOWN
    backbone_saw_test_images: str = UNKNOWN
    trials: str = UNKNOWN
    checkpoint_choice: str = UNKNOWN
    saw_test_classes: str = UNKNOWN
    told: str = UNKNOWN
    trained_on: str = UNKNOWN
    handed_in: bool = False
    stated: tuple[str, ...] = ()

    @property
    def conditions(self) -> dict[str, str]:
        """{name: value} of the entries that must be equal for two methods to be ranked together."""
        shared = {name.replace("_", " "): getattr(self, name) for name in CONDITIONS}
        return shared | {"handed in": "yes" if self.handed_in else "no"}

    @property
    def words(self) -> dict[str, str]:
        """{name: value in words} of all entries; "(stated)" marks values that the run's record does not prove."""
        entries = {
            name.replace("_", " "): getattr(self, name) + " (stated)" * (name in self.stated) for name in ENTRIES
        }
        return entries | {"handed in": self.conditions["handed in"]}


ENTRIES = tuple(field.name for field in fields(StatedCard) if field.name not in ("handed_in", "stated"))
"""Names of the entries in words."""


def contradictions(stated: Mapping[str, str], record: Record) -> list[str]:
    """Return a line for each entry in which a method's card contradicts a run's record, with both values and advice.

    A card may leave out what the record proves. It may also state that more of the test's classes were seen in training
    than the record proves, never fewer.

    Args:
        stated: {name of an entry: value in words} of the card.
        record: the record of a run of the method.
    """
    return [
        f"the card of {record.run.identity.method.name} contradicts its record: {name.replace('_', ' ')} is {words} by "
        f"the card and {proved} by the record of {record.run.id}; leave that entry out of the card, or correct it"
        for name, words in stated.items()
        if (proved := _refutation(name, words, record)) is not None
    ]


def _refutation(name: str, words: str, record: Record) -> str | None:
    """Return what a record says against an entry, in words; None if it says nothing against it."""
    contradicted = STATEMENTS[name].contradicted if name in STATEMENTS else None
    if words == UNKNOWN or contradicted is None:
        return None
    return next(iter(contradicted(StatedEntry(words, record, proved_entries(record).get(name)))), None)


@dataclass(frozen=True)
class StatedEntry:
    """Value of a card's entry in words, a run's record, and the value that the record proves (None if none)."""

    words: str
    record: Record
    proved: str | None


def _other(entry: StatedEntry) -> Iterator[str]:
    if entry.proved is not None and entry.words != entry.proved:
        yield entry.proved


def _other_data(entry: StatedEntry) -> Iterator[str]:
    """The card has free words."""
    words = entry.words.lower()
    if entry.proved is not None and not ("random" in words or words in ("none", NO_BACKBONE)):
        yield entry.proved


def _less_admitted(entry: StatedEntry) -> Iterator[str]:
    if entry.proved is not None and _admission(entry.words) < _admission(entry.proved):
        yield entry.proved


def _other_choice(entry: StatedEntry) -> Iterator[str]:
    run = entry.record.run
    if entry.proved is not None:
        yield from _other(entry)
    elif entry.words == NOTHING_TRAINED and not run.handed_in and run.weights.origin != UNTRAINED:
        yield "that of trained weights"


_PROVED = "what the record proves: its protocol, its backbone and the training of its weights; else believed"

STATEMENTS: Mapping[str, Statement[StatedEntry]] = {
    "novel_pixels": Statement(_PROVED, _other),
    "supervision": Statement(_PROVED, _other),
    "backbone_data": Statement("that the record has random weights or no backbone; else believed", _other_data),
    "backbone_saw_test_images": Statement("that the record has no backbone; else believed", _other),
    "trials": Statement("believed: whoever hands in says so"),
    "checkpoint_choice": Statement(_PROVED, _other_choice),
    "saw_test_classes": Statement("the record; a card may admit more, never less", _less_admitted),
    "told": Statement(_PROVED, _other),
    "bibtex": Statement("believed: one entry of BibTeX"),
}
"""Entry of a card -> what it is held against; its functions yield what the record proves instead."""


def _admission(saw_test_classes: str) -> int:
    """Return a number that is larger the more a method admits to have seen; the largest of a word that is not known."""
    order = ("no", UNKNOWN, "yes")
    return order.index(saw_test_classes) if saw_test_classes in order else len(order)


def resolve_card(stated: Mapping[str, str], record: Record, known_backbone: str = "") -> StatedCard:
    """Return a run's card: each entry is what the run's record proves, else what is stated, else `UNKNOWN`.

    Args:
        stated: {name of an entry: value in words}; values that contradict the record are ignored.
        record: the record of the run.
        known_backbone: what the official weights of the record's backbone were trained on; "" if that is not known.
    """
    proved = proved_entries(record)
    saw = "saw_test_classes"
    if saw in stated and saw in proved and _admission(stated[saw]) > _admission(proved[saw]):
        del proved[saw]
    told = {
        name: words for name, words in stated.items() if name not in proved and _refutation(name, words, record) is None
    }
    entries = _usual_entries(record, known_backbone) | told | proved
    said = tuple(name for name in ENTRIES if told.get(name, UNKNOWN) != UNKNOWN)
    return StatedCard(**entries, handed_in=record.run.handed_in, stated=said)


def merge_cards(cards: Sequence[StatedCard]) -> StatedCard:
    """Join the cards of a method's runs into one; an entry in which they differ lists all values, joined by " / "."""
    entries = {name: " / ".join(dict.fromkeys(getattr(card, name) for card in cards)) for name in ENTRIES}
    stated = tuple(name for name in ENTRIES if any(name in card.stated for card in cards))
    return StatedCard(**entries, handed_in=any(card.handed_in for card in cards), stated=stated)


class Cards:
    """Looks up the cards of runs (what is known of a method's training and inputs); each file is read only once.

    Args:
        backbone_data: {name of a backbone: what it was trained on}; None to leave that entry to the card files.
    """

    def __init__(self, backbone_data: Mapping[str, str] | None = None):
        self._backbone_data = backbone_data or {}
        self._stated: dict[Path, tuple[dict[str, dict[str, str]], dict[str, str]]] = {}

    def method_card(self, records: Sequence[Record]) -> StatedCard:
        """Return the card of a method's runs; an entry in which folds differ lists all its values."""
        return merge_cards([self.run_card(record) for record in records])

    def run_card(self, record: Record) -> StatedCard:
        """Return a run's card: each entry is what its record proves, else what a card file beside the run states.

        Raises SettingsError if the card file cannot be read or has values that a card cannot have.
        """
        folder, method = record.path.parent, record.run.identity.method.name
        if folder not in self._stated:
            self._stated[folder] = _read_bundled(folder / BUNDLE), _read(folder / FILE)
        bundled, shared = self._stated[folder]
        stated = bundled.get(method, {}) | shared | _read(record.path / FILE)
        return resolve_card(stated, record, self._backbone_data.get(record.run.identity.backbone.name, ""))


def ranking_groups(cards: Mapping[str, StatedCard], rank_all: bool = False) -> dict[str, int]:
    """Return {method: number of its ranking group}; methods with equal conditions in their cards are ranked together.

    The conditions are what the method is given (labels, class names) and what its networks have seen. With `rank_all`
    all methods are in group 0.
    """
    kinds = list(dict.fromkeys(tuple(card.conditions.values()) for card in cards.values()))
    return {name: 0 if rank_all else kinds.index(tuple(card.conditions.values())) for name, card in cards.items()}


def choices_on_test(cards: Mapping[str, StatedCard]) -> list[str]:
    """Return a warning that names the methods whose checkpoint was chosen by scores on the test's classes.

    Such scores are too high, as the best of many looks at the test (statistics spec §7). The list is empty if no card
    states such a choice.
    """
    chosen = [name for name, card in cards.items() if NOVEL_CLASSES in card.checkpoint_choice.split(" / ")]
    if not chosen:
        return []
    return [
        f"{', '.join(chosen)}: the checkpoint was chosen by its score on the classes of this test, so the score is too "
        "high. No interval or p-value corrects that"
    ]


def proved_entries(record: Record) -> dict[str, str]:
    """Return {name of a card's entry: value in words} for the entries that a run's record proves.

    Nothing is proved if only predictions made elsewhere were counted.
    """
    run = record.run
    if run.handed_in:
        return {}
    weights = run.weights
    entries = {}
    if run.told is not None:
        entries = {"saw_test_classes": run.told.saw_test_classes, "told": _told(run.told.labelled_images)}
    weak = run.identity.support_annotation in WEAK
    if run.told is not None or weak:
        labels: set[str] = set() if run.told is None else {*run.told.supervision}
        if weak:  # in place of the supports' masks, not of those of training
            labels.add(ANNOTATIONS[run.identity.support_annotation].label)
            labels -= {"masks"} if weights.origin == UNTRAINED else set()
        entries |= {"supervision": _in_words([*labels])} if labels else {}
    if run.identity.backbone.weights.startswith("random"):
        entries["backbone_data"] = RANDOM_WEIGHTS
    if run.identity.backbone.name == "none":  # and nothing that could have seen an image
        entries |= {"backbone_data": NO_BACKBONE, "backbone_saw_test_images": "no"}
    if record.protocol.has_masks and (trained_on := _trained_on(record, weights)):
        entries["trained_on"] = trained_on
    if weights.origin == UNTRAINED:
        return entries | {"novel_pixels": "no", "checkpoint_choice": NOTHING_TRAINED}
    settings = weights.training.settings if weights.training else {}
    if run.identity.adaptation is not None:  # of weights from anywhere; its choice is the last one
        entries["novel_pixels"] = "labelled"
        if "validation" in run.identity.adaptation:
            return entries | _choice(run.identity.adaptation, record)
        return entries | {"checkpoint_choice": LAST}
    if weights.origin == AUTHORS:
        return entries | {"checkpoint_choice": "released"}
    if weights.origin == TRAINED_HERE and record.protocol.has_masks:  # base classes are learnt, in images with others
        lists = settings.get("training_protocol")
        protocol = segmentation_of(record.header) if lists is None else stored_protocol(str(lists))
        usual = protocol.draw.filter_novel and settings.get("training_items", "episodes") == "episodes"
        filtered = settings.get("filter_novel", usual) and protocol.draw.filters_any
        entries["novel_pixels"] = "no" if filtered else "unlabelled"
        if "source" in settings:  # of another data set
            entries["novel_pixels"] = "no"
    return entries | _choice(settings, record)


def _choice(settings: Mapping[str, Any], record: Record) -> dict[str, str]:
    """Return the entry of how a checkpoint was chosen, by settings of its training; none where they do not tell.

    Held-out classes of FSS-1000 are novel ones where a test has just these (`Segmentation.tests_held_out`).
    """
    choice = dict.fromkeys(("base", "images", "source"), "base classes")
    choice |= {"novel": NOVEL_CLASSES, "held_out": "held-out classes", "none": LAST}
    if settings.get("validation") == "held_out":
        dataset = record.header.dataset
        is_other = settings.get("validation_source", dataset) != dataset
        if not is_other and segmentation_of(record.header).draw.tests_held_out(dataset):
            choice["held_out"] = NOVEL_CLASSES
    chosen = choice.get(str(settings.get("validation")))
    return {"checkpoint_choice": chosen} if chosen else {}


def _told(labelled_images: int) -> str:
    return f"{labelled_images} labelled images a class" if labelled_images else SUPPORTS_ALONE


def _usual_entries(record: Record, known_backbone: str) -> dict[str, str]:
    """Return what holds of a record unless a card says otherwise: what its backbone was trained on, in our words."""
    is_known = not record.run.handed_in and not record.run.identity.backbone.weights.startswith("unofficial")
    return {"backbone_data": known_backbone} if known_backbone and is_known else {}


def _trained_on(record: Record, weights: Weights) -> str:
    """Say which base classes a method was trained on; empty if neither the record nor the checkpoint tells."""
    if weights.origin == UNTRAINED:
        return "nothing"
    if weights.origin == TRAINED_HERE:
        header = record.header
        settings = weights.training.settings if weights.training else {}
        source = settings.get("source")
        dataset, fold = (header.dataset, header.fold) if source is None else (str(source), 0)
        return _classes("", dataset, fold, str(settings.get("training_protocol", header.protocol)))
    told = weights.trained_on if weights.origin == OTHER_RUN else None
    if told is None:
        return ""
    return _classes("" if told.classes is None else str(told.classes), told.dataset, told.fold, told.protocol)


def _classes(number: str, dataset: str, fold: int, protocol: str | None) -> str:
    words = f"{number} base classes of {dataset} fold {fold}".strip()
    return words + (f", by protocol {protocol}" if protocol else "")


def _read(file: Path) -> dict[str, str]:
    """Read the entries that a card beside runs states; none if there is no such file."""
    return read_card(file)[1].stated if file.is_file() else {}


def _read_bundled(file: Path) -> dict[str, dict[str, str]]:
    """Read the cards in the listing of a bundle: method -> entries."""
    if not file.is_file():
        return {}
    try:
        cards = read_json(file, "record")["cards"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(
            f"cannot read {file} ({error}); expected the listing of a bundle; unpack it again"
        ) from None
    return {method: check_card(card, str(file)).stated for method, card in cards}
