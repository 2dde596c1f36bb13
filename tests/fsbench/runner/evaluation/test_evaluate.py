"""`fsbench.evaluate`: any function answers a test; what is done is kept, and what cannot be counted is refused."""

from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import fsbench
from fsbench.base.errors import SettingsError
from fsbench.methods.prototype import Prototype
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.records.description import notes
from fsbench.records.predictions import read_predictions
from fsbench.records.run import WentOn

evaluate = import_module("fsbench.runner.evaluation.evaluate")  # the function has the name of its module


@pytest.fixture
def test(blocks_folder):
    return fsbench.load_test("folder", root=blocks_folder, protocol="fscs", way=2, episodes=6)


CARD = "other.yaml"


def middle(episode):
    """The middle of the query is way 1."""
    mask = np.zeros(episode.size, dtype=np.uint8)
    mask[mask.shape[0] // 4 :, mask.shape[1] // 4 :] = 1
    return mask


def quietly(model, test, tmp_path, **options):
    return fsbench.evaluate(model, test, runs=tmp_path / "runs", progress=False, **options)


def test_a_function_is_counted_and_its_masks_are_kept(test, tmp_path):
    result = quietly(middle, test, tmp_path)
    record = result.record
    assert record.run.identity.method.name == "middle" and record.run.handed_in is not None
    assert 0 < result.scores["mIoU"] < 100 and len(record.episodes) == 6 * 3
    stored = read_predictions(record)
    for episode in test:
        assert np.array_equal(stored.label_map(episode.number), middle(episode))
    assert not [path for path in (tmp_path / "runs").iterdir() if path.name.startswith(".")]  # no work is left


def test_equal_answers_are_one_run_and_others_another(test, tmp_path):
    first, same = (quietly(middle, test, tmp_path, name="mine").record for _ in range(2))
    other = quietly(lambda episode: 1 - middle(episode), test, tmp_path, name="mine").record
    assert first.path == same.path != other.path and len(fsbench.load_runs(tmp_path / "runs")) == 2


def test_presence_and_its_score_are_taken(test, tmp_path):
    def tells(episode):
        return torch.from_numpy(middle(episode)).float(), [1, 0.0], torch.tensor([0.75, 0.25])  # whole, of any type

    frame = quietly(tells, test, tmp_path).record.episodes
    assert frame.filter(frame["slot"] == 1)["decided"].all() and not frame.filter(frame["slot"] == 2)["decided"].any()
    assert set(frame.filter(frame["slot"] == 2)["score"]) == {0.25}


BOTH_WAYS = [True, False]


@pytest.mark.parametrize(
    ("usual", "other", "is_interrupted"),
    [((BOTH_WAYS,), (), False), ((), (BOTH_WAYS, [1, 0]), True), ((BOTH_WAYS,), (BOTH_WAYS, [1, 0]), True)],
)
def test_presence_of_some_episodes_alone_is_refused(test, tmp_path, usual, other, is_interrupted):
    """Else some would be counted by their masks and others by what is told, also where an evaluation goes on."""
    stops = iter([is_interrupted])

    def tells(episode):
        if episode.number == 3 and next(stops, False):
            raise KeyboardInterrupt
        return (middle(episode), *(other if episode.number == 5 else usual))

    if is_interrupted:
        with pytest.raises(KeyboardInterrupt):
            quietly(tells, test, tmp_path)
    with pytest.raises(
        SettingsError, match=r"episode 5: the answer has .*presence.*, and that of episode 0 has .*; expected"
    ):
        quietly(tells, test, tmp_path)
    assert not list((tmp_path / "runs").glob("*/run.json"))


class Stops:
    """Answers so many episodes, then it fails."""

    __name__ = "stops"

    def __init__(self, episodes, error):
        self.left, self.error, self.asked = episodes, error, []

    def __call__(self, episode):
        if not self.left:
            raise self.error
        self.left -= 1
        self.asked.append(episode.number)
        return middle(episode)


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()], ids=["a crash", "Ctrl-C"])
def test_an_interrupted_evaluation_goes_on_and_says_so(test, tmp_path, error, capsys):
    first = Stops(4, error)
    with pytest.raises(type(error)):
        quietly(first, test, tmp_path)
    assert not len(list((tmp_path / "runs").glob("*/run.json")))
    again = Stops(6, error)
    result = quietly(again, test, tmp_path)
    assert first.asked == [0, 1, 2, 3] and again.asked == [0, 1, 2, 3, 4, 5]  # some of those before are asked again
    said = "4 episodes had been answered. 4 of these 4 were asked again, with equal answers, although its code ha"
    assert said in capsys.readouterr().err and said in "".join(notes([result.record]))
    assert result.record.run.went_on == WentOn(episodes=4, asked_again=4, code="changed")  # it stops later
    assert result.record.counts_sha256 == quietly(middle, test, tmp_path).record.counts_sha256


