"""Layout of the SANSA authors' checkpoints (sansa.md §1, §3)."""

import re
from typing import Any

from torch import Tensor

from fsbench.core.released_format import ReleasedFormat

NAME = re.compile(r"^(?:module\.)?(?:sam\.)?image_encoder\.trunk\.blocks\.(\d+)\.adapter\.(.+)$")
SAM = re.compile(r"^(?:module\.)?sam\.")


class AdapterFile(ReleasedFormat):
    """Adapters under the names of their places in SAM 2; in a file of the whole network the rest is the backbone's."""

    def split(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        places = {name: NAME.match(name) for name in state}
        learned = {f"adapters.{found[1]}.{found[2]}": state[name] for name, found in places.items() if found}
        if not learned:
            return None
        return learned, {SAM.sub("", name): state[name] for name, found in places.items() if not found}

    def join(self, learned: dict[str, Tensor], backbone: dict[str, Tensor]) -> dict[str, Any]:
        """Return the content of the authors' file, which holds no backbone."""
        state = {}
        for name, value in learned.items():
            _, block, rest = name.split(".", 2)
            state[f"sam.image_encoder.trunk.blocks.{block}.adapter.{rest}"] = value
        return {"model": state}
