"""What is compared of a case, how much may differ, and what the files hold."""

import dataclasses
import json
from pydoc import locate

import numpy as np
import pytest
import yaml

from fsbench.base.errors import RecordError, SettingsError
from fsbench.base.paths import CONFIGS
from fsbench.cli.main import main
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import episode_entries
from fsbench.data.rle import encode_ways
from fsbench.runner.config.registry import names, task_of
from fsbench.runner.regression import cases as regress
from fsbench.runner.regression.cases import LOSS, PIXELS, SCORE, diff_outcomes, read_cases
from fsbench.runner.regression.outcome import CaseEpisode, Outcome, Row, read_outcome, score_answers, write_outcome

NOT_TRAINED_HERE = ("sansa_generalist",)
"""Methods of which there are checkpoints of the authors alone; another has their network."""
EPISODE = Episode(0, "query", 1, (1,), (("support",),))
MAP = np.zeros((20, 30), dtype=np.uint8)
MAP[3:12, 4:20] = 1
MAP[10:15, 18:28] = 2


def outcome(label_map=MAP, losses=(0.5, 0.25), identity=None, episode=None, **changes) -> Outcome:
    """Of one episode; `changes` replace values of way 1."""
    rows = []
    for slot in range(3):
        inside = int((label_map == slot).sum() if slot else (label_map > 0).sum())
        row = Row(slot, 5 * slot, inside, inside, inside, 0, 0, 600, True, True, 0.5, 0.0, 0.0)
        rows.append(row._replace(**changes) if slot == 1 else row)
    answer = CaseEpisode({"index": 0, "query": "a"} | (episode or {}), rows, [20, 30], encode_ways(label_map, 2))
    what = {"method": {"name": "m"}, "void": "background", "class_ids": [5, 10]} | (identity or {})
    return Outcome(what, {"torch": "2"}, list(losses), score_answers(what, [answer]), [answer])


def moved_by(pixels: int) -> np.ndarray:
    found = MAP.copy()
    found.ravel()[np.flatnonzero(found == 0)[:pixels]] = 1
    return found


def truth_of(changed: np.ndarray) -> dict[str, int]:
    """Counts of way 1 whose truth is that of MAP."""
    return {"tp": int((MAP == 1).sum()), "gt": int((MAP == 1).sum()), "pred": int((changed == 1).sum())}


def test_a_mask_is_kept_as_it_is(tmp_path):
    write_outcome(tmp_path / "x.json", outcome())
    found = read_outcome(tmp_path / "x.json")
    assert found == outcome() and (found.answers[0].label_map() == MAP).all()
    assert not diff_outcomes(outcome(), found).any
    assert read_outcome(tmp_path / "none.json") is None


@pytest.mark.parametrize(("pixels", "moved"), [(1, False), (PIXELS, False), (PIXELS + 1, True)])
def test_an_outline_may_differ_in_a_few_pixels(pixels, moved):
    share = {"score": 0.5 + pixels / MAP.size}  # what is said of presence where a method only segments
    after = outcome(moved_by(pixels), **truth_of(moved_by(pixels)), **share)
    slots = after.answers[0].slots
    for row, before in zip(list(slots), outcome().answers[0].slots, strict=True):  # the truth is as it was
        slots[row.slot] = row._replace(gt=before.gt)
    after.scores.update(score_answers(after.identity, after.answers))
    findings = diff_outcomes(outcome(), after)
    assert findings.pixels == pixels and findings.any == moved
    assert diff_outcomes(outcome(), after, pixels - 1).any and not diff_outcomes(outcome(), after, pixels).any
    if moved:
        assert findings.moved[0].number == 0 and findings.moved[0].reasons == [f"{pixels} pixels differ"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tp": 143}, "slot 1 tp 143, was 144"),  # no pixel differs
        ({"decided": False}, "slot 1 decided False, was True"),
        ({"rom": 0.1}, "slot 1 rom 0.1, was 0"),
        ({"score": 0.5 + 1.01 * SCORE}, "slot 1 score 0.500101, was 0.5"),
        ({"score": 0.5 + 0.99 * SCORE}, None),
    ],
)
def test_where_no_pixel_differs_every_count_is_the_same(changes, said):
    before = outcome(tp=144)
    findings = diff_outcomes(before, outcome(**({"tp": 144} | changes)))
    assert [reason for item in findings.moved for reason in item.reasons] == ([said] if said else [])


@pytest.mark.parametrize(("share", "moved"), [(0.99 * LOSS, False), (1.01 * LOSS, True), (float("nan"), True)])
def test_losses_may_differ_by_a_share(share, moved):
    findings = diff_outcomes(outcome(), outcome(losses=(0.5, 0.25 * (1 + share))))
    assert bool(findings.lines) == moved == findings.any
    assert not moved or findings.lines[0].startswith("loss of step 2: ")
    assert diff_outcomes(outcome(), outcome(losses=(0.5,))).lines == ["1 losses, there were 2"]


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")  # of torchmetrics, about no answer at all
def test_other_episodes_and_settings_are_not_compared():
    (item,) = diff_outcomes(outcome(), outcome(moved_by(90), episode={"query": "b"})).moved
    assert not item.same and item.reasons == ["another episode: query is b, was a"]
    findings = diff_outcomes(outcome(), outcome(moved_by(90), identity={"fold": 1, "method": {"name": "n"}}))
    assert findings.lines == [
        "something else was run, so nothing is compared: fold is 1, was None; method.name is n, was m"
    ]
    assert not findings.moved
    fewer = dataclasses.replace(outcome(), answers=[], scores={})
    assert "0 answers, there were 1" in diff_outcomes(outcome(), fewer).lines


