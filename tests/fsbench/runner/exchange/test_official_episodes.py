"""Which episodes of a run are the official ones, as `fsbench verify` tells; of others no record is read."""

from dataclasses import replace

from fsbench.records.statements import STATEMENTS, StatedRun
from fsbench.runner.exchange.verify import _episodes
from tests.fsbench.official_runs import frozen_manifest
from tests.fsbench.runs import changed


def test_official_is_what_equals_the_drawn_manifest(make):
    """Of a test by the official lists there are no other episodes, and no header that differs."""
    record = make("mine", 0)

    def verdict(manifest):
        for line in STATEMENTS["identity.own_list"].contradicted(StatedRun(record.run, manifest, record.every_episode)):
            return "refused", line
        other = changed(record, {"manifest_sha256": manifest.sha256})
        other.__dict__.update(manifest=manifest, header=manifest.header)
        found = _episodes("mine", other)
        return found.status, found.what

    official = frozen_manifest()
    assert verdict(official) == ("ok", "the episodes are the official ones (fscs-fold0-2way1shot-original.jsonl.gz)")
    first = official.episodes[:60]
    trial = replace(official, entries=official.entries | {"episodes": 60, "requested": 60}, episodes=first)
    assert verdict(trial)[0] == "ok" and "the first 60 official ones" in verdict(trial)[1]
    swapped = replace(trial, episodes=(replace(first[0], query=first[1].query), *first[1:]))
    assert verdict(swapped)[0] == "refused"
    assert verdict(frozen_manifest(class_ids=[5, 4, 3, 2, 1]))[0] == "refused"
    assert verdict(frozen_manifest(lists="of mine", lists_sha256="0")) == (
        "not checked", "fsbench has no official episodes of this test; image lists: of mine",
    )  # fmt: skip
