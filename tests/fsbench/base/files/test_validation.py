"""Pydantic's errors are one phrase: the entry, its value, what was expected."""

from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from fsbench.base.files.validation import PREDICATE, first_problem


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("it is odd")
    return value


def _small(value: int) -> int:
    if value > 9:
        raise PydanticCustomError(PREDICATE, "is large; expected a digit")
    return value


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: Annotated[str, Field(max_length=5)]


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    rows: list[Inner]
    side: Literal["whole"] | Annotated[int, Field(ge=1)] = 1
    even: Annotated[int, AfterValidator(_even)] = 0
    digit: Annotated[int, AfterValidator(_small)] = 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "rows is missing; expected the keys rows, side, even, digit"),
        ({"rows": [{}]}, "rows[0].name is missing"),
        ({"rows": [{"nam": "a"}]}, "the key 'nam' of rows[0] is unknown; did you mean 'name'?"),
        ({"row": []}, "the key 'row' is unknown; did you mean 'rows'?"),
        ({"rows": [], "x": 1}, "the key 'x' is unknown; expected the keys rows, side, even, digit"),
        ({"rows": [{"name": "a", "x": 1}]}, "the key 'x' of rows[0] is unknown; leave it out"),
        ({"rows": [], "side": 0}, "side is 0, expected 'whole' or greater than or equal to 1"),
        ({"rows": {"a": 1}}, "rows is {'a': 1}, expected a list"),
        ({"rows": [{"name": "a" * 99}]}, f"rows[0].name is '{'a' * 59}…, expected at most 5 characters"),
        ({"rows": [], "even": 3}, "even: it is odd"),
        ({"rows": [], "digit": 12}, "digit is large; expected a digit"),
        (5, "the whole is 5, expected a mapping"),
    ],
)
def test_the_first_problem(content, words):
    with pytest.raises(ValidationError) as refused:
        Outer.model_validate(content)
    assert first_problem(refused.value, content, list(Outer.model_fields)) == words


def test_without_the_content_an_entry_has_pydantics_name():
    with pytest.raises(ValidationError) as refused:
        Outer.model_validate({"rows": [{}]})
    assert first_problem(refused.value) == "rows.0.name is missing"
