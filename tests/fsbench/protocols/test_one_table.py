"""The table of conditions: each condition and each word is written once."""

import ast
import re

import pytest

from fsbench.base.errors import SettingsError
from fsbench.base.paths import REPOSITORY
from fsbench.protocols.conditions import CONDITIONS, LABELS, NOT_STATED, OF_TEST, UNKNOWN, differing
from fsbench.protocols.draws.listed import Listed
from fsbench.protocols.reading import load_protocol, protocol_names
from fsbench.records.card import Card
from fsbench.records.run import Identity
from fsbench.runner.config.run_config import RunConfig

TABLE = REPOSITORY / "fsbench" / "protocols" / "conditions.py"
SOURCES = [path for name in ("fsbench", "methods", "datamodules") for path in (REPOSITORY / name).rglob("*.py")]
WORDS = {value.word for one in CONDITIONS.values() for value in one.values}
FIELDS = {*Identity.model_fields, *Card.model_fields, *RunConfig.__dataclass_fields__}
"""Fields of records and of a run's configuration, some of which have the name of a condition."""
NAMES = {name for name in {*CONDITIONS, *WORDS} if re.search(r"[^\W_][\W_]", name)} - FIELDS
"""Conditions and words of several words. A plain word, such as "none", "mask" or "hsnet", is a name of much else."""


def literals(text):
    """(line, string) of each string in a program that equals a name of a condition or one of its words."""
    return [
        (node.lineno, node.value)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in NAMES
    ]


def test_a_name_of_a_condition_or_a_word_stands_in_the_table_alone():
    assert len(NAMES) > 90 and len(SOURCES) > 500
    found = {str(path): own for path in SOURCES if path != TABLE and (own := literals(path.read_text()))}
    assert found == {}
    planted = literals("x = stated['compared_at'] == 'list of pairs'")
    assert {value for _, value in planted} == {"compared_at", "list of pairs"}


def test_each_word_of_a_condition_is_one_value_with_a_meaning():
    for key, one in CONDITIONS.items():
        words = [value.word for value in one.values]
        assert one.key == key and len(words) == len(set(words)) and all(value.sentence for value in one.values)
        for value in one.values:
            word = value.word.replace("{}", "7")
            assert one.value(word).sentence and one.agrees(word, word) != value.is_open
            assert word in one.explained(word) and one.phrase(word)
    assert len(set(LABELS.values())) == len(CONDITIONS)


def test_parts_are_found_by_their_words_and_words_by_their_parts():
    for one in CONDITIONS.values():
        for value in one.values:
            word = value.word.replace("{}", "7")
            if value.part is None:
                with pytest.raises(SettingsError, match="no rule"):
                    one.obeyed(word)
            else:
                assert one.obeyed(word).word == word


def test_labels_of_a_protocol_are_those_of_the_table():
    choices = {choice.label for name in protocol_names() for choice in load_protocol(name).choices()}
    of_a_test = {one.label for one in OF_TEST if one.key not in ("task", "dataset", "depends_on", "min_object")}
    assert of_a_test <= choices | {"image lists"}


def test_tests_differ_where_a_word_differs_or_is_open():
    ours = load_protocol("hsnet").conditions("pascal")
    assert differing(ours, ours) == []
    for key, word in ours.items():
        other = next((value.word for value in CONDITIONS[key].values if value.word != word), None)
        if other is not None:
            assert [one.key for one in differing(ours, ours | {key: other})] == [key]
        assert [one.key for one in differing(ours | {key: NOT_STATED}, ours)] == [key]
    assert all(one.is_unsure(word) for one in CONDITIONS.values() for word in UNKNOWN)


def test_a_file_may_say_the_words_of_the_table_alone():
    with pytest.raises(SettingsError, match="did you mean 'image then class'"):
        Listed(episode_draw="image then clas").check()