def test_scores_of_the_same_counts_are_the_same():
    accepted = outcome(tp=130)
    assert accepted.scores["mIoU"] == pytest.approx(100 * (130 / 150 + 1) / 2)
    assert accepted.scores["validation mIoU"] == accepted.scores["mIoU"]
    for change, said in ((1e-7, True), (1e-10, False)):
        other = dataclasses.replace(accepted, scores=accepted.scores | {"mIoU": accepted.scores["mIoU"] * (1 + change)})
        assert [line.startswith("mIoU of the accepted counts: ") for line in diff_outcomes(other, accepted).lines] == (
            [True] if said else []
        )
        assert diff_outcomes(other, accepted).any == said
    lacking = dataclasses.replace(accepted, scores={k: v for k, v in accepted.scores.items() if k != "accuracy"})
    assert diff_outcomes(accepted, lacking).lines == ["accuracy of the run's own counts: 100, was nan"]


DAMAGES = {
    "no answers": lambda content: content.update(answers=[]),
    "mask": lambda content: content["answers"][0].update(masks=["\x01\x02"]),
    "row": lambda content: content["answers"][0]["slots"][0].pop(),
    "no losses": lambda content: content.update(losses=None),
    "words for scores": lambda content: content["scores"].update(mIoU="x"),
    "no class numbers": lambda content: content["identity"].pop("class_ids"),
    "another void": lambda content: content["identity"].update(void="x"),
    "no episode": lambda content: content["answers"][0].update(episode=None),
    "a word in a row": lambda content: content["answers"][0]["slots"][1].__setitem__(2, "x"),
    "another class": lambda content: content["answers"][0]["slots"][1].__setitem__(1, 99),
}


@pytest.mark.parametrize("damage", ["{", "[]", '{"answers": [1]}', '{"losses": [], "losses": []}', *DAMAGES])
def test_a_damaged_file_is_said_in_one_line_before_anything_runs(damage, tmp_path, capsys):
    case = read_cases(["prototype_small"])[0]
    content = json.loads(case.file.read_text())
    if damage in DAMAGES:
        DAMAGES[damage](content)
    (tmp_path / "cases.yaml").write_text("cases: {prototype_small: {method: prototype}}")
    (tmp_path / "prototype_small.json").write_text(json.dumps(content) if damage in DAMAGES else damage)
    with pytest.raises(RecordError, match="holds no regression figures"):
        read_outcome(tmp_path / "prototype_small.json")
    assert main(["regress", "--cases", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected cases of fsbench regress in YAML"),
        ("cases: {mine: {}}\ntest: []", "test"),
        ("cases: {}", "lists no cases, expected one or more"),
        ("cases: {mine: {shots: 1}}", "the case mine has an unknown option 'shots'; did you mean 'shot'?"),
        ("cases: {../mine: {}}", "has a case '../mine', expected a name of letters, digits, - and _"),
    ],
)
def test_a_package_s_bad_list_of_cases_is_said_in_one_line(text, message, tmp_path, capsys):
    if text is not None:
        (tmp_path / "cases.yaml").write_text(text)
    assert main(["regress", "--cases", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error and str(tmp_path / "cases.yaml") in error and error.count("\n") == 1, error


def test_unknown_methods_are_refused():
    with pytest.raises(SettingsError, match="no case or method 'nothing'"):
        read_cases(["nothing"])
    assert {case.method for case in read_cases(["prototype"])} == {"prototype"}


def test_every_method_has_a_case_and_every_case_its_figures():
    """A method that differs from one with a case in nothing but its backbone needs none, nor do classifiers."""

    def configured(name):
        return yaml.safe_load((CONFIGS / "methods" / f"{name}.yaml").read_text())["model"]

    def model(name):
        found = configured(name)
        return json.dumps(found | {"init_args": found["init_args"] | {"backbone": None}}, sort_keys=True)

    covered = {model(case.method) for case in read_cases()}
    masks = [name for name in names("methods") if task_of("methods", name) == "segmentation"]
    assert not [name for name in masks if model(name) not in covered and name not in NOT_TRAINED_HERE]
    files = {file.name for file in regress.FOLDER.glob("*.json")}
    assert files == {case.file.name for case in read_cases()}
    for case in read_cases():
        found = read_outcome(case.file)
        assert len(found.answers) == 12
        assert {tuple(answer.episode) for answer in found.answers} == {tuple(episode_entries(EPISODE))}
        assert len(found.losses) == (3 if locate(configured(case.method)["class_path"]).learns else 0)
        shares = [float((answer.label_map() > 0).mean()) for answer in found.answers]
        telling = sum(0.02 < share < 0.98 for share in shares)
        assert case.method in ("pspnet", "diam", "blind_full") or telling >= 6, (case.name, shares)
