"""`fsbench cost`: parameters, arithmetic, time and memory of methods by number of shots."""

import argparse
import json
from typing import TYPE_CHECKING

from fsbench.config.limits import whole
from fsbench.errors import SettingsError
from fsbench.terminal import print_block, print_line

if TYPE_CHECKING:
    import torch


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("cost", help="measure what a method's prediction costs by number of shots")
    parser.add_argument("--method", default="emat,dcama,hsnet", help="names with commas (see: fsbench list)")
    parser.add_argument("--shots", default="1", help="numbers with commas")
    parser.add_argument("--weights", default="random", help="file of the backbone's weights; costs do not depend on it")
    parser.add_argument("--backbone", help="another backbone than the method's own")
    parser.add_argument("--image-size", type=whole(1, 16384), help="another side than the method's own")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 …")
    parser.add_argument(
        "--repeats", type=whole(1, 10000), default=3, help="number of predictions whose median time is taken"
    )
    parser.add_argument("--format", choices=("text", "markdown", "csv", "json"), default="text")
    parser.set_defaults(function=_cost)


def _cost(options: argparse.Namespace, extra: list[str]) -> int:
    # spared until it is needed, with yaml
    from fsbench.config.registry import choose_method

    names = [name.strip() for name in options.method.split(",") if name.strip()]
    for name in names:
        choose_method(name, options.backbone)
    # heavy: other commands spare it
    import torch

    from fsbench.engine.method_cost import cost_rows, method_costs, plain
    from fsbench.tables.formats import aligned, markdown_table

    shots, device = _parse(options)
    if not names:
        raise SettingsError("--method names no method; see: fsbench list")
    costs = list(
        method_costs(names, shots, options.weights, device, options.repeats, options.backbone, options.image_size)
    )
    device_name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    )
    if options.format == "json":
        print_block(json.dumps({"device": device_name, "costs": plain(costs)}, indent=2))
        return 0
    rows = cost_rows(costs)
    if options.format == "csv":
        print_block(_as_csv(rows))
    elif options.format == "markdown":
        print_block("\n".join(markdown_table(rows)))
    else:
        print_block("\n".join(aligned(rows, rule=False)))
        print_line()
        print_line(f"1-way, one query, every image encoded anew, fp32; {device_name}")
        print_line(
            "GMAC (papers: FLOPs): 10^9 multiply-accumulates of products and convolutions that the back ends in use do"
        )
    return 0


def _parse(options: argparse.Namespace) -> "tuple[list[int], torch.device]":
    """Return the shots and the device. Raises SettingsError for unusable options."""
    # heavy: other commands spare it
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
