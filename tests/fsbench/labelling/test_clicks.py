"""Clicks and their masks in a session: what is computed and when, what is refused, what a taken region is on disk."""

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsbench.errors import DataError
from fsbench.labelling import worker
from fsbench.labelling.annotation import Annotation
from fsbench.labelling.clicks import MOST_CLICKS, Click, ClickMasks, Clicks
from fsbench.labelling.regions import RunLengths
from fsbench.labelling.session import LabellingSession
from fsbench.labelling.strokes import Mask
from tests.fsbench.labelling.conftest import SIDES, Discs, box, discs, scene, scene_labels, wait_for
from tests.fsbench.labelling.test_server import ask


@pytest.fixture
def promptable() -> Discs:
    return Discs()


def request(*points: tuple[float, float, bool], image: str = "0.png", number: int = 1) -> dict:
    return {"image": image, "number": number, "points": [list(point) for point in points]}


def test_a_region_is_one_step_that_is_saved_and_taken_back(served):
    points = [(20.5, 25.5, True), (40.0, 25.0, True), (44.0, 25.0, False)]
    mask = discs(SIDES, [Click(*point) for point in points])
    ask(served, "/api/draw", {"image": "0.png", "step": box(0)})
    annotation = served.session.project.annotation("0.png")
    revision = annotation.history.revision
    status, _, content = ask(served, "/api/click", request(*points))
    answer = json.loads(content)
    assert status == 200 and annotation.history.revision == revision  # a preview alone
    step = answer["step"]
    assert (RunLengths((*step["size"],), {1: step["counts"]}).decode() == mask).all() and step["number"] == 1
    layer = np.asarray(Image.open(BytesIO(base64.b64decode(answer["layer"].partition(",")[2]))))
    assert layer.shape == (*SIDES, 4) and (layer[mask][:, 3] >= 150).all() and not layer[0, 0].any()
    status, _, content = ask(served, "/api/draw", {"image": "0.png", "step": step})
    assert status == 200 and json.loads(content)["revision"] == revision + 1
    assert (annotation.labels == np.maximum(mask, scene_labels(0))).all()
    again = Annotation.read(annotation.path, annotation.journal.path)  # as after kill -9: nothing was closed
    assert isinstance(again.history.steps[-1], Mask) and (again.labels == annotation.labels).all()
    ask(served, "/api/draw", {"image": "0.png", "step": {"kind": "undo"}})
    assert (annotation.labels == scene_labels(0)).all()
    ask(served, "/api/draw", {"image": "0.png", "step": {"kind": "redo"}})
    assert (annotation.labels == np.maximum(mask, scene_labels(0))).all()


def test_nothing_found_is_no_step(served):
    status, _, content = ask(served, "/api/click", request((10, 10, True), (10, 10, False)))
    assert status == 200 and json.loads(content)["step"] is None


REFUSED = [
    (request((10, 10, False)), "no click is on the object; click on it first"),
    (request((61, 10, True)), "a click is at (61, 10), expected it within 60 × 50 pixels"),
    (request((float("nan"), 10, True)), "the clicks cannot be used: points[0][0] is nan"),
    (request(*[(1, 1, True)] * (MOST_CLICKS + 1)), "the clicks cannot be used: points is"),
    (request(), "the clicks cannot be used: points is"),
    (request((1, 1, True), number=2), "there is no class 2; expected 1 to 1"),
    (request((1, 1, True), number=0), "the clicks cannot be used: number is 0"),
    (request((1, 1, True), image="../0.png"), "there is no image '../0.png'"),
    ({**request((1, 1, True)), "more": 1}, "the clicks cannot be used: the key 'more' is unknown"),
]
STEPS = [
    ({"kind": "mask", "number": 1, "size": [50, 61], "counts": "0"}, "the region is none of 0.png (its size is"),
    ({"kind": "mask", "number": 1, "size": [50, 60], "counts": ""}, "the region is none of 0.png (it has no runs)"),
    ({"kind": "mask", "number": 1, "size": [50, 60], "counts": "12"}, "the region is none of 0.png (its runs do not"),
    ({"kind": "mask", "number": 1, "size": [50, 60], "counts": "\u0645"}, "the region is none of 0.png (its runs hold"),
    ({"kind": "mask", "number": 2, "size": [50, 60], "counts": "12"}, "there is no class 2; expected 1 to 1"),
    ({"kind": "mask", "number": 0, "size": [50, 60], "counts": "12"}, "the stroke cannot be used"),
]


def test_what_cannot_be_is_refused_in_one_line_and_changes_nothing(served, promptable):
    before = served.session.describe()
    draws = [("/api/draw", {"image": "0.png", "step": step}, expected) for step, expected in STEPS]
    for path, body, expected in [("/api/click", body, expected) for body, expected in REFUSED] + draws:
        status, _, content = ask(served, path, body)
        error = json.loads(content)["error"]
        assert status == 400 and error.startswith(expected) and "\n" not in error
    assert ask(served, "/api/click", b" " * 2_000_001)[0] == 413
    assert ask(served, "/api/click", request((1, 1, True)), cookie=False)[0] == 401
    assert ask(served, "/api/click", request((1, 1, True)), Origin="http://elsewhere.example")[0] == 403
    assert served.session.describe() == before and not promptable.asked


