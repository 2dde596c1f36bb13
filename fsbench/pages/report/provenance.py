"""State where numbers come from: the run, the manifest and the command that reproduces them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from fsbench.base.class_file import SOURCE, ClassFile
from fsbench.pages.report.collect import Study
from fsbench.records.class_files import METHOD
from fsbench.records.grouping import all_runs, fold_of
from fsbench.records.record import Record


@dataclass(frozen=True)
class RunCard:
    """Facts about a run, as (name, value) pairs, for the report's page of all runs."""

    anchor: str
    method: str
    fold: int
    facts: list[tuple[str, str]]


def run_cards(study: Study) -> list[RunCard]:
    """Return the facts about every run of a study, for the report's page of all runs."""
    cards: list[RunCard] = []
    for label, runs in study.methods.items():
        for record in all_runs(runs):
            cards.append(RunCard(f"run-{len(cards) + 1}", label, fold_of(record), _facts(study, record)))
    return cards


def anchors(study: Study) -> dict[tuple[str, int], str]:
    """Return {(method, fold): HTML anchor, on the report's page of all runs, of its first training}."""
    return {(card.method, card.fold): card.anchor for card in reversed(run_cards(study))}


def _facts(study: Study, record: Record) -> list[tuple[str, str]]:
    run, backbone, provenance = record.run, record.run.identity.backbone, record.run.provenance
    config = record.path / "config.yaml"
    facts = [
        ("run", run.id),
        ("label", run.label),
        ("folder", str(record.path)),
        ("its scores", table_command(study, [record])),
    ]
    if config.is_file():
        facts.append(("run it again", shlex.join(["fsbench", "bench", f"--config={config}", "--run.force=true"])))
    facts += [
        ("manifest sha256", record.manifest_sha256),
        ("manifest", shlex.join(["fsbench", "data", "manifest", "show", str(record.path / "manifest.jsonl")])),
        ("files sha256", run.identity.files_sha256 or ""),
        ("files of all folds sha256", run.identity.all_files_sha256),
        ("label maps painted by", run.identity.painting or ""),
        ("counts sha256", record.counts_sha256),
        ("handed in", f"answers with sha256 {run.identity.answers_sha256}" if run.handed_in else ""),
        ("asked alone", f"{run.asked_alone} episodes, answered alike" if run.asked_alone else ""),
        ("checkpoint sha256", run.checkpoint_sha256 or ""),
        ("checkpoint's variant", run.checkpoint_variant or ""),
        ("method's file", _method_file(record)),
        ("backbone", f"{backbone.name}, weights {backbone.weights}"),
        ("cache_dtype", backbone.cache_dtype),
        ("backbone_precision", backbone.backbone_precision),
        ("presence", run.presence),
    ]
    names = ("finished", "commit", "device", "processes", "threads", "python")
    facts += [(name, str(getattr(provenance, name) or "")) for name in names]
    facts.append(("versions", ", ".join(f"{k} {v}" for k, v in provenance.versions.items())))
    return [(name, value) for name, value in facts if value]


def _method_file(record: Record) -> str:
    """Say from which file of a user's the method came, and whether the run keeps it; "" of other methods."""
    sha256 = record.flat_identity.get(METHOD)
    if sha256 is None:
        return ""
    kept = record.path / SOURCE
    place = f"kept as {kept}" if ClassFile(kept, sha256).is_unchanged else "not kept"
    return f"sha256 {sha256}, {place}"


def table_command(study: Study, records: Sequence[Record], *more: str) -> str:
    """Return the command that prints a study's scores of `records`, with further arguments `more`."""
    folders = [str(record.path) for record in records]
    return shlex.join(["fsbench", "table", *folders, *metric_arguments(study), *more])


def metric_arguments(study: Study) -> list[str]:
    """Return the arguments of a command that prints the scores of a study; empty if they are the protocol's default."""
    metrics = tuple(study.block.metrics)
    usual = study.protocol.default_metrics
    return ["--metrics", ",".join(metrics)] if study.protocol.has_masks and metrics != usual else []
