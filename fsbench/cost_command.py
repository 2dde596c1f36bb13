"""`fsbench cost`: parameters, arithmetic, time and memory of methods by number of shots."""

import argparse
import json

from fsbench.errors import SettingsError


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("cost", help="what one prediction of a method costs, by number of shots")
    parser.add_argument("--method", default="emat,dcama,hsnet", help="names with commas (see: fsbench list)")
    parser.add_argument("--shots", default="1", help="numbers with commas")
    parser.add_argument("--weights", default="random", help="file of the backbone's weights; costs do not depend on it")
    parser.add_argument("--backbone", help="another backbone than the method's own")
    parser.add_argument("--image-size", type=int, help="another side than the method's own")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 …")
    parser.add_argument("--repeats", type=int, default=3, help="predictions whose median time is told")
    parser.add_argument("--format", choices=("text", "markdown", "csv", "json"), default="text")
    parser.set_defaults(function=_cost)


def _cost(options: argparse.Namespace, extra: list[str]) -> int:
    import torch

    from fsbench.method_cost import grid, method_costs, plain

    try:
        shots = [int(number) for number in options.shots.split(",")]
        device = torch.device(options.device)
    except (ValueError, RuntimeError) as error:
        raise SettingsError(f"--shots {options.shots} --device {options.device}: {error}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError("--device cuda, but torch sees no GPU; expected cpu")
    if options.repeats < 1:
        raise SettingsError(f"--repeats is {options.repeats}, expected 1 or more")
    names = [name.strip() for name in options.method.split(",") if name.strip()]
    if not names:
        raise SettingsError("--method names no method; see: fsbench list")
    costs = list(
        method_costs(names, shots, options.weights, device, options.repeats, options.backbone, options.image_size)
    )
    cells = grid(costs)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    if options.format == "json":
        print(json.dumps({"device": where, "costs": plain(costs)}, indent=2))
    elif options.format == "csv":
        print("\n".join(",".join(cell.replace(",", "") for cell in row) for row in cells))
    elif options.format == "markdown":
        lines = ["| " + " | ".join(row) + " |" for row in cells]
        print("\n".join([lines[0], "|" + "---|" * len(cells[0]), *lines[1:]]))
    else:
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        for row in cells:
            left = zip(row, widths, range(len(row)), strict=True)
            print("  ".join(c.ljust(w) if i < 2 else c.rjust(w) for c, w, i in left).rstrip())
        print(f"\n1-way, one query, every image encoded anew, fp32; {where}")
        print(
            "GMAC (papers: FLOPs): 10^9 multiply-accumulates of products and convolutions that the back ends in use do"
        )
    return 0
