"""The parts that an episode's time is made of, each alone: what the model of a cluster adds up."""

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.speed.cases.folds import Evaluation
from benchmarks.speed.cases.methods import built_method, method_settings
from benchmarks.speed.harness import Case, sample_folder
from benchmarks.speed.official_fold import OfficialFold
from fsbench.protocols.loop import evaluate_batches
from fsbench.records.journal import Journal, JournalWriter


def cases(
    device: torch.device,
    lists: str | None = None,
    dataset: str = "coco",
    methods: str = "hsnet,cst,emat,dcama,hmnet",
    episodes: int = 3,
) -> Iterator[Case]:
    """Measure the parts of the first --episodes of fold 0, 1-way 1-shot, in the order of a run, under HSNet's protocol.

    Decoded anew: both images with their masks, at the method's own size. Encoded: one image by the frozen network.
    Answered: with all features kept. Counted: a given answer beside its truth. Written: the
    result with its mask, into a journal on disk.
    """
    lists = sample_folder(lists, "--lists, a folder of official lists (<dataset>/val/fold<f>)", "official-lists/hsnet")
    with TemporaryDirectory() as drawn, TemporaryDirectory() as work:
        data = OfficialFold(lists, dataset, 0, Path(drawn))
        for name in methods.split(","):
            composed = method_settings(name, dataset)
            side = composed.data_arguments["image_size"]
            method = built_method(device, composed).eval()
            evaluation = Evaluation(name, method, data, side, 1, episodes)
            with closing(Journal(Path(work) / name, "parts").open()) as writer:
                what = f"{name}, {dataset}, {side} pixels, the parts of an episode"
                yield Case(what, parts(evaluation, writer), units=episodes)


def parts(evaluation: Evaluation, writer: JournalWriter) -> dict[str, Callable[[], object]]:
    """Return the parts by name, each a call for all episodes; features are kept from now on."""
    method = evaluation.method
    batches = [evaluation.load(episode).to(method.device) for episode in evaluation.ordered]
    images = [batch.pixels(int(batch.query[0])).to(method.device) for batch in batches]
    hidden = [batch.without_truth() for batch in batches]
    results = [evaluation.evaluate(batch) for batch in batches]
    with torch.inference_mode():
        answers = cycle([method.answer_batch(batch) for batch in hidden])
    counted: list[object] = []
    calls: dict[str, Callable[[], object]] = {
        "decode": lambda: [evaluation.load(episode) for episode in evaluation.ordered],
        "encode": lambda: [method.backbone.encode(image) for image in images],
        "answer": lambda: [method.predict_shots(batch) for batch in hidden],
        "count": lambda: evaluate_batches(
            batches, evaluation.protocol, lambda _: next(answers), counted.extend, "parts"
        ),
        "write": lambda: writer.add(results, lambda episode: "masks"),
    }
    return {name: torch.inference_mode()(call) for name, call in calls.items()}
