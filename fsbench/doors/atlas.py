"""`fsbench atlas run`: one method under all tests of a data set that rows of the atlas are."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fsbench.base.errors import FsbenchError, SettingsError, user_message
from fsbench.base.progress import track
from fsbench.doors.together import run_together
from fsbench.records.record import Record
from fsbench.results.atlas.islands import Tests, islands
from fsbench.runner.config.request import Request
from fsbench.runner.engine.experiment import Experiment, build_experiment


@dataclass(frozen=True)
class AtlasRuns:
    """The records of one method under tests of the atlas.

    Attributes:
        records: test by test, in the order of the atlas, and of each the folds.
        left_out: why some tests could not be run, by their names.
    """

    records: list[Record]
    left_out: Mapping[str, str]


def run_atlas(request: Request, tests: Tests = "islands") -> AtlasRuns:
    """Run a method under the tests of a data set, answering each input once; what is there is not run again.

    Args:
        request: one method, a data set, folds and settings of the runs; its protocol is left open.
        tests: which rows are run.

    Raises:
        SettingsError: several methods or a protocol were named, the atlas has no rows of the data set, or the method
            must be trained first.
        FsbenchError: no test can be run, or a run cannot be finished.
    """
    if len(request.methods) != 1 or not request.folds:
        raise SettingsError(
            f"atlas run was given {', '.join(request.methods) or 'no method'} and {len(request.folds)} folds; expected "
            "one method (--method), and one fold or more (--fold)"
        )
    if request.protocol is not None or request.manifest is not None:
        raise SettingsError("atlas run was given a protocol or a manifest; leave it out: the rows of the atlas are run")
    found = islands(request.dataset)
    names = [one.protocol for one in found] if tests == "islands" else [row for one in found for row in one.rows]
    records: dict[tuple[int, int], Record] = {}
    left_out: dict[str, str] = {}
    for fold in request.folds:
        experiments: dict[int, Experiment] = {}
        for place, name in enumerate(track(names, f"fold {fold}, episodes", "test")):
            try:
                experiment = build_experiment(replace(request, protocol=name).configuration(request.methods[0], fold))
                experiment.folder  # noqa: B018  (draws the episodes and reads the files that the run's name follows from)
            except FsbenchError as error:
                if place == len(names) - 1 and not experiments:
                    raise  # of all tests, so that it is said as an error
                left_out.setdefault(name, user_message(error))
            else:
                experiments[place] = experiment
        for place, record in zip(experiments, run_together([*experiments.values()]), strict=True):
            records[place, fold] = record
    return AtlasRuns([records[key] for key in sorted(records)], left_out)
