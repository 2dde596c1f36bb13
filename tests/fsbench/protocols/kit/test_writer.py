"""`fsbench.Answers` checks each answer against its test as it is added."""

import numpy as np
import pytest

import fsbench
from fsbench.base.errors import RecordError


@pytest.fixture
def test(blocks_folder):
    return fsbench.load_test("folder", root=blocks_folder, episodes=3, way=2)


def test_answers_are_checked_against_the_test(test, tmp_path):
    with fsbench.Answers(tmp_path / "a.fsa", test) as answers:
        fits = np.ones(test[0].size, np.uint8)
        for number, given, words in [
            (0, {"mask": np.eye(3, dtype=int)}, "has the size 3 x 3"),
            (99, {"mask": fits}, "episode 99 is none of the test, which has 3"),
            (0, {"mask": fits * 3}, "has the value 3; expected 0 background, 1 to 2"),
            (0, {"mask": fits, "presence": [True]}, "has the length 1; expected 2"),
            (0, {"labels": [1]}, "is labels; expected a mask"),
            (0, {"mask": fits / 2}, "not of whole numbers; expected 0 background"),
        ]:
            with pytest.raises(RecordError, match=words):
                answers.add(number, **given)
        assert not answers.done
        answers.add(test[0], fits)
        with pytest.raises(RecordError, match="has an answer"):
            answers.add(0, fits)
    assert fsbench.Answers(tmp_path / "a.fsa", test).done == {0}


def test_an_episode_of_another_test_is_refused(test, blocks_folder, tmp_path):
    other = fsbench.load_test("folder", root=blocks_folder, episodes=3, way=2, shot=2)
    for number, known in enumerate((test, test.manifest.sha256)):
        with fsbench.Answers(tmp_path / f"{number}.fsa", known) as answers:
            with pytest.raises(RecordError, match=other.manifest.sha256[:16]):
                answers.add(other[0], np.ones(other[0].size, np.uint8))
            assert not answers.done


def test_files_that_do_not_fit(test, tmp_path):
    fsbench.Answers(tmp_path / "a.fsa", "ab" * 32).close()
    with pytest.raises(RecordError, match="answers the test abab"):
        fsbench.Answers(tmp_path / "a.fsa", test)
    with pytest.raises(RecordError, match="the folder of a kit"):
        fsbench.Answers(tmp_path / "b.fsa", "kit")
    with pytest.raises(RecordError, match="cannot write"):
        fsbench.Answers(tmp_path / "no" / "b.fsa", test)