def test_an_image_is_encoded_once_and_those_used_last_are_kept(tmp_path):
    network = Discs()
    paths = [tmp_path / f"{place}.png" for place in range(3)]
    for place, path in enumerate(paths):
        path.write_bytes(scene(place)[0])
    masks, one = ClickMasks(network, kept=2), [Click(9.0, 9.0, True)]
    for place in (0, 0, 1, 0, 2, 0, 1):
        assert (masks.mask(paths[place], one) == discs(SIDES, one)).all()
    assert [int(pixels[30, 30, 0]) for pixels in network.encoded] == [
        int(np.asarray(Image.open(paths[place]))[30, 30, 0]) for place in (0, 1, 2, 1)
    ]


def test_clicks_on_a_turned_photo_are_where_the_page_shows_them(session, promptable):
    image, exif, file = Image.open(BytesIO(scene(0)[0])), Image.Exif(), BytesIO()
    exif[0x0112] = 6
    image.rotate(90, expand=True).save(file, "PNG", exif=exif)  # stored on its side
    name = session.add_image("turned.png", file.getvalue())["name"]
    mask = session.segment(Clicks(image=name, number=1, points=[(55.0, 5.0, True)]))
    assert (promptable.encoded[-1] == np.asarray(image)).all()
    assert mask.shape == SIDES and (mask == discs(SIDES, [Click(55.0, 5.0, True)])).all()


def test_an_error_of_the_network_is_said_and_the_next_click_works(session, promptable, monkeypatch):
    clicks = Clicks(image="0.png", number=1, points=[(9.0, 9.0, True)])
    with monkeypatch.context() as patched:
        patched.setattr(Discs, "mask", lambda *_: 1 / 0)
        with pytest.raises(DataError, match=r"^ZeroDivisionError: division by zero$"):
            session.segment(clicks)
    assert session.segment(clicks).any()


@pytest.fixture
def slow_predictions(session, monkeypatch):
    """Predictions that wait for `slow_predictions.set()`; the first one has begun."""
    begun, goes_on = threading.Event(), threading.Event()

    def predict(*_, **__):
        begun.set()
        assert goes_on.wait(240)
        raise DataError("no prediction")

    monkeypatch.setattr(worker, "give_supports", lambda *_: None)
    monkeypatch.setattr(worker, "predict", predict)
    session.draw("3.png", box(3))
    session.finish("3.png")
    assert begun.wait(240)
    yield goes_on
    goes_on.set()


def test_clicks_go_before_predictions_that_wait(session: LabellingSession, promptable, slow_predictions):
    waiting: list[int] = []
    ask_network = promptable.mask

    def mask(*arguments):
        waiting.append(len(session.worker.pending_images()))
        return ask_network(*arguments)

    promptable.mask = mask
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(session.segment, Clicks(image="0.png", number=1, points=[(9.0, 9.0, True)]))
        wait_for(lambda: session.worker._clicked)
        slow_predictions.set()
        assert answer.result(240).any()
    assert waiting == [2]  # of the three to predict


def test_clicks_are_answered_while_methods_are_compared(session: LabellingSession, promptable, monkeypatch):
    begun = threading.Event()

    def leave_one_out(_, labelled, classes, shots, progress):
        begun.set()
        wait_for(lambda: session.worker._clicked)
        progress()
        raise DataError(f"{len(promptable.asked)} answered in between")

    monkeypatch.setattr(worker, "leave_one_out", leave_one_out)
    session.worker.compare()
    assert begun.wait(240)
    assert session.segment(Clicks(image="0.png", number=1, points=[(9.0, 9.0, True)])).any()
    wait_for(lambda: session.worker.state.compared is None)
    assert session.worker.state.comparison_problem == "1 answered in between"


def test_a_click_that_waits_is_answered_when_the_session_ends(session, slow_predictions):
    clicks = Clicks(image="0.png", number=1, points=[(9.0, 9.0, True)])
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(session.segment, clicks)
        wait_for(lambda: session.worker._clicked)
        session.worker.stop()
        with pytest.raises(DataError, match="fsbench demo ends"):
            answer.result(60)  # though the prediction goes on
    with pytest.raises(DataError, match="fsbench demo ends"):
        session.segment(clicks)


def test_the_server_ends_though_a_click_waits_for_a_prediction(served, slow_predictions):
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, served, "/api/click", request((9.0, 9.0, True)))
        wait_for(lambda: served.session.worker._clicked)
        served.session.worker.stop()
        served.page.close()  # the prediction goes on
        status, _, content = answer.result(60)
    assert status == 400 and json.loads(content)["error"].startswith("fsbench demo ends")
    assert not served.page._thread.is_alive()


def test_clicks_are_answered_when_the_thread_breaks_off(session, slow_predictions, monkeypatch):
    clicks = Clicks(image="0.png", number=1, points=[(9.0, 9.0, True)])
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr(session.worker, "_serve_clicks", lambda: 1 / 0)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(session.segment, clicks)
        wait_for(lambda: session.worker._clicked)
        slow_predictions.set()
        with pytest.raises(DataError, match="fsbench demo ends"):
            answer.result(240)
    with pytest.raises(DataError, match="fsbench demo ends"):
        session.segment(clicks)


def test_without_a_network_there_is_no_tool(session: LabellingSession, tmp_path: Path):
    assert session.describe()["clicks"]
    plain = LabellingSession(session.project, {"first": lambda: None}, shots=1)
    assert not plain.describe()["clicks"]
    with pytest.raises(DataError, match="there is no promptable network here; start fsbench demo with --promptable"):
        plain.segment(Clicks(image="0.png", number=1, points=[(9.0, 9.0, True)]))
