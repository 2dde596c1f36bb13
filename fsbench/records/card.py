"""The card of a method: what decides whether its rows may be ranked beside others, and who says so.

A run's record shows most entries of its method's card; the record of predictions that were handed in shows none. The
rest is what somebody states: in the bundle that has the runs (`bundle.json`), or in a file `card.yaml` beside a run or
in the folder of runs. An entry of neither is None, which people read as "unknown".
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
from fsbench.records.run import AUTHORS, LAST, OTHER_RUN, TRAINED_HERE, UNTRAINED, TrainedOn

FILE, BUNDLE = "card.yaml", "bundle.json"
UNKNOWN: Final = "unknown"
"""Word that people read for None."""
NOTHING_TRAINED: Final = "nothing trained"
NOVEL_CLASSES: Final = "novel classes"
"""Choice of a checkpoint by its score on the classes of the test."""
SUPPORTS_ALONE = "the supports alone"
"""Entry `told` of methods that see no labelled image of a test's classes but an episode's supports."""

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
    """A method's card: how it was trained and what it is given; None is unknown.

    Attributes:
        novel_pixels: whether the training saw pixels of the test's classes: "no", "unlabelled" (without their labels,
            as background) or "labelled".
        supervision: what training images and supports are labelled with, such as "masks" or "boxes".
        backbone_data: the data on which the backbone was pretrained, in words.
        backbone_saw_test_images: whether the backbone's pretraining data contains images of the test.
        trials: number of trainings or settings that were tried to get this result, including the final one.
        checkpoint_choice: how the checkpoint was chosen: "last", "nothing trained", "released" by authors, or by the
            score on "base classes", "held-out classes" or "novel classes".
        saw_test_classes: whether pretrained networks in the method were trained with labels of the test's classes.
        told: labelled images of the test's classes that the method learned from, in words: "the supports alone" of each
            episode, or, before the test, such as "20 labelled images a class".
        bibtex: the paper's BibTeX entry, for citing the result.
        trained_on: the base classes that were trained on, by fold, data set and protocol. It and the entries below are
            of a run's card, not of one that somebody states, where they mean nothing.
        handed_in: whether only predictions made elsewhere were counted, so that the record shows nothing of the method.
        stated: names of the entries that the record does not show and somebody states.
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
"""Entries of a card that people read in a table."""
CONDITIONS = tuple(name for name in ENTRIES if name not in ("backbone_data", "trials", "trained_on"))
"""Entries that rows must share to be ranked together; see `ranking_groups`."""

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
    """Read a YAML file: the name of a method that it states under `method`, or None, and the method's card.

    Raises SettingsError if the file cannot be read, or has entries that a card has not.
    """
    try:
        values = load_yaml(file)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"cannot read {file} ({error}); expected a card; make one with: fsbench bundle --new-card FILE"
        ) from None
    method = values.pop("method", None) if isinstance(values, dict) else None
    return None if method is None else str(method), check_card({} if values is None else values, str(file))


def resolve_card(record: Record, stated: Card | None = None, known_backbone: str = "") -> Card:
    """Return a run's card: each entry is what the run's record shows, else what is stated, else None.

    Of the test's classes, a stated card may admit that more were seen than the record shows, never less. What official
    weights of the backbone are known to be trained on, `known_backbone`, holds where neither says otherwise.
    """
    run, shown, saw = record.run, shown_entries(record), "saw_test_classes"
    said = {} if stated is None else stated.model_dump(exclude_unset=True)
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
        """Whether the predictions of a run were made elsewhere and only counted."""
        return any(card.handed_in for card in self.cards)

    @property
    def stated(self) -> tuple[str, ...]:
        """Names of the entries that somebody states for a run, in whose record they are not."""
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
        stated = self.stated
        words = {name.replace("_", " "): text + " (stated)" * (name in stated) for name, text in self.entries.items()}
        return words | {"handed in": self.conditions["handed in"]}


