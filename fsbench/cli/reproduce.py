"""`fsbench reproduce`: a paper's tables, what they need, and measured beside reported."""

import argparse
import json
import sys
from pathlib import Path

from fsbench.base.errors import SettingsError, known_names
from fsbench.base.progress import track
from fsbench.base.terminal import print_block, print_line, text_width
from fsbench.cli.grid import add_executor_options, choose_executor, print_failures, print_obstacles
from fsbench.cli.options import add_format, add_runs_folder, data_roots
from fsbench.runner.config.limits import whole
from fsbench.runner.grid.plan import LOOKING_UP


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paper", nargs="?", help="name in configs/papers, or a file (default: list all papers)")
    parser.add_argument(
        "--table", metavar="N", help="show the rows of one table, with measured figures beside the reported ones"
    )
    add_runs_folder(parser)
    add_executor_options(parser)
    parser.add_argument("--released", action="store_true", help="test the authors' checkpoints instead of training")
    parser.add_argument("--devices", type=whole(), help="processes of each run, one per device")
    parser.add_argument("--seed", type=whole(), help="seed of the trainings")
    parser.add_argument("--fast", action="store_true", help="trials of a few minutes, whose figures are no results")
    parser.add_argument(
        "--recheck", action="store_true", help="work out again which run is which, instead of trusting earlier notes"
    )
    add_format(parser, ("text", "markdown", "latex", "json"))
    parser.set_defaults(function=_reproduce)


def _reproduce(options: argparse.Namespace, extra: list[str]) -> int:
    # heavy: other commands spare it
    from fsbench.results.sheets.text import table_lines
    from fsbench.runner.papers.files import paper_rows, papers
    from fsbench.runner.papers.paper_sheet import list_papers

    if options.paper is not None:
        return _plan(options)
    if options.table is not None or options.run:
        raise SettingsError("--table and --run need the name of a paper; add one (see: fsbench reproduce)")
    found = papers()
    rows = {name: len(paper_rows(name, paper)) for name, paper in found.items()}
    print_block("\n".join(table_lines(list_papers(found, rows))))
    return 0


def _plan(options: argparse.Namespace) -> int:
    """Show a paper or one of its tables, after it was run where that was asked for."""
    # heavy: other commands spare it
    from fsbench.results.sheets.formats import write_sheets
    from fsbench.runner.papers.files import paper_rows, read_paper
    from fsbench.runner.papers.needed_runs import paper_runs, plan_runs, run_paper, why_no_runs, with_preparations
    from fsbench.runner.papers.paper_sheet import PaperPlan, as_values, remarks, to_sheet
    from fsbench.runner.papers.results import published_scores, row_results, row_scores

    file = Path(options.paper)
    name, folder = (file.stem, file.parent) if file.suffix in (".yaml", ".yml") else (options.paper, None)
    paper = read_paper(name, folder)
    chosen = paper_rows(name, paper, options.table)
    executor = choose_executor(options)
    roots = data_roots(options)
    datasets = sorted({row.dataset for row in paper_rows(name, paper)})
    for other in roots.keys() - set(datasets):
        raise SettingsError(
            f"--data-root names '{other}', but no row of {name} uses that data set{known_names(other, datasets)}"
        )
    common = {"devices": options.devices, "seed": options.seed, "fast": options.fast, "runs": str(options.runs)}
    all_runs = paper_runs(paper_rows(name, paper), roots, options.released, **common)
    ordered = with_preparations(run for row in chosen for run in all_runs[row])
    planned = plan_runs(track(ordered, LOOKING_UP, "run"), options.runs, options.recheck)
    failed = False
    if executor is not None:
        before = sum(item.state == "done" for item in planned.values())
        print_obstacles(list(planned.values()))
        planned, failures = run_paper(ordered, options.runs, executor)
        left = sum(item.state not in ("done", "refused") for item in planned.values())
        if left and not failures and before == sum(item.state == "done" for item in planned.values()):
            print_line(f"nothing was run: {left} runs need the files that are listed as missing", sys.stderr)
        print_failures(failures)
        failed = bool(failures) or any(item.refused for item in planned.values())
    found = {row: [item.record for run in all_runs[row] if (item := planned[run]).record] for row in chosen}
    records = {row: [record for record in members if record is not None] for row, members in found.items()}
    published = published_scores()
    results = row_results(records, published)
    plan = PaperPlan(
        name,
        paper,
        {row: all_runs[row] for row in chosen},
        planned,
        not_run={row: why for row in chosen if (why := why_no_runs(row.entry, options.released))},
        remarks={row: remarks(row, row_scores(row, published)) for row in chosen},
        results=results,
    )
    if options.format == "json":
        print_block(json.dumps(as_values(plan), indent=2))
    else:
        print_block(write_sheets(options.format, [to_sheet(plan, options.table)], *text_width()))
    return 1 if failed else 0
