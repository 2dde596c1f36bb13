"""The card of a method: what decides whether its rows may be ranked beside others, and who says so.

A run's record shows most entries, but none of predictions that were handed in. The rest is what somebody states: in the
bundle of the runs (`bundle.json`), or in `card.yaml` beside a run or in the folder of runs. None is "unknown".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fsbench.base.errors import SettingsError
from fsbench.base.files import load_yaml, read_json
from fsbench.base.files.validation import first_problem
from fsbench.data.annotations import ANNOTATIONS, WEAK, Supervision
from fsbench.protocols.reading import segmentation_of, stored_protocol
from fsbench.records.record import Record
from fsbench.records.run import AUTHORS, LAST, OTHER_RUN, TRAINED_HERE, UNTRAINED

FILE, BUNDLE = "card.yaml", "bundle.json"
UNKNOWN: Final = "unknown"
"""Word that people read for None."""
NOTHING_TRAINED: Final = "nothing trained"
NOVEL_CLASSES: Final = "novel classes"
SUPPORTS_ALONE = "the supports alone"
_ADMITTED = ("no", None, "yes")
"""Values of `saw_test_classes`, from the least to the most that a method admits."""


def _check_words(text: str) -> str:
    if not text.isprintable() or not text.strip(" .…?-"):
        raise ValueError(f"expected words in place of {text!r}; leave the entry out where you do not know")
    return text


NovelPixels = Literal["no", "unlabelled", "labelled"]
Words = Annotated[str, Field(max_length=300), AfterValidator(_check_words)]
BibTeX = Annotated[str, Field(max_length=4000, pattern=r"^\s*@[A-Za-z]+\{[^\s{},]+,[\P{Cc}\t\n]*\}\s*$")]
ToldImages = Annotated[str, Field(pattern=rf"^({SUPPORTS_ALONE}|[1-9][0-9]{{0,18}} labelled images a class)$")]


class Card(BaseModel):
    """How a method was trained and what it is given, as `CHOICES` explains each entry; None is unknown.

    In a run's card alone: the base classes that were `trained_on`; whether predictions were `handed_in`, so that the
    record shows nothing of the method; and the names of entries that are `stated` and not shown by the record.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    novel_pixels: NovelPixels | None = None
    supervision: Annotated[tuple[Supervision, ...], Field(min_length=1)] | None = None
    backbone_data: Words | None = None
    backbone_saw_test_images: Literal["yes", "no"] | None = None
    trials: Annotated[int, Field(ge=1, le=10**6)] | None = None
    checkpoint_choice: (
        Literal["nothing trained", "last", "base classes", "held-out classes", "novel classes", "released"] | None
    ) = None
    saw_test_classes: Literal["yes", "no"] | None = None
    told: ToldImages | None = None
    bibtex: BibTeX | None = None
    trained_on: Annotated[str | None, Field(exclude=True)] = None
    handed_in: Annotated[bool, Field(exclude=True)] = False
    stated: Annotated[tuple[str, ...], Field(exclude=True)] = ()

    def in_words(self, entry: str) -> str:
        """Return the value of an entry as people read it."""
        value = getattr(self, entry)
        if value is None:
            return UNKNOWN
        return ", ".join(sorted(value)) if isinstance(value, tuple) else str(value)


ENTRIES = tuple(name for name in Card.model_fields if name not in ("bibtex", "handed_in", "stated"))
CONDITIONS = tuple(name for name in ENTRIES if name not in ("backbone_data", "trials", "trained_on"))
"""Entries that rows must share to be ranked together."""

CHOICES = """\
# The card of a method, which fsbench bundle asks for. Replace every ... by one of the values behind it.
# Remove a line if you do not know its value, which is then shown as unknown. Also remove it if the records of your runs
# show the value, which a card does not change: they usually show all but backbone_saw_test_images and trials.
# method: ...                  # name of the method, where the bundle has several
novel_pixels: ...              # no | unlabelled | labelled: did the training see the test's classes?
supervision: [masks]           # any of masks, boxes, points, scribbles, image labels, text, class names
backbone_data: ...             # in words, such as ImageNet-1k
backbone_saw_test_images: ...  # yes | no
trials: ...                    # number of trainings or settings that were tried, this one included
# nothing trained | last | base classes | held-out classes | novel classes | released:
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
    """Return the values of a YAML file as a card. Raises SettingsError, which names `source` and what does not fit."""
    if isinstance(values, dict):
        values = {name: _plain(value) for name, value in values.items()}
    try:
        return Card.model_validate(values)
    except ValidationError as error:
        others = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise SettingsError(
            f"{source} is no card: {first_problem(error, values)}{others}; see: fsbench bundle --new-card FILE"
        ) from None


def _plain(value: Any) -> Any:
    if isinstance(value, bool):  # YAML's yes and no
        return "yes" if value else "no"
    if isinstance(value, list):
        return tuple(value)
    return None if value == UNKNOWN else value


def read_card(file: Path) -> tuple[str | None, Card]:
    """Read a YAML file: the name of a method that it states under `method`, or None, and the method's card."""
    try:
        values = load_yaml(file)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"cannot read {file} ({error}); expected a card; make one with: fsbench bundle --new-card FILE"
        ) from None
    method = values.pop("method", None) if isinstance(values, dict) else None
    return None if method is None else str(method), check_card({} if values is None else values, str(file))


