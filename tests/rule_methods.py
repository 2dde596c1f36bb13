"""Small methods that each break one rule of `tests/test_rules_at_doors.py`; the command line takes them as a file."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.adaptation import Adaptation
from fsbench.core.answering import THREADS
from fsbench.core.needs import Needs
from fsbench.core.released_format import ReleasedFormat
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import Truth
from fsbench.networks.backbones.base import BackboneConfig


class Lin(Segmenter):
    """Prototypes on a learned projection of tokens; sound."""

    shots = "average"
    step_is_a_mean = True

    def __init__(self, backbone: BackboneConfig, dropout: float = 0.0, tau: float = 1.0):
        super().__init__(backbone)
        self.tau = tau
        self.head = nn.Linear(self.backbone.width, 16, bias=False)
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.drop = nn.Dropout(dropout)

    def checkpoint_settings(self) -> dict[str, Any]:
        return {"tau": self.tau}

    def query(self, image: Tensor) -> Tensor:
        return F.normalize(self.drop(self.head(image[:, -1, 1:])), dim=-1)

    def support(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.query(image)
        share = F.adaptive_avg_pool2d(mask.float(), round(tokens.shape[1] ** 0.5)).flatten(1)
        rest, own = (F.normalize(torch.einsum("bt,btc->bc", w, tokens), dim=-1) for w in (1 - share, share))
        return rest, own

    def segment(self, query: Tensor, support: tuple[Tensor, Tensor]) -> Tensor:
        side = round(query.shape[1] ** 0.5)
        near = torch.stack([(query * one[:, None]).sum(-1) for one in support], 1)
        return self.scale * self.tau * near.unflatten(2, (side, side))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 1e-2)


class Ready(Lin):
    """Needs no training."""

    learns = False

    def __init__(self, backbone: BackboneConfig):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            super().__init__(backbone)


class Draws(Ready):
    """Dropout that `eval` does not end."""

    def query(self, image: Tensor) -> Tensor:
        return F.normalize(F.dropout(image[:, -1, 1:], 0.5, training=True), dim=-1)


class Annotates(Ready):
    needs = Needs(annotation_option="--model.annotation")


class TakesBoxes(Ready):
    needs = Needs(hints=frozenset({"boxes"}))


class OneShot(Ready):
    def check_shots(self, test: int, training: int | None) -> None:
        if test != 1:
            raise SettingsError(f"the test has {test} shots, expected 1")


class NotFinite(Ready):
    def segment(self, query: Tensor, support: tuple[Tensor, Tensor]) -> Tensor:
        return super().segment(query, support) * torch.nan


class AnotherGenerator(Lin):
    """Draws from numpy in its loss, and is otherwise `Lin`."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) * np.random.rand()


class ForgetsSuper(Lin):
    """Has hooks of its own for checkpoints, which do not call those of its base class."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["own"] = 1

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.own = checkpoint.get("own")


ForgetsSuper.registry_name = "lin"


class NotFiniteLoss(Lin):
    def loss(self, output: Any, target: Any) -> dict[str, Tensor]:
        return {"loss": super().loss(output, target)["loss"] * torch.nan}


class SumOfABatch(Lin):
    """Says that its step is a mean, and is a sum."""

    def batch_loss(self, batch: Any) -> dict[str, Tensor]:
        return {"loss": super().batch_loss(batch)["loss"] * len(batch)}


class Writes(Ready):
    """Writes to the features that it is given."""

    def query(self, image: Tensor) -> Tensor:
        return super().query(image.mul_(2))


class Renumbers(Ready):
    """Writes to the numbers of a batch's episodes."""

    def answer_batch(self, batch: Any) -> list[Any]:
        answers = super().answer_batch(batch)
        batch.episodes.add_(100)
        return answers


class AnswersFewer(Ready):
    def answer_batch(self, batch: Any) -> list[Any]:
        return super().answer_batch(batch)[1:]


class AnswersSmaller(Ready):
    def answers(self, episodes: Any) -> list[Any]:
        found = super().answers(episodes)
        for answer in found:
            object.__setattr__(answer, "label_map", answer.label_map[1:])
        return found


class Looks(Ready):
    """Looks for the truth, which no batch has."""

    def answer_batch(self, batch: Any) -> list[Any]:
        assert not isinstance(batch.truth, Truth)
        return super().answer_batch(batch)


class Counts(Ready):
    """Answers between the begin and the end of a test alone."""

    begun = 0

    def begin_test(self, data: Any) -> None:
        super().begin_test(data)
        self.begun += 1

    def end_test(self) -> None:
        super().end_test()
        self.begun -= 1

    def answer_batch(self, batch: Any) -> list[Any]:
        assert self.begun == 1
        return super().answer_batch(batch)


class Switched(Ready):
    """Answers with the threads of an evaluation, and without TF32, alone."""

    def answer_batch(self, batch: Any) -> list[Any]:
        assert torch.get_num_threads() == THREADS
        assert not torch.backends.cudnn.allow_tf32 and torch.get_float32_matmul_precision() == "highest"
        return super().answer_batch(batch)


class Trains(Ready):
    """Answers in eval mode alone."""

    def support(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        assert not self.training
        return super().support(image, mask)


class Hides(Ready):
    """Computes with a layer that is no part of it, so that eval() does not reach it."""

    def __init__(self, backbone: BackboneConfig):
        super().__init__(backbone)
        self.hidden = [nn.BatchNorm1d(self.backbone.width)]

    def query(self, image: Tensor) -> Tensor:
        self.hidden[0](image[:, -1, 1:].flatten(0, 1))
        return super().query(image)


def network() -> nn.Module:
    """Return a network that answers an episode, in training mode, with dropout and statistics of batches."""
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout2d(0.5))

        @torch.no_grad()
        def forward(self, episode: Any) -> Any:
            image = torch.from_numpy(episode.query.copy()).permute(2, 0, 1)[None].float() / 255
            return (self.layers(image)[0].mean(0) > 0.1).numpy().astype("uint8")

    return Net()


def hidden() -> Callable[[Any], Any]:
    """Return a function that answers by a network in training mode, which it keeps in a list in a dict."""
    kept = {"networks": [network()]}
    return lambda episode: kept["networks"][0](episode)


def layers(module: nn.Module) -> Iterator[bytes]:
    """Yield the bytes of a module's parameters and buffers."""
    for value in module.state_dict().values():
        yield value.detach().numpy().tobytes()


class Stated(Lin):
    """Its authors' program states the size of images beside a checkpoint."""

    released_format = ReleasedFormat(stated=lambda path: {})


class Adapts(Ready):
    needs = Needs(adaptation=Adaptation())
