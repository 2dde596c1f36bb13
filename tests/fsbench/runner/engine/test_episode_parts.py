"""The shares of an episode's time: exact with a counting clock, and true of a real method."""

import time

import pytest
import torch

from fsbench.base.errors import SettingsError
from fsbench.core.loading import centre_image
from fsbench.runner.config.build import parse
from fsbench.runner.config.registry import config_files
from fsbench.runner.engine.cost.drawn_files import draw_classification, draw_segmentation
from fsbench.runner.engine.cost.episode_parts import PARTS, EpisodeParts, measure_parts, part_rows
from fsbench.runner.engine.cost.part_clock import PartClock
from fsbench.scores.answers import count

CPU = torch.device("cpu")


class Ticking:
    """A clock that stands still unless it is told to go on."""

    def __init__(self):
        self.moment = 0.0

    def __call__(self):
        return self.moment

    def goes_on(self, seconds, call=lambda *arguments, **options: None):
        """Return `call` as a function that takes so many seconds."""

        def takes_time(*arguments, **options):
            self.moment += seconds
            return call(*arguments, **options)

        return takes_time


def built(method, dataset, root, *settings):
    """Build a method on the demo's network, and the data module of 4 episodes."""
    arguments = [f"--config={file}" for file in config_files(method, dataset, backbone="demo")]
    arguments += ["--model.backbone.weights=random", "--data.image_size=64", "--data.workers=0", "--data.cache_mib=0"]
    composed = parse([*arguments, f"--data.dataset.init_args.root={root}", "--data.episodes=4", *settings])
    return composed.model, composed.datamodule