def test_presence_is_that_of_the_whole_run_however_often_it_was_interrupted(test, tmp_path):
    def tells(episode):
        return middle(episode), [True, False]

    class TellsThenStops(Stops):
        def __call__(self, episode):
            return super().__call__(episode), [True, False]

    with pytest.raises(RuntimeError):
        quietly(TellsThenStops(5, RuntimeError()), test, tmp_path)
    went_on = quietly(lambda e: (middle(e), [True, False]), test, tmp_path, name="tellsthenstops").record.run
    assert went_on.presence == quietly(tells, test, tmp_path).record.run.presence == "predicted"
    assert quietly(middle, test, tmp_path).record.run.presence == "any_pixel"


def test_a_refused_model_leaves_no_work_behind(test, tmp_path):
    with pytest.raises(SettingsError):
        quietly(lambda episode: np.zeros((3, 3), np.uint8), test, tmp_path, name="mine")
    assert not list((tmp_path / "runs").iterdir())


def test_a_methods_object_keeps_nothing_from_one_test_to_the_next(test, tmp_path, blocks_folder):
    """Images of other data by the same names, or at another size, have features of their own."""
    method = prototype()
    first = [quietly(method, test, tmp_path, image_size=size).scores["mIoU"] for size in (32, 64)]
    anew = quietly(prototype(), test, tmp_path, image_size=64).scores["mIoU"]
    assert first[1] == anew != first[0]


def test_a_methods_object_encodes_an_image_once_and_forgets_it_after_its_last_use(test, tmp_path):
    method = Prototype(BackboneConfig("demo", "random:0")).eval()
    quietly(method, test, tmp_path, image_size=48)
    shown = {name for one in test.manifest.episodes for name in (one.query, *sum(one.supports, ()))}
    assert method.backbone.cache.misses == len(shown) and method.backbone.cache.bytes == 0


def test_labels_of_classification_are_ways(photos, tmp_path):
    given = {"root": photos, "way": 5, "queries": 4, "episodes": 2}
    test = fsbench.load_test("imagefolder", **given)
    for label in (0, 6):
        with pytest.raises(SettingsError, match=f"labels from {label} to {label}, expected 1 to 5"):
            quietly(lambda episode: [label] * len(episode.queries), test, tmp_path, name="mine")  # noqa: B023
    assert quietly(lambda episode: [1] * len(episode.queries), test, tmp_path, name="mine").scores["accuracy"] == 20
    own = {"name": "wrong", "base": "fort", "metrics": ["error"]}
    test = fsbench.load_test("imagefolder", protocol=own, **given)
    with pytest.raises(
        SettingsError, match=r"your own protocol wrong, and .* \(fort\) classifies by the protocol fort"
    ):
        quietly("fort", test, tmp_path)


def test_another_model_does_not_go_on_with_the_answers_of_one(test, tmp_path):
    with pytest.raises(RuntimeError):
        quietly(Stops(3, RuntimeError()), test, tmp_path)

    def other(episode):
        return middle(episode) * (episode.number == 1)

    message = "stops answers 2 of 3 finished episodes differently than before the interruption: 0, 2; expected the same"
    for _ in range(2):  # nothing is lost
        with pytest.raises(SettingsError, match=message):
            quietly(other, test, tmp_path, name="stops")
    assert quietly(Stops(6, None), test, tmp_path).record.run.went_on.episodes == 3
    assert quietly(other, test, tmp_path, name="stops", resume=False).record.run.went_on is None


class Tally:
    """A journal of episodes that all were answered by their numbers, but for some in which the function changed."""

    def __init__(self, folder, number, changed=()):
        self.folder, self.identity = folder, "1a2b"
        self.answered = {episode: episode + (episode in changed) for episode in range(number)}

    def rows(self):
        return iter([{"episode": episode, "slot": 0, "value": value} for episode, value in self.answered.items()])

    def predictions(self):
        return iter(())