def resolve_card(record: Record, stated: Card | None = None, known_backbone: str = "") -> Card:
    """Return a run's card: what the record shows, else what is stated, else what is known of the official backbone.

    A stated card may admit that more of the test's classes was seen than the record shows, never less.
    """
    run, shown, saw = record.run, shown_entries(record), "saw_test_classes"
    said = stated.model_dump(exclude_unset=True) if stated else {}
    if saw in said and saw in shown and _ADMITTED.index(said[saw]) > _ADMITTED.index(shown[saw]):
        del shown[saw]
    if said.get("checkpoint_choice") == NOTHING_TRAINED and not run.handed_in and run.weights.origin != UNTRAINED:
        del said["checkpoint_choice"]
    filled = {name: said[name] for name in ENTRIES if said.get(name) is not None and name not in shown}
    is_known = known_backbone and not run.handed_in and not run.identity.backbone.weights.startswith("unofficial")
    usual = {"backbone_data": known_backbone} if is_known else {}
    return Card(**usual | filled | shown, handed_in=run.handed_in, stated=tuple(filled))


@dataclass(frozen=True)
class MethodCard:
    """The cards of a method's runs as people read them; where runs differ, all values, such as "3 / 7"."""

    cards: tuple[Card, ...]

    @property
    def handed_in(self) -> bool:
        return any(card.handed_in for card in self.cards)

    @property
    def stated(self) -> tuple[str, ...]:
        return tuple(name for name in ENTRIES if any(name in card.stated for card in self.cards))

    @cached_property
    def entries(self) -> dict[str, str]:
        """{name of an entry: its values in words}."""
        return {name: " / ".join(dict.fromkeys(card.in_words(name) for card in self.cards)) for name in ENTRIES}

    @property
    def conditions(self) -> dict[str, str]:
        """{name in words: value} of the entries that must be equal for two methods to be ranked together."""
        shared = {name.replace("_", " "): self.entries[name] for name in CONDITIONS}
        return shared | {"handed in": "yes" if self.handed_in else "no"}

    @property
    def words(self) -> dict[str, str]:
        """{name in words: value} of all entries; "(stated)" marks values that no record shows."""
        marks = dict.fromkeys(self.stated, " (stated)")
        words = {name.replace("_", " "): text + marks.get(name, "") for name, text in self.entries.items()}
        return words | {"handed in": self.conditions["handed in"]}


def method_card(records: Sequence[Record], backbone_data: Mapping[str, str] | None = None) -> MethodCard:
    """Return the cards of a method's runs; `backbone_data` is {name of a backbone: what it was trained on}."""
    known, shared, cards = backbone_data or {}, dict[tuple[Path, str], dict[str, Any]](), []
    for record in records:
        folder, identity = record.path.parent, record.run.identity
        place = folder, identity.method.name
        if place not in shared:
            shared[place] = _stated(folder / BUNDLE, identity.method.name) | _stated(folder / FILE)
        stated = Card(**shared[place] | _stated(record.path / FILE))
        cards.append(resolve_card(record, stated, known.get(identity.backbone.name, "")))
    return MethodCard(tuple(cards))


