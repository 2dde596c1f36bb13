"""A method that remembers what other episodes have shown is found: some episodes are asked alone as well."""

import pytest

import fsbench
from fsbench.base.errors import ContractError, SettingsError
from fsbench.records.asked_alone import Tally, differing_episodes, episodes_to_ask
from tests.fsbench.runner.evaluation.test_evaluate import middle

SHOWN = {}
"""Memory of the module, which no copy of a function has a copy of."""


class LooksUp:
    """Answers a query with the mask that it had as a support of an earlier episode; it looks at no other pixel."""

    def __init__(self, shown=None):
        self.shown = {} if shown is None else shown

    def __call__(self, episode):
        answer = middle(episode)
        for way, images in enumerate(episode.supports, 1):
            for support in images:
                self.shown[way, support.image.tobytes()] = support.mask
        for way in range(1, episode.way + 1):
            known = self.shown.get((way, episode.query.tobytes()))
            if known is not None:
                answer[known == 1] = way
        return answer


@pytest.fixture(scope="module")
def test(blocks_folder):
    return fsbench.load_test("folder", root=blocks_folder, protocol="pfenet", episodes=40)


def evaluated(model, test, runs, asked_alone=8, **more):
    return fsbench.evaluate(model, test, name="mine", runs=runs, progress=False, asked_alone=asked_alone, **more)


def forgetful(episode):
    return LooksUp({})(episode)


def remembering(episode):
    return LooksUp(SHOWN)(episode)


@pytest.mark.parametrize("model", [LooksUp(), remembering], ids=["an object", "a function"])
def test_a_model_that_remembers_is_refused_by_its_episodes(test, tmp_path, model):
    SHOWN.clear()
    asked = episodes_to_ask(test.manifest.episodes, 8)
    with pytest.raises(ContractError, match=r"mine answers \d of 8 episodes differently alone than in") as found:
        evaluated(model, test, tmp_path)
    named = str(found.value).split("the test: ")[1].split(";")[0].split(", ")
    assert {int(number) for number in named} <= set(asked)
    assert not list(tmp_path.iterdir()), "nothing is recorded, and nothing to go on from"


def test_another_model_is_recorded_with_the_number_of_its_episodes(test, tmp_path):
    plain = evaluated(forgetful, test, tmp_path, 0).record
    assert plain.run.asked_alone == 0
    record = evaluated(forgetful, test, tmp_path).record
    assert record.run.asked_alone == 8
    assert (record.path, record.counts_sha256) == (plain.path, plain.counts_sha256)
    assert evaluated(forgetful, test, tmp_path, 0).record.run.asked_alone == 8, "what was found stays"
    assert ". 8 episodes were also asked alone, with equal answers" in str(
        fsbench.load_runs(tmp_path).table(trivial=False)
    )


def test_the_label_given_last_is_kept_by_the_same_run(test, tmp_path):
    runs = [evaluated(forgetful, test, tmp_path, **more) for more in (
        {"label": "a", "asked_alone": 0}, {"label": "b", "asked_alone": 0}, {"asked_alone": 2}, {"label": ""},
    )]  # fmt: skip
    assert [one.record.run.label for one in runs] == ["a", "b", "b", ""]
    (file,) = tmp_path.glob("*/run.json")
    assert "label" not in file.read_text() and {one.record.run.id for one in runs} == {file.parent.name}
    with pytest.raises(SettingsError, match=r"the label is '\(best\)', expected at most 60 visible characters"):
        evaluated(forgetful, test, tmp_path, label="(best)")


def test_of_answers_in_a_file_nobody_can_ask(test, tmp_path):
    with fsbench.Answers(tmp_path / "mine.fsa", test) as answers:
        for episode in test:
            answers.add(episode, middle(episode))
    record = fsbench.score(tmp_path / "mine.fsa", test, name="mine", runs=tmp_path / "runs", progress=False).record
    assert record.run.asked_alone is None and '"asked_alone": null' in (record.path / "run.json").read_text()
    words = str(fsbench.load_runs(tmp_path / "runs").table(trivial=False))
    assert "Nobody can check whether a prediction used more than its own episode" in words


def test_queries_that_were_shown_before_are_asked_first(test):
    episodes = test.manifest.episodes
    asked = episodes_to_ask(episodes, 8)
    assert asked == sorted(asked, reverse=True) and len(asked) == 8
    for number in asked:
        assert episodes[number].query in {name for each in episodes[:number] for way in each.supports for name in way}
    assert episodes_to_ask(episodes, 99) == list(range(40))[::-1] and episodes_to_ask([], 3) == []


def test_a_number_that_is_none_is_refused(test, tmp_path):
    for number in (-1, 2.5, True):
        with pytest.raises(SettingsError, match="expected a number of episodes, 0 for none"):
            evaluated(middle, test, tmp_path, number)


def test_answers_are_compared_once_and_by_their_masks_alone():
    """A second start of a run may keep more than the first, and answer an episode again."""
    rows = [{"episode": number, "slot": slot, "tp": 3} for number in (4, 7) for slot in (0, 1)]
    kept = [(number, 1, True, {"size": [2, 2], "rle": "31"}) for number in (4, 7)]
    soft = [(number, slot, decided, mask | {"soft": "x"}) for number, slot, decided, mask in kept]
    alone = Tally(rows, kept)
    for twice in (Tally(rows, soft), Tally([*rows, *rows], [*kept, *soft]), Tally(rows, kept[:1]), Tally(rows, [])):
        assert differing_episodes(alone, twice, [7, 4]) == []
    other = [(7, 1, True, {"size": [2, 2], "rle": "22"}), kept[0]]
    assert differing_episodes(alone, Tally(rows, other), [7, 4]) == [7]
    assert differing_episodes(alone, Tally([row | {"tp": 2} for row in rows[:2]] + rows[2:], []), [7, 4]) == [4]