def test_a_change_of_one_answer_in_eight_is_seen(tmp_path, monkeypatch):
    """In 200 draws as in theory; the first episodes, the last and those between are asked alike."""
    alone = Tally(tmp_path, 400)
    asked = []
    monkeypatch.setattr(evaluate, "ask_alone", lambda answering, numbers, fresh: asked.append(numbers) or alone)
    answering = SimpleNamespace(name="mine")
    missed = 0
    for number in range(200):
        changed = np.random.default_rng(number).choice(400, 50, replace=False)
        try:
            journal = Tally(tmp_path, 400, changed)
            journal.identity = str(number)
            evaluate._check_alike(answering, journal, range(400), "code")
            missed += 1
        except SettingsError:
            pass
    assert missed <= 200 * 0.05 + 3 and {len(numbers) for numbers in asked} == {23}
    assert all(place * 400 // 23 <= each < (place + 1) * 400 // 23 + 1 for n in asked for place, each in enumerate(n))
    assert len({tuple(numbers) for numbers in asked}) == 200
    (tmp_path / evaluate.CODE).write_text("other code")
    evaluate._check_alike(answering, alone, range(400), "code")
    assert asked[-1] == list(range(400))  # all of them


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda e: np.zeros((3, 3), np.uint8), r"gave a mask of \(3, 3\), expected"),
        (lambda e: 3 + 0 * middle(e), "labels from 3 to 3, expected 0 for the background and 1 to 2"),
        (lambda e: middle(e)[0], r"the answer is uint8 of shape \(\d+,\), expected a mask"),
        (lambda e: middle(e) + 0.5, "a mask with the value 0.5, expected whole labels"),
        (lambda e: np.full(e.size, np.nan), "the mask has NaN or infinity, expected whole labels"),
        (lambda e: np.full(e.size, np.inf), "the mask has NaN or infinity, expected whole labels"),
        (lambda e: [middle(e), [True, True]], "the answer is no array .*expected a mask"),
        (lambda e: torch.ones(e.size, dtype=torch.bfloat16), "the answer is no array .*expected a mask"),
        (lambda e: (middle(e), [True]), r"presence has the shape \(1,\), expected \(2,\), one for each way"),
        (lambda e: (middle(e), [0.5, 0.5]), r"presence is \[0.5, 0.5\], expected True or False .*; scores come third"),
        (lambda e: (middle(e), [True, True], [1.5, 0]), "a presence score is .*1.5.*, expected 0 to 1"),
        (lambda e: (middle(e), [True, True], [float("nan"), 0]), "expected 0 to 1"),
        (lambda e: (middle(e), None, [1, 0]), "episode 0: it has a score without presence; expected both"),
        (lambda e: (middle(e), None, None, None), "with 3 more, expected a mask"),
        (lambda e: np.ma.masked_equal(middle(e), 0), "episode 0: the answer is a masked array"),
        (lambda e: None, "the answer is object"),
        (
            torch.nn.Linear(2, 2),
            r"Linear, a torch.nn.Module, takes no episode \(TypeError: linear.*; expected a function from an episode",
        ),
        (torch.nn.Bilinear(2, 2, 2), r"Bilinear, a torch.nn.Module, takes no episode .*missing 1 required positional"),
        (
            torch.nn.Flatten(),
            r"Flatten, a torch.nn.Module, takes no episode \(AttributeError: .* no attribute 'flatten'",
        ),
        (7, "evaluate was given a int; expected a function of an episode, a method, or its name"),
    ],
)
def test_what_cannot_be_counted_is_refused_in_a_line(test, tmp_path, model, message):
    with pytest.raises(SettingsError, match=message) as refused:
        quietly(model, test, tmp_path, name="mine")
    assert len(str(refused.value).splitlines()) == 1
    assert not list((tmp_path / "runs").glob("*/run.json"))


class Failing(torch.nn.Module):
    """A network that takes an episode and fails in code of its own."""

    def __init__(self, statement):
        super().__init__()
        self.statement = statement

    def forward(self, episode):
        exec(self.statement)


