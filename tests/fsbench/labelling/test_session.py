"""The loop: what is labelled becomes the support, the rest is predicted and ordered, and predictions are judged."""

import time
from concurrent.futures import ThreadPoolExecutor
from math import log2

import numpy as np
import pytest

import fsbench
from fsbench.errors import DataError
from fsbench.labelling import agreement, worker
from fsbench.labelling.agreement import count, mean_iou_interval, method_quality
from fsbench.labelling.comparison import compare_methods, leave_one_out
from fsbench.labelling.export.formats import FORMATS, Format
from fsbench.labelling.forecasts import Forecast, labelling_order, mean_entropy, predict
from fsbench.labelling.labelled_image import LabelledImage, choose_supports
from fsbench.labelling.regions import RunLengths
from fsbench.labelling.strokes import StoredForecast
from fsbench.predict.query_images import read_upright
from tests.fsbench.labelling.conftest import SIDES, box, scene_labels, wait_for


def label(session, place: int) -> None:
    session.draw(f"{place}.png", box(place))
    session.finish(f"{place}.png")


def settled(session) -> bool:
    with session.lock:
        return not session.worker.pending_images()


def plain_iou(predicted: np.ndarray, labels: np.ndarray) -> float:
    return float(100 * ((predicted == 1) & (labels == 1)).sum() / ((predicted == 1) | (labels == 1)).sum())


def test_the_labelled_image_predicts_the_others_and_is_judged_by_them(session, small_predictor):
    assert session.describe()["waiting"] == 0 and session.image("1.png")["forecast"] is None
    with pytest.raises(DataError, match=r"there is no prediction of 1\.png yet"):
        session.accept("1.png", "")
    label(session, 0)
    wait_for(lambda: settled(session))
    project = session.project
    mine = fsbench.Predictor("prototype", dataset="demo")
    mine.support("thing", [(read_upright(project.annotation("0.png").path)[0], scene_labels(0))])
    uncertainty = {}
    for place in (1, 2, 3):
        annotation = project.annotation(f"{place}.png")
        result, prediction = mine.predict_soft(annotation.pixels())
        stored = session.forecast(annotation)
        assert stored.method == "first" and stored.supports == 1 and (stored.label_map() == result.label_map).all()
        soft = prediction.soft_masks(64).numpy()[0].ravel() / 255
        entropy = [-sum(p * log2(p) for p in (q, 1 - q) if p > 0) for q in soft.tolist()]
        uncertainty[annotation.name] = session.image(annotation.name)["uncertainty"]
        assert uncertainty[annotation.name] == pytest.approx(np.mean(entropy))
    names = [image["name"] for image in session.describe()["images"]]
    assert names == [*sorted(uncertainty, key=lambda name: -uncertainty[name]), "0.png"]

    before = session.forecast(project.annotation("2.png")).label_map()
    with pytest.raises(DataError, match=r"the prediction of 2\.png has changed since it was shown"):
        session.accept("2.png", session.image("1.png")["forecast"]["id"])
    assert not project.annotation("2.png").history.steps
    session.accept("2.png", session.image("2.png")["forecast"]["id"])
    assert (project.annotation("2.png").labels == before).all()
    session.draw("2.png", {"kind": "clear"})
    label(session, 2)
    (quality,) = session.describe()["quality"]
    assert quality["method"] == "first" and quality["images"] == 1
    assert quality["mean_iou"]["value"] == pytest.approx(plain_iou(before, scene_labels(2)))
    wait_for(lambda: settled(session))
    assert session.forecast(project.annotation("1.png")).supports == 2

    session.draw("2.png", {"kind": "undo"})  # no longer labelled, so no longer a support
    assert not session.image("2.png")["done"] and not session.describe()["quality"]
    wait_for(lambda: settled(session))
    assert session.forecast(project.annotation("1.png")).supports == 1
    session.choose_method("second")
    wait_for(lambda: settled(session))
    assert session.forecast(project.annotation("1.png")).method == "second"


def test_methods_are_compared_by_leaving_one_out(session, small_predictor):
    for place in range(3):
        label(session, place)
    session.worker.compare()
    wait_for(lambda: session.worker.state.compared is None)
    comparison = session.describe()["comparison"]
    project, counted = session.project, []
    mine = fsbench.Predictor("prototype", dataset="demo")
    for left_out in range(3):
        others = [place for place in (2, 1, 0) if place != left_out]
        mine.clear()
        for place in others:
            mine.support("thing", [(project.annotation(f"{place}.png").pixels(), scene_labels(place))])
        predicted = mine.predict(project.annotation(f"{left_out}.png").pixels()).label_map
        counted.append((predicted == 1, scene_labels(left_out) == 1))
    expected = 100 * sum((p & t).sum() for p, t in counted) / sum((p | t).sum() for p, t in counted)
    assert [one["method"] for one in comparison["qualities"]] == ["first", "second"] and comparison["images"] == 3
    assert [one["mean_iou"]["value"] for one in comparison["qualities"]] == pytest.approx([expected, expected])
    (difference,) = comparison["differences"]
    assert difference["difference"] == {"value": 0, "low": 0, "high": 0} and difference["p"] == 1
    assert not session.describe()["comparison_is_old"]
    session.draw("0.png", {"kind": "undo"})
    assert session.describe()["comparison_is_old"]


