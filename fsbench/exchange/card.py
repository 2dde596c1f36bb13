"""The card of a result: what a reader must know before it is ranked beside others, and what no record can tell."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fsbench.errors import SettingsError
from fsbench.files import load_yaml
from fsbench.files.validation import first_problem

KnownOrNot = Literal["yes", "no", "unknown"]
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
    """Attributes:
    novel_pixels: whether the training saw pixels of the test's classes: not at all, without their labels (as
        background), or with labels.
    supervision: what the training and the supports are labelled with.
    backbone_data: what the backbone was trained on before, in words.
    backbone_saw_test_images: whether that data holds images of the test.
    trials: number of trainings or settings that were tried on the way to this result, itself included.
    checkpoint_choice: how the checkpoint was chosen.
    bibtex: the paper's entry, for those who cite the result; None where there is none.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    novel_pixels: Literal["no", "unlabelled", "labelled", "unknown"]
    supervision: tuple[Literal["masks", "boxes", "scribbles", "image labels", "text", "class names"], ...] = Field(
        min_length=1
    )
    backbone_data: Words
    backbone_saw_test_images: KnownOrNot
    trials: Annotated[int, Field(ge=1, le=10**6)]
    checkpoint_choice: Literal["nothing trained", "last", "base classes", "novel classes", "released", "unknown"]
    bibtex: Annotated[str, Field(max_length=4000), AfterValidator(_check_entry)] | None = None

    def as_rows(self) -> list[list[str]]:
        """Return a name and a value in words for each entry but the citation."""
        entries = {name: value for name, value in self if name != "bibtex"}
        values = {name: ", ".join(value) if isinstance(value, tuple) else str(value) for name, value in entries.items()}
        return [[name.replace("_", " "), value] for name, value in values.items()]


CHOICES = """\
# The card of a result, which fsbench bundle asks for. Replace every ... by one of the values behind it.
novel_pixels: ...              # no | unlabelled | labelled | unknown: did the training see the test's classes?
supervision: [masks]           # any of masks, boxes, scribbles, image labels, text, class names
backbone_data: ...             # in words, such as ImageNet-1k
backbone_saw_test_images: ...  # yes | no | unknown
trials: ...                    # number of trainings or settings that were tried, this one included
checkpoint_choice: ...         # nothing trained | last | base classes | novel classes | released | unknown
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
