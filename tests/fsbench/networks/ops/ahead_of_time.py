"""Compile Triton kernels for GPUs that are not there: `python -m tests.fsbench.networks.ops.ahead_of_time`,
without TRITON_INTERPRET. Prints kernel, architecture and bytes of shared memory."""

import importlib
import inspect
import itertools
import re

FLAGS = {"HAS_D": True, "HAS_BIAS": True, "SOFTPLUS": True, "RECAP": True, "BD": 16, "BT": 64, "BN": 16}
NUMBERS = {"length", "window", "per_window", "width", "channels", "states", "chunks", "groups"}


def main() -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    for name, kernel in vars(importlib.import_module("fsbench.networks.ops.selective_scan._triton_kernels")).items():
        if not isinstance(kernel, triton.JITFunction) or re.search(r"^ +return ", inspect.getsource(kernel.fn), re.M):
            continue  # a function that returns something is one that kernels call
        arguments = list(inspect.signature(kernel.fn).parameters)
        kinds = {a: "i32" if a in NUMBERS or re.search("_[bdgnt]$", a) else "*fp32" for a in arguments}
        for architecture, reverse in itertools.product((80, 90), (False, True) if "REVERSE" in arguments else (False,)):
            flags = {a: value for a, value in (FLAGS | {"REVERSE": reverse}).items() if a in arguments}
            source = ASTSource(kernel, kinds | dict.fromkeys(flags, "constexpr"), flags)
            out = triton.compile(source, target=GPUTarget("cuda", architecture, 32))
            assert out.asm["cubin"]
            print(name, architecture, out.metadata.shared)


if __name__ == "__main__":
    main()