def _stated(file: Path, method: str | None = None) -> dict[str, Any]:  # of a method in the listing of a bundle
    if not file.is_file():
        return {}
    if method is None:
        return read_card(file)[1].model_dump(exclude_unset=True)
    try:
        card = read_json(file, "record")["cards"].get(method, {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"cannot read {file} ({error}), expected a bundle's listing; unpack it again") from None
    return check_card(card, str(file)).model_dump(exclude_unset=True)


def ranking_groups(cards: Mapping[str, MethodCard], rank_all: bool = False) -> dict[str, int]:
    """Return {method: number of its ranking group}: one for equal conditions, or for all with `rank_all`."""
    kinds = list(dict.fromkeys(tuple(card.conditions.values()) for card in cards.values()))
    return {name: 0 if rank_all else kinds.index(tuple(card.conditions.values())) for name, card in cards.items()}


def choices_on_test(cards: Mapping[str, MethodCard]) -> list[str]:
    """Return a warning that names the methods whose checkpoint was chosen on the test's classes, if any (§7)."""
    chosen = [name for name, of in cards.items() if any(card.checkpoint_choice == NOVEL_CLASSES for card in of.cards)]
    why = "the checkpoint was chosen by its score on the classes of this test, so the score is too high"
    return [f"{', '.join(chosen)}: {why}. No interval or p-value corrects that"] if chosen else []


def shown_entries(record: Record) -> dict[str, Any]:
    """Return {name of an entry: value} of what a run's record shows; {} of what was handed in."""
    run, weights = record.run, record.run.weights
    if run.handed_in:
        return {}
    shown: dict[str, Any] = {}
    labels: set[str] = set()
    if run.told is not None:
        saw, number = run.told.saw_test_classes, run.told.labelled_images
        shown["saw_test_classes"] = _plain(saw)
        shown["told"] = f"{number} labelled images a class" if number else SUPPORTS_ALONE
        labels |= {*run.told.supervision}
    if run.identity.support_annotation in WEAK:  # in place of the supports' masks, not of those of training
        labels.add(ANNOTATIONS[run.identity.support_annotation].label)
        labels -= {"masks"} if weights.origin == UNTRAINED else set()
    if labels:
        shown["supervision"] = tuple(sorted(labels))
    if run.identity.backbone.weights.startswith("random"):
        shown["backbone_data"] = "none: random weights"
    if run.identity.backbone.name == "none":  # and nothing that could have seen an image
        shown |= {"backbone_data": "none: no backbone", "backbone_saw_test_images": "no"}
    return shown | _trained_on(record) | _training(record)


def _training(record: Record) -> dict[str, Any]:
    identity, weights = record.run.identity, record.run.weights
    if weights.origin == UNTRAINED:
        return {"novel_pixels": "no", "checkpoint_choice": NOTHING_TRAINED}
    if identity.adaptation is not None:  # of weights from anywhere; its choice is the last one
        last = {} if "validation" in identity.adaptation else {"checkpoint_choice": LAST}
        return {"novel_pixels": "labelled"} | _choice(identity.adaptation, record) | last
    if weights.origin == AUTHORS:
        return {"checkpoint_choice": "released"}
    settings = weights.training.settings if weights.training else {}
    choice = _choice(settings, record)
    if weights.origin != TRAINED_HERE or not record.protocol.has_masks:
        return choice
    # base classes are learnt, in images with others
    lists = settings.get("training_protocol")
    draw = (segmentation_of(record.header) if lists is None else stored_protocol(str(lists))).draw
    usual = draw.filter_novel and settings.get("training_items", "episodes") == "episodes"
    saw_none = "source" in settings or (draw.filters_any and settings.get("filter_novel", usual))
    return choice | {"novel_pixels": "no" if saw_none else "unlabelled"}


def _choice(settings: Mapping[str, Any], record: Record) -> dict[str, Any]:
    choice = dict.fromkeys(("base", "images", "source"), "base classes")
    choice |= {"novel": NOVEL_CLASSES, "held_out": "held-out classes", "none": LAST}
    validation, dataset = str(settings.get("validation")), record.header.dataset
    is_own = validation == "held_out" and settings.get("validation_source", dataset) == dataset
    if is_own and segmentation_of(record.header).draw.tests_held_out(dataset):  # a test of just these, as FSS-1000's
        validation = "novel"
    return {"checkpoint_choice": choice[validation]} if validation in choice else {}


def _trained_on(record: Record) -> dict[str, Any]:
    header, weights = record.header, record.run.weights
    if not record.protocol.has_masks:
        return {}
    if weights.origin == UNTRAINED:
        return {"trained_on": "nothing"}
    if weights.origin == TRAINED_HERE:
        settings = weights.training.settings if weights.training else {}
        protocol, source = settings.get("training_protocol", header.protocol), settings.get("source")
        place = f"{header.dataset} fold {header.fold}" if source is None else f"{source} fold 0"
        return {"trained_on": f"base classes of {place}, by protocol {protocol}"}
    if weights.origin != OTHER_RUN or (other := weights.trained_on) is None:
        return {}
    number = "" if other.classes is None else f"{other.classes} "
    by = f", by protocol {other.protocol}" if other.protocol else ""
    return {"trained_on": f"{number}base classes of {other.dataset} fold {other.fold}{by}"}