@pytest.mark.parametrize(
    ("statement", "error", "message"),
    [
        ("episode.quary", AttributeError, "'VisibleEpisode' object has no attribute 'quary'"),
        ("1 / 0", ZeroDivisionError, "division by zero"),
        ("episode.query.resize(1, 'x')", TypeError, "'str' object cannot be interpreted as an integer"),
        ("raise RuntimeError('CUDA out of memory')", RuntimeError, "CUDA out of memory"),
    ],
)
def test_an_error_of_a_networks_own_code_is_shown_as_it_is(test, tmp_path, statement, error, message):
    with pytest.raises(error, match=message):
        quietly(Failing(statement), test, tmp_path, name="mine")


ASKED = []
"""Numbers of the episodes that `asked` was asked."""


def asked(episode):
    ASKED.append(episode.number)
    return middle(episode)


def prototype(**settings):
    return Prototype(BackboneConfig("demo", "random:0"), **settings)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (asked, {"name": "../up"}, "name"),
        (asked, {"image_size": 32}, "image_size, which a function does not take"),
        (asked, {"asked_alon": 2}, "asked_alon, which a function does not take; did you mean 'asked_alone'"),
        (asked, {"card": "nowhere.yaml"}, "cannot read nowhere.yaml"),
        (asked, {"card": CARD}, "is the card of other, expected that of asked"),
        (lambda episode: asked(episode), {}, r"give one: evaluate\(…, name='mine'\)"),
        ("prototype", {"name": "mine"}, "name, card and resume are not for a method of fsbench"),
        ("prototype", {"card": CARD}, "name, card and resume are not for a method of fsbench"),
        ("prototype", {"resume": False}, "name, card and resume are not for a method of fsbench"),
        ("prototype", {"bakbone": "demo"}, r"no option bakbone for a method by its name; did you mean 'backbone'\? T"),
        (prototype(), {"image_siz": 32}, r"no option image_siz for a method; did you mean 'image_size'\? There are"),
        (
            prototype(selection="base"),
            {"image_size": 32},
            "calibrates itself on base classes, for which a test has no images",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused_before_anything_is_answered(test, tmp_path, model, options, message):
    (tmp_path / CARD).write_text("method: other\ntrials: 1\n")
    if options.get("card") == CARD:
        options = {"card": tmp_path / CARD}
    with pytest.raises(SettingsError, match=message):
        quietly(model, test, tmp_path, **options)
    assert not ASKED and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("other", ["demo", None, middle])
def test_what_is_no_test_is_refused(tmp_path, other):
    said = f"the test is a {type(other).__name__}; expected what fsbench.load_test returns"
    for ask in (
        lambda: quietly(middle, other, tmp_path),
        lambda: quietly("prototype", other, tmp_path),
        lambda: fsbench.score(tmp_path / "a.fsa", other, name="mine", runs=tmp_path / "runs"),
    ):
        with pytest.raises(SettingsError, match=said):
            ask()


def test_a_methods_object_has_the_counts_of_a_run_by_its_name(test, tmp_path):
    size = 64
    named = quietly("prototype", test, tmp_path, backbone="demo", weights="random:0", image_size=size)
    assert named.record.run.identity.image_size == size
    own = quietly(prototype(), test, tmp_path, image_size=size)
    assert own.record.counts_sha256 == named.record.counts_sha256
    assert own.scores == named.scores and not named.record.run.handed_in
    assert own.record.run.cost.total_parameters == named.record.run.cost.total_parameters


def test_a_size_of_answers_is_that_of_the_first_where_the_input_decides(blocks_folder, tmp_path):
    test = fsbench.load_test("folder", root=blocks_folder, protocol="hsnet", episodes=3)
    assert test[0].size is None
    result = quietly(lambda episode: np.ones((40, 40), np.uint8), test, tmp_path, name="all")
    assert result.record.run.identity.image_size == 40
    sides = iter((40, 40, 32, 40))
    with pytest.raises(SettingsError, match=r"gave a mask of \(32, 32\), expected \(40, 40\)"):
        quietly(lambda episode: np.ones((next(sides),) * 2, np.uint8), test, tmp_path, name="mixed")


def test_no_part_of_an_episode_is_its_truth(test):
    episode = test[0]
    names = {name for name in dir(episode) if not name.startswith("_")}
    images = {"query_name", "query_file", "query", "supports"}
    assert names == {"number", "classes", "answer_size", "size", "way", "test", *images}
    assert {name for name in dir(episode.supports[0][0]) if not name.startswith("_")} == {
        "name", "number", "box", "file", "image", "mask",
    }  # fmt: skip
