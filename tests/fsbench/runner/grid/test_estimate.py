"""Estimates of the costs of cells from runs that are most alike."""

from fsbench.records.record import Record
from fsbench.runner.grid.estimate import Estimates
from fsbench.runner.grid.plan_sheet import duration
from tests.fsbench.runner.grid.cells import cell_of
from tests.fsbench.runs import changed


def test_costs_come_from_the_runs_that_are_most_alike(make):
    def record(seconds, speed, **task):
        made = make("prototype", 0, **task)
        cost = {"trainable_parameters": 0, "episodes_per_second": speed, "peak_mib": 100.0 * speed}
        return changed(made, made={"training_seconds": seconds}, cost=cost)

    estimates = Estimates(
        [record(100, 2), record(300, 4), record(900, 8, way=2), record(0, 16, training={"checkpoint_sha256": "a"})]
    )
    cost = estimates.estimate(cell_of("prototype", "blocks", 1, 1, 1, "original", 5))
    assert (cost.training, cost.evaluation, cost.peak_mib) == (200, 1000 * (1 / 2 + 1 / 4) / 2, 400)
    assert cost.source == "2 runs of this task"
    assert estimates.estimate(cell_of("prototype", "blocks", 0, 2, 1, None, None)).training == 900
    five = estimates.estimate(cell_of("prototype", "blocks", 0, 1, 5, None, None))
    assert five.training == 300 and five.source == "3 runs of other tasks on blocks"
    assert estimates.estimate(cell_of("prototype", "pascal", 0, 1, 1, None, None)).source == "3 runs of other data"
    tested = estimates.estimate(cell_of("prototype", "blocks", 0, 1, 1, None, None, checkpoint="c"))
    assert tested.training == 0 and tested.source == "3 runs of this task"
    assert estimates.estimate(cell_of("emat", "blocks", 0, 1, 1, None, None)) is None
    assert [duration(s) for s in (40, 600, 3700)] == ["40 s", "10 min", "1 h 02 min"]


def test_trials_tell_how_fast_a_cell_is_tested_but_not_how_long_it_is_trained(make):
    """The runs that are known are trials of one that trains and of one that does not."""
    fast = {"max_epochs": 1, "limit_train_batches": 4}
    cost = {"trainable_parameters": 0, "episodes_per_second": 4.0, "peak_mib": 10.0}
    estimates = Estimates(
        changed(make(method, 0, episodes=20, training=training), made=made, cost=cost)
        for method, training, made in (
            ("emat", fast, {"training_seconds": 40.0}),
            ("prototype", {"base_lists": "x"}, {}),
        )
    )

    def of(method, **more):
        cost = estimates.estimate(cell_of(method, "pascal", 0, 1, 1, None, 0, **more))
        return cost and (cost.training, cost.evaluation)

    assert of("emat") is None and of("emat", fast=True) == (40, 20 / 4)
    assert of("emat", extra=("--trainer.limit_train_batches=4",)) == (40, 1000 / 4)  # the same epochs
    assert of("emat", checkpoint="c") == of("prototype") == (0, 1000 / 4)
    assert of("prototype", extra=("--data.test.episodes=9",)) == (0, 9 / 4)
    coco = estimates.estimate(cell_of("prototype", "coco", 0, 1, 1, None, 0, protocol="pfenet"))
    assert coco is not None and coco.evaluation == 4000 / 4  # as configs/protocols/pfenet.yaml has it


def test_further_draws_and_episodes_that_calibrate_are_predicted_too(make):
    cost = {"trainable_parameters": 0, "episodes_per_second": 2.0, "peak_mib": 10.0}
    estimates = Estimates([changed(make("prototype", 0), cost=cost)])
    for more, episodes in (
        ({"draws": 3}, 3 * 1000),
        ({"protocol": "presence"}, 1000 + 400),
        ({"protocol": "presence", "draws": 2, "extra": ("--data.test.episodes=50",)}, 2 * 50 + 50),
    ):
        found = estimates.estimate(cell_of("prototype", "blocks", 0, 1, 1, None, 0, **more))
        assert found.evaluation == episodes / 2


def test_runs_without_a_manifest_are_left_out_of_the_estimates(make, caplog):
    lost, sound = make("prototype", 0), make("prototype", 1)
    (lost.path / "manifest.jsonl").unlink()
    estimates = Estimates([Record(lost.path, lost.run), sound])
    for _ in range(2):
        assert estimates.estimate(cell_of("prototype", "blocks", 0, 1, 1, None, 0)).source == "1 run of this task"
    (said,) = caplog.messages
    assert f"{lost.path} is left out of the estimates: there is no manifest" in said
