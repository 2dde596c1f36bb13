"""`fsbench.score`: answers in a file, from anywhere, are counted. No torch is needed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fsbench.base.environment import check_environment
from fsbench.base.progress import track
from fsbench.data.episodes.manifest import Manifest
from fsbench.protocols.kit.reader import HandedInAnswer, read_answers
from fsbench.protocols.loop import evaluate_batches
from fsbench.protocols.test import Test, VisibleEpisode, VisibleImages, check_test
from fsbench.records.asked_alone import Tally
from fsbench.runner.config.limits import check_name
from fsbench.runner.evaluation.handed_in import read_given_card, record_answers
from fsbench.runner.evaluation.result import Result
from fsbench.scores.answers import SegmentationAnswer


def score(
    answers: str | Path | Sequence[str | Path],
    test: Test,
    *,
    name: str,
    runs: str | Path = "runs",
    card: str | Path | None = None,
    partial: bool = False,
    progress: bool = True,
) -> Result:
    """Score predictions of a whole test that are stored in files, by the same code as any run.

    Args:
        answers: a file that `fsbench.Answers` wrote, or a folder of PNGs `<number>.png` (label maps with values 0 to N,
            named by episode number), or several of them.
        test: the test whose episodes were predicted.
        name: name of the method in tables.
        runs: folder of all runs.
        card: YAML file that states how the method was trained and what labels it uses, which no record can prove (see
            `fsbench bundle --new-card`).
        partial: whether to accept predictions for only some episodes; the result is then a trial and no result of the
            protocol.
        progress: whether to show a progress bar.

    Returns:
        The result, with scores and intervals; its record is stored in the folder `runs`.

    Raises:
        RecordError: a file is damaged or belongs to another test; or predictions are missing, occur twice, are for
            other episodes, or have a wrong size or wrong labels. Then nothing is written.
        SettingsError: the name cannot be part of a folder's name, or the card is for another method.

    Examples:
        >>> import fsbench, numpy
        >>> test = fsbench.load_test("demo", protocol="pfenet", episodes=5)
        >>> with fsbench.Answers("everywhere.fsa", test) as answers:
        ...     for episode in test:
        ...         if episode.number not in answers.done:
        ...             answers.add(episode, numpy.ones(episode.size, bool))
        >>> result = fsbench.score("everywhere.fsa", test, name="everywhere", runs="scored", progress=False)
        >>> round(result.scores["mIoU"], 2)
        13.05
    """
    check_environment()
    check_name(name, "name")
    check_test(test)
    given_card = read_given_card(card, name)
    paths = [answers] if isinstance(answers, str | Path) else answers
    files = [Path(path).expanduser() for path in paths]
    stored = read_answers(files, test, partial)
    answered = stored.numbers
    if test.image_size is None and test.protocol.view.counts_at_input_size:
        test = replace(test, image_size=stored.image_size)
    if len(answered) < len(test):
        test = replace(test, manifest=_trial(test.manifest, answered))
    tally, numbers = Tally(), [[number] for number in answered]

    def answer(seen: Sequence[VisibleEpisode | VisibleImages]) -> list[Any]:
        return [_as_counted(stored[episode.number]) for episode in seen]

    evaluate_batches(track(numbers, name, "answer") if progress else numbers, test, answer, tally.add, name)
    return Result(record_answers(test, name, tally, runs, given_card), test)


def _as_counted(answer: HandedInAnswer) -> Any:
    """Return an answer as protocols count it."""
    if answer.labels is not None:
        return answer.labels - 1
    assert answer.label_map is not None
    return SegmentationAnswer(answer.label_map, answer.presence, answer.score)


def _trial(manifest: Manifest, numbers: Sequence[int]) -> Manifest:
    """Return the manifest of the answered episodes alone."""
    answered = set(numbers)
    episodes = tuple(episode for episode in manifest.episodes if episode.number in answered)
    chosen = {"selection": {"name": "answered episodes", "manifest_sha256": manifest.sha256}}
    official = sum(episode.draw == 0 and not episode.calibrates for episode in episodes)
    counts = {"episodes": official, "requested": official}
    return Manifest(manifest.entries | counts | chosen, episodes, own_list=manifest.own_list)
