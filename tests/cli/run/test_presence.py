"""A run of the protocol presence through the real command line: its table, its second threshold, its report."""

import polars as pl
import pytest

from fsbench.cli.main import main
from fsbench.protocols.reading import load_protocol
from fsbench.records.record import find_records
from tests.cli.commands import run_command

SMALL = ["--data.test.episodes=8", "--data.loading.workers=0", "--data.test.protocol=presence", "--data.image_size=64"]


@pytest.mark.slow
def test_a_run_has_a_second_row_with_a_threshold_from_base_classes(small_demo, tmp_path, capsys):
    assert main(run_command("prototype", tmp_path, small_demo, *SMALL, "--data.test.drop_small=true")) == 0
    (record,) = find_records(tmp_path)
    assert len(record.episodes) == 16 and len(record.every_episode) == 32
    assert set(record.header.calibration_ids) <= set(range(1, 21)) - set(record.header.class_ids)
    ways = record.episodes.filter(pl.col("slot") == 1)
    assert ways["present"].to_list() == [True, False] * 4 and (ways["gt"] > 0).to_list() == [True, False] * 4
    capsys.readouterr()
    assert main(["table", str(record.path), "--format", "csv", "--by", "size"]) == 0
    table = pl.read_csv(capsys.readouterr().out.encode())
    answer = load_protocol("presence").counting.further_answers(record.episodes, record.every_episode, record.header)[
        "calibrated"
    ]
    for method, frame in (("prototype", record.episodes), ("prototype, calibrated", answer.frame)):
        own = table.filter((pl.col("method") == method) & (pl.col("part") == "all"))
        found = dict(zip(own["metric"], own["value"], strict=True))
        for metric, score in record.protocol.statistics(frame, record.header).scores().items():
            if metric in record.protocol.default_metrics:
                assert abs(found[metric] - score) < 1e-3, (method, metric)
    assert main(["table", str(record.path), "--all"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert f"prototype, calibrated, fold 0: {answer.words}" in words and "half of the queries lack the class" in words
    assert main(["report", str(record.path), "--out", str(tmp_path / "report"), "--no-photos"]) == 0
    page = (tmp_path / "report/study-1/index.html").read_text()
    assert '<tr data-method="prototype, calibrated">' in page and f"{answer.words[:30]}" in page
