"""`fsbench check-method`: check that a method keeps the contract of methods."""

import argparse
import json
import textwrap
import traceback

from fsbench.base.terminal import one_line, print_block, print_line, text_width
from fsbench.runner.config.limits import whole

UNSEEN = "no check finds what a method does only on other images, sizes or devices, or hides on purpose: read its code"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", help="name of the method (see: fsbench list)")
    parser.add_argument("--backbone", help="backbone to use instead of the demo's; its weights are random")
    parser.add_argument(
        "--size",
        type=whole(1, 16384),
        help="side of the images (default: the first of 64, 65, 128 … that the method takes)",
    )
    parser.add_argument("--seed", type=whole(0), default=0, help="seed of weights and episodes (default: 0)")
    parser.add_argument("--only", default="", help="run only these checks: names with commas")
    parser.add_argument(
        "--episodes", type=whole(20), default=200, help="number of episodes in the memory check (default: 200)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(function=_check)


def _check(options: argparse.Namespace, extra: list[str]) -> int:
    # torch: seconds, which help and refused options do without
    from fsbench.runner.contract.suite import build_subject, run_check, select_checks

    names = select_checks([name.strip() for name in options.only.split(",") if name.strip()])
    subject = build_subject(options.method, options.backbone, options.size, options.seed, (), options.episodes)
    about = {
        "method": options.method,
        "backbone": subject.method.backbone.name,
        "image_size": subject.size,
        "seed": options.seed,
    }
    if not options.json:
        print_line(f"{', '.join(f'{key} {value}' for key, value in about.items())}; random weights, synthetic images")
    outcomes = []
    for name in names:
        outcome = run_check(name, subject)
        outcomes.append(outcome)
        if not options.json:
            line, (width, wraps) = f"{outcome.check:16} {outcome.status:14}  {one_line(outcome.text)}", text_width()
            for part in textwrap.wrap(line, width, subsequent_indent=" " * 33) if wraps else [line]:
                print_line(part)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if options.json:
        rows = [{"check": o.check, "status": o.status, "text": o.text} for o in outcomes]
        print_block(json.dumps({**about, "checks": rows, "failed": len(failed)}, indent=2))
    else:
        print_line(f"{len(outcomes)} check{'s' * (len(outcomes) != 1)}, {len(failed)} failed; {UNSEEN}")
    error = next((outcome.error for outcome in failed if outcome.error is not None), None)
    if options.debug and error is not None:
        traceback.print_exception(error)
    return int(bool(failed))