def method_card(records: Sequence[Record], backbone_data: Mapping[str, str] | None = None) -> MethodCard:
    """Return the cards of a method's runs: what each record shows, else what card files beside the run state.

    `backbone_data` is {name of a backbone: what it was trained on}. Raises SettingsError for a file that is no card.
    """
    known, shared, cards = backbone_data or {}, dict[tuple[Path, str], dict[str, Any]](), []
    for record in records:
        folder, identity = record.path.parent, record.run.identity
        place = (folder, identity.method.name)
        if place not in shared:
            shared[place] = _bundled(folder / BUNDLE, identity.method.name) | _entries(folder / FILE)
        stated = Card(**shared[place] | _entries(record.path / FILE))
        cards.append(resolve_card(record, stated, known.get(identity.backbone.name, "")))
    return MethodCard(tuple(cards))


def _entries(file: Path) -> dict[str, Any]:
    return read_card(file)[1].model_dump(exclude_unset=True) if file.is_file() else {}


def _bundled(file: Path, method: str) -> dict[str, Any]:
    """Return the entries of a method's card in the listing of an unpacked bundle; none where there is no such file."""
    if not file.is_file():
        return {}
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
    """Return a warning that names the methods whose checkpoint was chosen by scores on the test's classes, if any.

    Such scores are too high, as the best of many looks at the test (statistics spec §7).
    """
    chosen = [name for name, of in cards.items() if any(card.checkpoint_choice == NOVEL_CLASSES for card in of.cards)]
    why = "the checkpoint was chosen by its score on the classes of this test, so the score is too high"
    return [f"{', '.join(chosen)}: {why}. No interval or p-value corrects that"] if chosen else []


def shown_entries(record: Record) -> dict[str, Any]:
    """Return {name of an entry: value, or None for unknown} of what a run's record shows; {} of what was handed in."""
    run, weights = record.run, record.run.weights
    if run.handed_in:
        return {}
    shown: dict[str, Any] = {}
    labels: set[str] = set()
    if run.told is not None:
        saw, number = run.told.saw_test_classes, run.told.labelled_images
        shown["saw_test_classes"] = None if saw == UNKNOWN else saw
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
    if record.protocol.has_masks and (trained_on := _trained_on(record)):
        shown["trained_on"] = trained_on
    return shown | _training(record)


def _training(record: Record) -> dict[str, Any]:
    """Return what a record shows of the images that were trained on and of the choice of the checkpoint."""
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
    protocol = segmentation_of(record.header) if lists is None else stored_protocol(str(lists))
    usual = protocol.draw.filter_novel and settings.get("training_items", "episodes") == "episodes"
    filtered = settings.get("filter_novel", usual) and protocol.draw.filters_any
    is_other_data = "source" in settings
    return choice | {"novel_pixels": "no" if filtered or is_other_data else "unlabelled"}


def _choice(settings: Mapping[str, Any], record: Record) -> dict[str, Any]:
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


def _trained_on(record: Record) -> str | None:
    """Say which base classes a method was trained on; None if neither the record nor the checkpoint tells."""
    header, weights = record.header, record.run.weights
    if weights.origin == UNTRAINED:
        return "nothing"
    trained = weights.trained_on if weights.origin == OTHER_RUN else None
    if weights.origin == TRAINED_HERE:
        settings = weights.training.settings if weights.training else {}
        source = settings.get("source")
        dataset, fold = (header.dataset, header.fold) if source is None else (str(source), 0)
        protocol = str(settings.get("training_protocol", header.protocol))
        trained = TrainedOn(dataset=dataset, fold=fold, protocol=protocol)
    if trained is None:
        return None
    number = "" if trained.classes is None else f"{trained.classes} "
    words = f"{number}base classes of {trained.dataset} fold {trained.fold}"
    return words + (f", by protocol {trained.protocol}" if trained.protocol else "")