def test_the_differences_of_a_comparison_are_adjusted_for_their_number():
    rng, labels, classes = np.random.default_rng(2), np.ones(SIDES, dtype=np.uint8), ["thing"]
    predicted = {name: [(rng.random(SIDES) < right).astype(np.uint8) for _ in range(8)]
                 for name, right in (("a", 0.9), ("b", 0.5), ("c", 0.9))}  # fmt: skip
    counts = {name: [count(one, labels, [1], 1) for one in given] for name, given in predicted.items()}
    alone = {
        (one.method, one.other): one.p
        for pair in (["a", "b"], ["b", "c"], ["a", "c"])
        for one in compare_methods({name: counts[name] for name in pair}, classes, 5).differences
    }
    found = compare_methods(counts, classes, 5).differences
    plain = [alone[one.method, one.other] for one in found]
    least, most = sorted(plain)
    expected = {least: min(2 * least, 1), most: max(2 * least, most)}
    assert [one.p for one in found] == [expected[p] for p in plain] != plain


def test_a_method_that_fails_is_said_and_the_next_one_predicts(session):
    def fails():
        raise RuntimeError("out of memory")

    session.worker.methods["second"] = fails
    session.choose_method("second")
    label(session, 0)
    wait_for(lambda: settled(session))
    assert "out of memory" in session.describe()["problem"] and session.image("1.png")["forecast"] is None
    session.choose_method("first")
    wait_for(lambda: settled(session))
    assert not session.describe()["problem"] and session.image("1.png")["forecast"]["method"] == "first"
    session.worker.compare()
    wait_for(lambda: session.worker.state.compared is None)
    assert "out of memory" in session.describe()["comparison_problem"]


def test_an_image_that_cannot_be_predicted_keeps_its_problem(session, small_predictor, monkeypatch):
    def fails_on_one(predictor, method, image, *more):
        if image.name == "2.png":
            raise RuntimeError("out of memory")
        return predict(predictor, method, image, *more)

    monkeypatch.setattr(worker, "predict", fails_on_one)
    session.view("2.png")  # predicted first, so that others follow
    label(session, 0)
    wait_for(lambda: settled(session))
    images = {image["name"]: image for image in session.describe()["images"]}
    assert [name for name, image in images.items() if image["problem"]] == ["2.png"]
    assert "out of memory" in images["2.png"]["problem"] and images["1.png"]["forecast"]
    monkeypatch.setattr(worker, "predict", predict)
    label(session, 1)
    wait_for(lambda: settled(session))
    assert not session.image("2.png")["problem"] and session.image("2.png")["forecast"]


def test_an_accepted_prediction_that_nobody_changed_is_not_compared_with_itself(session):
    label(session, 0)
    wait_for(lambda: settled(session))
    before = session.forecast(session.project.annotation("1.png")).label_map()
    session.accept("1.png", session.image("1.png")["forecast"]["id"])
    session.finish("1.png")
    described = session.describe()
    assert described["quality"] == [] and described["accepted"] == 1
    session.draw("1.png", {"kind": "box", "number": 1, "points": [(0, 0), (9, 9)]})  # somebody changed it
    session.finish("1.png")
    described = session.describe()
    (quality,) = described["quality"]
    assert described["accepted"] == 0 and quality["images"] == 1
    labels = session.project.annotation("1.png").labels
    assert 100 > quality["mean_iou"]["value"] == pytest.approx(plain_iou(before, labels))
    for _ in range(2):  # what was drawn is taken back, and with it the end of the work
        session.draw("1.png", {"kind": "undo"})
    session.finish("1.png")
    assert session.describe()["quality"] == []
    for place in (2, 3):
        label(session, place)
    session.worker.compare()
    wait_for(lambda: session.worker.state.compared is None)
    assert session.describe()["comparison"]["images"] == 3  # of four


def test_an_image_is_counted_once(session, monkeypatch):
    counted = []
    monkeypatch.setattr(agreement, "count", lambda *given: counted.append(given) or count(*given))
    for place in range(3):
        label(session, place)
        wait_for(lambda: settled(session))
        session.describe()
    assert len(counted) == 2  # the first had no prediction
    session.draw("2.png", {"kind": "undo"})
    (quality,) = session.describe()["quality"]
    assert quality["images"] == 1 and len(counted) == 2


def test_two_exports_at_once_do_not_meet(session, monkeypatch):
    label(session, 0)
    running, most = [0], [0]

    def write(*_):
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.05)
        running[0] -= 1

    monkeypatch.setitem(FORMATS, "png", Format("label PNGs", write))
    with ThreadPoolExecutor(3) as pool:
        exported = list(pool.map(session.export, ["png"] * 3))
    assert most == [1] and all(one.archive.is_file() for one in exported)


