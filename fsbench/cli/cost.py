"""`fsbench cost`: parameters, arithmetic, time and memory of methods by shots; where an episode's time goes."""

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fsbench.base.errors import SettingsError
from fsbench.base.terminal import print_block, print_line
from fsbench.runner.config.limits import whole
from fsbench.runner.config.registry import choose_method

if TYPE_CHECKING:
    import torch

    from fsbench.runner.engine.cost.method_cost import MethodCost


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--method", default="emat,dcama,hsnet", help="names with commas (see: fsbench list)")
    parser.add_argument("--shots", default="1", help="numbers with commas")
    parser.add_argument("--weights", default="random", help="file of the backbone's weights; costs do not depend on it")
    parser.add_argument("--backbone", help="another backbone than the method's own")
    parser.add_argument("--image-size", type=whole(1, 16384), help="another side than the method's own")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 …")
    parser.add_argument(
        "--repeats",
        type=whole(1, 10000),
        default=3,
        help="number of predictions whose median time is taken; with --parts, of episodes",
    )
    parser.add_argument(
        "--parts", action="store_true", help="the shares of loader, backbone, head and metric in an episode instead"
    )
    parser.add_argument("--dataset", help="with --parts: episodes of this data set instead of drawn images")
    parser.add_argument("--format", choices=("text", "markdown", "csv", "json"), default="text")
    parser.set_defaults(function=_cost)


def _cost(options: argparse.Namespace, extra: list[str]) -> int:
    names = [name.strip() for name in options.method.split(",") if name.strip()]
    for name in names:
        choose_method(name, options.backbone)
    # torch: seconds, which help and refused options do without
    import torch

    from fsbench.runner.engine.cost.episode_parts import episode_parts, part_rows
    from fsbench.runner.engine.cost.episode_parts import plain as plain_parts
    from fsbench.runner.engine.cost.method_cost import cost_rows, method_costs, plain

    shots, device = _parse(options)
    if not names:
        raise SettingsError("--method names no method; see: fsbench list")
    if options.dataset is not None and not options.parts:
        raise SettingsError(f"--dataset {options.dataset} is for --parts only; give both or neither")
    device_name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    )
    given = (names, shots, options.weights, device, options.repeats, options.backbone, options.image_size)
    clock = "GPU" if device.type == "cuda" else "processor"
    if options.parts:
        parts = list(episode_parts(*given, options.dataset))
        about = {"device": device_name, "clock": clock, "episodes": plain_parts(parts)}
        _print(options.format, about, part_rows(parts), _parts_note(options, clock, device_name))
    else:
        costs = list(method_costs(*given))
        about = {"device": device_name, "clock": clock, "costs": plain(costs)}
        _print(options.format, about, cost_rows(costs), _cost_note(clock, device_name, costs))
    return 0


def _cost_note(clock: str, device_name: str, costs: "Sequence[MethodCost]") -> list[str]:
    bases = {f"{cost.method}: {cost.basis}" for cost in costs if cost.basis}
    return [
        *sorted(bases),
        f"1-way, one query, every image encoded anew, fp32; {clock} seconds; {device_name}",
        "GMAC (papers: FLOPs): 10^9 multiply-accumulates of products and convolutions that the back ends in use do",
    ]


def _parts_note(options: argparse.Namespace, clock: str, device_name: str) -> list[str]:
    images = f"episodes of {options.dataset}" if options.dataset else "drawn images of 500x375"
    return [
        f"{clock} seconds, mean of {options.repeats} episodes after one that warms up; {images}; {device_name}",
        "every image is decoded and encoded anew; head: all that the method does beside forward passes of the backbone",
    ]


def _print(form: str, about: dict[str, Any], rows: list[list[str]], note: list[str]) -> None:
    """Print a table in the form that is asked for; the note stands below text."""
    # polars, which help and refused options do without
    from fsbench.results.tables.formats import align, markdown_table

    if form == "json":
        print_block(json.dumps(about, indent=2))
    elif form == "csv":
        print_block(_as_csv(rows))
    elif form == "markdown":
        print_block("\n".join(markdown_table(rows)))
    else:
        print_block("\n".join(align(rows, rule=False)))
        print_line()
        for line in note:
            print_line(line)


def _parse(options: argparse.Namespace) -> "tuple[list[int], torch.device]":
    """Return the shots and the device. Raises SettingsError for unusable options."""
    # torch: seconds, which help and refused options do without
    import torch

    try:
        shots = [whole(-1000, 1000)(number) for number in options.shots.split(",")]
        device = torch.device(options.device)
    except (argparse.ArgumentTypeError, RuntimeError) as error:
        raise SettingsError(f"--shots {options.shots} --device {options.device}: {error}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError("--device cuda, but torch sees no GPU; expected cpu")
    return shots, device


def _as_csv(rows: list[list[str]]) -> str:
    """Join words by commas; numbers lose the commas between thousands."""
    return "\n".join(",".join(word.replace(",", "") for word in row) for row in rows)
