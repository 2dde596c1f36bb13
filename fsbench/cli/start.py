"""Subcommand `fsbench start`: from a question to a first study, a first mask or a first method."""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fsbench.base.errors import CheckpointError, DataError, SettingsError, raise_all
from fsbench.base.files import read_bytes, write_text
from fsbench.base.terminal import print_line
from fsbench.runner.config.limits import check_output_file
from fsbench.runner.engine.machine.watchdog import safe_imports
from fsbench.runner.start.questions import Questions, can_ask, print_choice

if TYPE_CHECKING:
    from fsbench.runner.config.needs import Missing
    from fsbench.runner.config.request import Request

GOALS = {
    "try": "see a table in some minutes, on drawn images: nothing is fetched",
    "compare": "compare methods on PASCAL, COCO, FSS-1000, … or on a folder of mine",
    "photos": "label my photos by a few examples",
    "method": "add a method of mine",
}
FETCHED = ("fetch", "source", "accept_licence")
TAKEN = {
    "try": ("method", "fast"),
    "compare": ("dataset", "method", "data_root", "fold", "shot", "protocol", "backbone", "fast", *FETCHED),
    "photos": ("support", "query", *FETCHED),
    "method": ("name",),
}
"""Options that a goal takes, beside those that all take."""
TRIED = "prototype,emat"
"""Methods of a first look: one that is not trained, and one that learns a little in three minutes."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Every question has an option, so that it can be scripted; --yes takes the defaults of the others."
    parser.add_argument("--goal", metavar="GOAL", help=", ".join(GOALS))
    parser.add_argument("--yes", action="store_true", help="take the default where no option answers")
    study = parser.add_argument_group("to compare methods")
    study.add_argument("--dataset", help="see: fsbench list")
    study.add_argument("--method", metavar="METHOD", help="name, or several with commas")
    study.add_argument("--data-root", metavar="DIR", help="folder of the data set")
    study.add_argument("--fold", metavar="FOLD", help="number, or several with commas")
    study.add_argument("--shot", metavar="SHOT", help="labelled images of a class")
    study.add_argument("--protocol", metavar="PROTOCOL", help="of all methods; see: fsbench protocols")
    study.add_argument("--backbone", metavar="BACKBONE", help="as fsbench bench takes it, auto for one that is here")
    study.add_argument("--fast", action=argparse.BooleanOptionalAction, help="trials of a few minutes")
    study.add_argument("--fetch", action=argparse.BooleanOptionalAction, help="fetch data and weights that are absent")
    study.add_argument("--from", dest="source", metavar="DIR", help="folder of archives that were fetched before")
    study.add_argument("--accept-licence", action="store_true", help="of weights; they are shown")
    photos = parser.add_argument_group("to label photos")
    photos.add_argument("--support", metavar="[NAME=]PHOTO:MASK", help="a labelled photo, as fsbench predict takes it")
    photos.add_argument("--query", metavar="DIR", help="folder of the photos to label")
    method = parser.add_argument_group("to add a method")
    method.add_argument("--name", help="of the method")
    parser.add_argument("--out", metavar="FILE", help="the file that keeps the study or the command")
    parser.add_argument("--runs", default="runs", help="folder of all runs")
    parser.add_argument("--run", action=argparse.BooleanOptionalAction, help="run it at once")
    parser.set_defaults(function=_start)


def _start(options: argparse.Namespace, extra: list[str]) -> int:
    questions = Questions(options, can_ask() and not options.yes)
    goal = _goal(questions)
    if goal == "photos":
        return _label(questions)
    if goal == "method":
        return _add_method(questions)
    return _compare(questions, is_trial=goal == "try")


def _goal(questions: Questions) -> str:
    """Ask for the goal; by default the first that takes all given options. Raises where one is given in vain."""
    every = dict.fromkeys(name for taken in TAKEN.values() for name in taken)
    given = [name for name in every if getattr(questions.options, name) not in (None, False)]
    fitting = [goal for goal, taken in TAKEN.items() if set(given) <= set(taken)]
    goal = questions.choice("goal", "What do you want to do?", GOALS, (fitting or list(GOALS))[0])
    vain = [name.replace("_", "-") for name in given if name not in TAKEN[goal]]
    if vain:
        others = [other for other, taken in TAKEN.items() if vain[0].replace("-", "_") in taken]
        raise SettingsError(
            f"--{vain[0]} was given, which the goal {goal} does not take; expected --goal {' or '.join(others)}"
        )
    return goal


def _compare(questions: Questions, is_trial: bool) -> int:
    # spared until it is needed, with yaml
    from fsbench.runner.start.study import Study

    study = Study(_with_backbone(questions, _request(questions, is_trial)))
    for note in study.request.notes():
        print_line(note)
    file = _new_file(questions, "study.yaml", study.to_yaml)
    fetched = _fetch(questions, study.missing())
    if fetched:
        return fetched
    options = questions.options
    if study.missing():
        print_line(f"{file} is written; once what is absent is here: fsbench grid {file} --run --runs {options.runs}")
        return 1
    shown = _fsbench("grid", str(file), "--runs", options.runs)  # the plan, with times known from earlier runs
    if shown or not questions.agrees("run", "Run it now?"):
        print_line(f"run it with: fsbench grid {file} --run --runs {options.runs}")
        return shown
    status = _fsbench("grid", str(file), "--run", "--runs", options.runs)
    if not status:
        status = _fsbench("table", options.runs)
        print_line(f"next: fsbench report {options.runs} --out report (pictures and episodes), or fsbench start again")
    return status


def _request(questions: Questions, is_trial: bool) -> "Request":
    """Ask for a study; returns its request. Raises what is wrong with it, but for files that can be fetched."""
    # spared until it is needed, with yaml
    from fsbench.runner.config.compose import setting
    from fsbench.runner.config.needs import absent_data
    from fsbench.runner.config.registry import choose_method, names, task_of
    from fsbench.runner.config.request import Request, file_settings
    from fsbench.runner.config.request_check import request_errors

    options = questions.options
    dataset = "demo" if is_trial else questions.choice("dataset", "On which data set?", names("data"), "demo")
    task = task_of("data", dataset)
    suitable = {name: words for name, words in names("methods").items() if task_of("methods", name) == task}
    default = TRIED if task == "segmentation" else ",".join(list(suitable)[:2])

    def methods(text: str) -> str:
        chosen = [word.strip() for word in text.split(",") if word.strip()]
        if not chosen:
            raise SettingsError("--method is empty, expected a name, or several with commas")
        for name in chosen:
            if task_of("methods", choose_method(name).method) != task:
                raise SettingsError(f"{name} is no method of {task}; expected some of {', '.join(suitable)}")
        return ",".join(chosen)

    def listed() -> None:
        for name, words in suitable.items():
            print_choice(f"  {name:18} {words}")

    if is_trial and options.method is None:
        chosen = default
    else:
        chosen = questions.text("method", "Which methods? Several with commas.", default, methods, listed)
    request = Request(methods=tuple(chosen.split(",")), dataset=dataset, runs=options.runs)
    changes: dict[str, object] = {name: getattr(options, name) for name in ("data_root", "backbone")}
    changes["fast"] = bool(options.fast)
    if not is_trial:
        root = options.data_root or setting(file_settings(request), "data.dataset.root")
        absent = absent_data(dataset, root)
        if absent is not None and options.data_root is None:
            text = f"Where is {dataset}, or where shall it be put? A folder."
            changes["data_root"] = questions.text("data-root", text, root)
        changes["fold"] = questions.text("fold", "Which folds? A number, or several with commas.", "0")
        changes["shot"] = questions.text("shot", "How many labelled images of a class?", "1")
        if task == "segmentation":
            own = request.own_protocol(request.methods[0]) or "fscs"
            text = "Under which protocol? One for all methods, so that they can be compared."
            changes["protocol"] = questions.choice("protocol", text, names("protocols"), own)
        text = "Trials of a few minutes first? Their figures are no results."
        changes["fast"] = questions.agrees("fast", text, default=False)
    request = _with(request, changes)
    errors = request_errors(request)
    raise_all([error for error in errors if not isinstance(error, DataError | CheckpointError)])  # that can be fetched
    return request


def _with_backbone(questions: Questions, request: "Request") -> "Request":
    """Return the request with a network that is here for methods whose weights are absent, if the user wants that."""
    # spared until it is needed, with pydantic
    from fsbench.networks.weights.table import instead
    from fsbench.runner.config.backbone_choice import AUTO, needed_weights

    automatic = replace(request, backbone=AUTO)
    replaced = [method for method in request.methods if automatic.backbone_of(method)]
    to_fetch = any(getattr(questions.options, name) for name in FETCHED)
    if request.backbone is not None or not replaced or to_fetch:
        return request
    own = str(needed_weights(replaced[0], request.dataset))
    text = f"The weights of {own} are missing; {instead(own)}. Take it?"
    return automatic if questions.agrees("backbone", text) else request


def _with(request: "Request", changes: dict[str, object]) -> "Request":
    """Return the request with answers in place of what they change. Raises SettingsError for no numbers."""
    values = {name: value for name, value in changes.items() if name not in ("fold", "shot")}
    try:
        if "fold" in changes:
            values["folds"] = tuple(int(word) for word in str(changes["fold"]).split(","))
        if "shot" in changes:
            values["shot"] = int(str(changes["shot"]))
    except ValueError:
        raise SettingsError(
            f"--fold is '{changes['fold']}' and --shot '{changes['shot']}', expected whole numbers"
        ) from None
    return replace(request, **values)  # type: ignore[arg-type]


def _fetch(questions: Questions, missing: "list[Missing]") -> int:
    """Offer to fetch what is missing. Returns the status of the first command that failed, else 0."""
    fetchable = [thing for thing in missing if thing.command.startswith("fsbench ")]
    for thing in missing:
        print_line(f"missing: {thing}")
    if not fetchable or not questions.agrees("fetch", "Fetch what is missing now?"):
        return 0
    options = questions.options
    for thing in fetchable:
        words = shlex.split(thing.command)[1:]
        words += ["--from", options.source] if options.source else []
        words += ["--accept-licence"] if options.accept_licence and thing.kind == "weights" else []
        status = _fsbench(*words)
        if status:
            return status
    return 0


def _label(questions: Questions) -> int:
    """Label photos by an example, or open the page where the example is painted."""
    support = questions.text(
        "support",
        "Which photo is labelled? [NAME=]PHOTO:MASK, a JSON file of LabelMe or COCO; or 'paint' to paint it in a page.",
        "paint",
    )
    command = ["demo"]
    if support != "paint":
        query = questions.text("query", "Which folder has the photos to label?", None)
        command = ["predict", "--support", support, "--query", query, "--out", "masks"]
    # spared until it is needed, with yaml
    from fsbench.networks.weights.table import INSTALL_PHOTOS, PHOTO_NETWORK, weight_files

    weights = _missing_weights()
    _fetch(questions, weights)  # where that fails, it has said so, and another network is taken
    if weights and _missing_weights():
        if weight_files()[PHOTO_NETWORK].path.is_file():
            print_line(f"without these weights {PHOTO_NETWORK} is taken")
        else:
            print_line(
                "without these weights the small backbone of the demo is taken: good for a look, not for use; a better "
                f"one: {INSTALL_PHOTOS}"
            )
            command += ["--backbone", "demo"]
    line = shlex.join(["fsbench", *command])
    file = _new_file(questions, "label.sh", lambda path: f"#!/bin/sh\n# Made by fsbench start.\n{line}\n")
    if questions.agrees("run", f"Run it now? {line}"):
        return _fsbench(*command)
    print_line(f"run it with: sh {file}")
    return 0


def _missing_weights() -> "list[Missing]":
    """Return the weights of the method that labels photos without a training, where they are absent."""
    # spared until it is needed, with yaml
    from fsbench.runner.config.needs import missing_weights
    from fsbench.runner.config.request import Request

    return missing_weights(Request(methods=("prototype",), dataset="folder"))


def _add_method(questions: Questions) -> int:
    name = questions.text("name", "How shall the method be called? Letters, digits and _.", "mine")
    return _fsbench("new", "method", name)


def _new_file(questions: Questions, default: str, text_of: Callable[[Path], str]) -> Path:
    """Ask for a file that is not there yet, or holds just this, and write it."""

    def check(answer: str) -> str:
        path = Path(answer).expanduser()
        check_output_file(path, "--out")
        text = text_of(path)
        if path.is_file() and read_bytes(path, "settings") != text.encode():
            raise SettingsError(f"{path} is there already and is another; expected a new file; choose another name")
        return str(path)

    path = Path(questions.text("out", "Into which file shall it be written?", default, check))
    write_text(path, text_of(path))
    print_line(f"written: {path}")
    return path


def _fsbench(*words: str) -> int:
    """Show and run a command of the suite in a process of its own; returns its status."""
    print_line(f"$ {shlex.join(['fsbench', *words])}")
    environment = os.environ | safe_imports()
    return subprocess.run([sys.executable, "-m", "fsbench", *words], env=environment, check=False).returncode
