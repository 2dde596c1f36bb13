"""The page of a sweep in a browser: nothing is cut off at any width, and a line says which trial it is."""

import pytest

from fsbench.pages.sweep.page import write_page
from fsbench.runner.sweep.run import Trial
from fsbench.runner.sweep.search import propose
from tests.fsbench.runner.sweep.test_sweeps import some_sweep
from tests.page_layout import check_layout


@pytest.mark.slow(20)
def test_every_trial_can_be_read(chromium, tmp_path):
    parameters = {
        "model.mamba_learning_rate": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-2},
        "model.presence_weight": {"values": [0.05, 0.1, 0.2, 0.5]},
        "data.batch_size": {"min": 4, "max": 64},
        "config": {"values": ["configs/ablations/hmnet/none.yaml", "configs/ablations/hmnet/self.yaml"]},
        "fold": {"value": 0},
    }
    sweep = some_sweep(tmp_path, parameters=parameters)
    trials = []
    for number in range(15):
        proposal = propose(sweep, number, [], 0)
        trial = Trial(number=number, settings=proposal.settings, units=proposal.units, state="done")
        trial.value = 100 * proposal.settings["model.presence_weight"] + number
        trials.append(trial)
    page = chromium.new_page()
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(write_page(sweep, trials, tmp_path / "runs", tmp_path / "page.html").as_uri())
    check_layout(page)
    assert errors == [], "the content policy lets through what the page has"
    words = page.locator("polyline title").all_text_contents()
    assert len(words) == 15 and sum("config none.yaml" in line or "config self.yaml" in line for line in words) == 15
    best = max(trials, key=lambda trial: trial.value)
    strongest = page.locator("polyline.shade4").last
    assert strongest.locator("title").text_content().startswith(f"trial {best.number + 1} (done): {best.value:.4g};")
    assert page.locator(".importance tbody tr").first.locator("th").text_content() == "model.presence_weight"
    page.close()