def test_too_few_images_to_compare_are_said(session):
    label(session, 0)
    session.worker.compare()
    wait_for(lambda: session.worker.state.compared is None)
    assert session.describe()["comparison_problem"].startswith("0 labelled images show a class that another one shows")


def a_labelled_image(name: str, time: float, *numbers: int) -> LabelledImage:
    labels = np.zeros((6, 6), dtype=np.uint8)
    for place, number in enumerate(numbers):
        labels[place] = number
    return LabelledImage(name, None, 1, time, numbers, RunLengths.encode(labels), None)  # type: ignore[arg-type]


def test_supports_are_the_last_images_of_each_class():
    images = [
        a_labelled_image("d", 4, 1),
        a_labelled_image("c", 3, 1, 2),
        a_labelled_image("b", 2, 1, 2),
        a_labelled_image("a", 1),
    ]
    chosen = [(image.name, numbers) for image, numbers in choose_supports(images, 2)]
    assert chosen == [("d", (1,)), ("c", (1, 2)), ("b", (2,))]


def test_a_class_that_only_one_image_shows_is_not_asked_of_it(small_predictor):
    asked = []

    class Predictor:
        name = "x"

        def __getattr__(self, name):
            raise AssertionError("nothing is to be predicted")

    images = [a_labelled_image("a", 2, 1), a_labelled_image("b", 1, 2)]
    counts = leave_one_out(Predictor(), images, ["x", "y"], 5, lambda: asked.append(1))  # type: ignore[arg-type]
    assert counts == [] and len(asked) == 2
    with pytest.raises(DataError, match="0 labelled images show a class"):
        compare_methods({"x": counts}, ["x", "y"], 5)


def forecast(uncertainty: float | None) -> Forecast:
    stored = StoredForecast(method="m", supports=1, numbers=[1], size=(1, 1), counts={})
    return Forecast(stored, uncertainty, None)


def test_the_queue_begins_with_the_most_uncertain_and_ends_by_name():
    forecasts = {"a": forecast(0.1), "b": forecast(0.9), "e": forecast(None)}
    assert labelling_order("edcba", forecasts) == ["b", "a", "c", "d", "e"]
    assert labelling_order("cab", {name: forecast(None) for name in "abc"}) == ["a", "b", "c"]


def test_entropy_is_that_of_a_coin():
    assert mean_entropy(np.array([[[0, 255], [0, 255]]], dtype=np.uint8)) == 0
    assert mean_entropy(np.full((2, 4, 4), 128, dtype=np.uint8)) == pytest.approx(1, abs=1e-4)
    quarter = np.full((1, 1, 1), 64, dtype=np.uint8)
    assert mean_entropy(quarter) == pytest.approx(0.25 * 2 + 0.75 * log2(4 / 3), abs=3e-3)


def test_counts_are_those_of_plain_comparisons():
    rng = np.random.default_rng(0)
    predicted, labels = (rng.integers(0, 4, SIDES).astype(np.uint8) for _ in range(2))
    labels[:5] = 255
    counts = count(predicted, labels, [1, 3], 3)
    valid = labels != 255
    for place, number in enumerate((1, 2, 3)):
        p, t = (predicted == number) & valid, (labels == number) & valid
        expected = [(p & t).sum(), (p | t).sum(), t.sum()] if number != 2 else [0, 0, 0]
        assert [counts.intersection[place], counts.union[place], counts.truth[place]] == expected
    quality = method_quality("m", [counts, counts], ["a", "b", "c"])
    ious = [100 * counts.intersection[i] / counts.union[i] for i in (0, 2)]
    assert [one.iou for one in quality.classes] == pytest.approx(ious) and quality.classes[1].name == "c"
    assert quality.mean_iou.value == pytest.approx(np.mean(ious))


def test_the_interval_is_the_bootstrap_over_images():
    rng = np.random.default_rng(1)
    truths = [rng.integers(0, 2, SIDES).astype(np.uint8) for _ in range(6)]
    predicted = [
        np.where(rng.random(SIDES) < place / 6, truth, 0).astype(np.uint8) for place, truth in enumerate(truths)
    ]
    counts = [count(p, t, [1], 1) for p, t in zip(predicted, truths, strict=True)]
    interval = mean_iou_interval(counts)
    inter, union = (np.array([getattr(one, key)[0] for one in counts]) for key in ("intersection", "union"))
    drawn = np.random.default_rng(5).integers(0, 6, (20_000, 6))
    low, high = np.percentile(100 * inter[drawn].sum(1) / union[drawn].sum(1), [2.5, 97.5])
    assert interval.value == pytest.approx(100 * inter.sum() / union.sum())
    assert interval.low == pytest.approx(low, abs=1.5) and interval.high == pytest.approx(high, abs=1.5)