@pytest.fixture(scope="module")
def segmentation(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn")
    draw_segmentation(root, images=4)
    return built("prototype", "folder", root, "--data.empty_masks=false")


def test_an_inner_part_stops_the_time_of_the_outer_one():
    now = Ticking()
    clock = PartClock(CPU, now)
    with clock.part("a"):
        now.goes_on(1)()
        with clock.part("b"):
            now.goes_on(10)()
            with clock.part("a"):
                now.goes_on(2)()
            now.goes_on(20)()
        now.goes_on(4)()
    now.goes_on(1000)()  # nobody's
    with clock.part("b"):
        now.goes_on(40)()
    assert clock.seconds() == {"a": 7, "b": 70}
    clock.restart()
    assert clock.seconds() == {}


def test_wrapped_methods_are_given_back_even_after_an_error():
    class Owner:
        def fail(self):
            raise KeyError("no")

        def give(self):
            return 1

    owner = Owner()
    own = owner.give = lambda: 2
    clock = PartClock(CPU, Ticking())
    with pytest.raises(KeyError), clock.wrap_methods("a", owner, "fail", "give"):
        assert owner.give() == 2
        owner.fail()
    assert vars(owner) == {"give": own}
    assert clock.seconds() == {"a": 0}


def test_each_part_of_an_episode_gets_exactly_its_seconds(segmentation, monkeypatch):
    method, data = segmentation
    now = Ticking()
    dataset = type(data.test_dataloader().dataset)
    monkeypatch.setattr(dataset, "__getitem__", now.goes_on(1, dataset.__getitem__))
    monkeypatch.setattr(method.backbone, "_features", now.goes_on(2, method.backbone._features), raising=False)
    monkeypatch.setattr(method, "forward", now.goes_on(50, method.forward))
    monkeypatch.setattr("fsbench.scores.answers.count", now.goes_on(7, count))
    parts = measure_parts(method, data, CPU, 3, PartClock(CPU, now))
    assert parts == {"loader": 3 * 1, "backbone": 3 * 2 * 2, "head": 3 * 50, "metric": 3 * 7}
    assert "encode" not in vars(method.backbone) and "predict_shots" not in vars(method)


def test_a_head_that_computes_for_long_is_seen_in_processor_seconds(segmentation, monkeypatch):
    method, data = segmentation
    forward = method.forward

    def slow(episode):
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        return forward(episode)

    monkeypatch.setattr(method, "forward", slow)
    before = time.process_time()
    parts = measure_parts(method, data, CPU, 2, PartClock(CPU))
    assert parts["head"] >= 2 * 0.2
    assert set(parts) == set(PARTS) and min(parts.values()) > 0
    assert sum(parts.values()) <= time.process_time() - before


@pytest.mark.parametrize("method", ["nn", "lora"])
def test_classifiers_credit_images_to_the_loader_and_the_network_to_the_backbone(method, tmp_path, monkeypatch):
    draw_classification(tmp_path, classes=2, images=3)
    task = ("--data.way=2", "--data.queries=2")
    classifier, data = built(method, "imagefolder", tmp_path, *task)
    now = Ticking()
    for user in ("fsbench.datamodules.classification", "fsbench.core.loading"):
        monkeypatch.setattr(f"{user}.centre_image", now.goes_on(1, centre_image))
    build = classifier.backbone._build

    def slow_network(height, width):
        network = build(height, width)
        network.forward = now.goes_on(100, network.forward)
        return network

    monkeypatch.setattr(classifier.backbone, "_build", slow_network)
    parts = measure_parts(classifier, data, CPU, 2, PartClock(CPU, now))
    assert parts["loader"] == 2 * 6  # 2 ways with 1 support and 2 queries each
    # the head's first weights, steps of all supports, and the four queries, as many at a time as a step has supports
    passes = 6 if method == "nn" else 1 + classifier.epochs + 2
    assert parts["backbone"] == 2 * passes * 100
    assert parts["head"] == parts["metric"] == 0


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("fssdino", lambda method: 2),  # support and query
        ("insid3", lambda method: 3),  # and a black image
        ("linear_probe_dense", lambda method: 2),
        ("lora_probe_dense", lambda method: 2 + method.tuning_steps + 1),  # and each step, and the answer
    ],
)
def test_passes_that_ask_for_one_block_are_the_backbones(name, passes, tmp_path, monkeypatch):
    draw_segmentation(tmp_path, images=4)
    more = ["--model.svd_components=20"] if name == "insid3" else []
    method, data = built(name, "folder", tmp_path, "--data.empty_masks=false", *more)
    now = Ticking()
    build = method.backbone._build

    def slow_network(height, width):
        network = build(height, width)
        network.forward_intermediates = now.goes_on(100, network.forward_intermediates)
        return network

    monkeypatch.setattr(method.backbone, "_build", slow_network)
    parts = measure_parts(method, data, CPU, 2, PartClock(CPU, now))
    assert parts == {"loader": 0, "backbone": 2 * passes(method) * 100, "head": 0, "metric": 0}


def test_too_few_episodes_are_refused(segmentation):
    with pytest.raises(SettingsError, match="4 episodes, expected 5"):
        measure_parts(*segmentation, CPU, 4, PartClock(CPU))


def test_the_table_ends_each_episode_with_the_whole():
    measured = EpisodeParts(
        "emat", "demo", 64, 1, 5, 3, 0.5, {"loader": 0.05, "backbone": 0.3, "head": 0.1, "metric": 0.05}
    )
    rows = part_rows([measured])
    assert [row[-3:] for row in rows[1:]] == [
        ["loader", "0.0500", "10.0"], ["backbone", "0.3000", "60.0"], ["head", "0.1000", "20.0"],
        ["metric", "0.0500", "10.0"], ["episode", "0.5000", "100.0"],
    ]  # fmt: skip


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_events_of_a_gpu_see_a_slow_head(segmentation, monkeypatch):
    method, data = segmentation
    forward = method.forward

    def slow(episode):
        torch.cuda._sleep(10**8)
        return forward(episode)

    monkeypatch.setattr(method, "forward", slow)
    device = torch.device("cuda")
    parts = measure_parts(method, data, device, 2, PartClock(device))
    assert set(parts) == set(PARTS) and parts["head"] > 0.5 * sum(parts.values())
