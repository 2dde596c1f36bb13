"""Classifiers on frozen features: solvers, and a linear head that is trained in every episode (fort.md §6-§8).

Nearest neighbour, ridge regression, a support vector machine, and the solvers of ProtoNet, R2D2 and MetaOptNet; none of
them is meta-trained here. Fine-tuning starts from the heads that the last three solve.

Shapes: n ways, B support features (B, D) with labels (B,) in 0..n-1, M query features (M, D), scores (M, n).
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from torch import Tensor, nn

from fsbench.base.errors import SettingsError
from fsbench.core.classifier import FeatureClassifier
from fsbench.methods.classifiers.published_settings import tuning_notes
from fsbench.methods.classifiers.tuning import LinearClassifier, Schedule, check_positive, fine_tune, visiting_order
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.ops.crammer_singer import crammer_singer

Solver = Literal["nn", "ridge", "svm", "protonet", "r2d2", "metaoptnet"]
HeadKind = Literal["protonet", "r2d2", "metaoptnet"]

RIDGE_ALPHA = 1.0  # §6
SVM_C = 1.0  # §6
R2D2_RIDGE = 50.0  # §6
PROTONET_SCALE = 4000.0
"""Divides the weights of a head of prototypes, whose scores would otherwise saturate a softmax (§7)."""


class FrozenClassifier(FeatureClassifier):
    """Base of few-shot classifiers that are fitted to the supports' frozen features in every episode.

    Args:
        backbone: the frozen network.
        solver: classifier: "nn" (nearest neighbours), "ridge", "svm", "protonet", "r2d2" or "metaoptnet".
    """

    def __init__(self, backbone: BackboneConfig, solver: Solver):
        super().__init__(backbone)
        self.solver = solver

    def classify(self, query: Tensor, support: Tensor, labels: Tensor) -> Tensor:
        if self.solver in SCORES:
            return SCORES[self.solver](query, support, labels).argmax(1)
        named = scikit_model(self.solver, support, labels).predict(query.cpu().numpy())
        return torch.from_numpy(named).to(query.device)


class LinearProbe(FeatureClassifier):
    """Linear head trained by SGD on the supports' frozen features in every episode (§8).

    The head starts from torch's random weights; a batch has as many supports as the episode has classes.

    Args:
        backbone: the frozen network.
        learning_rate: learning rate of SGD, which has momentum 0.9, dampening 0.9 and weight decay 1e-3.
        epochs: passes over the supports.
    """

    tuning: ClassVar[str] = "head"
    head_kind: ClassVar[str] = "default"
    depends_on_way_order = True  # first weights are drawn and supports visited by their places

    def __init__(self, backbone: BackboneConfig, learning_rate: float = 1e-2, epochs: int = 20):  # §8
        super().__init__(backbone)
        check_positive("learning_rate", learning_rate)
        if epochs < 1:
            raise SettingsError(f"epochs is {epochs}, expected 1 or more")
        self.schedule = Schedule("sgd", learning_rate)
        self.epochs = epochs

    def record_notes(self, data: Any) -> list[str]:
        return tuning_notes(self, data)

    def num_trainable_parameters(self, ways: int) -> int:
        return (self.backbone.width + 1) * ways

    def classify(self, query: Tensor, support: Tensor, labels: Tensor) -> Tensor:
        ways = int(labels.max()) + 1
        with self.draws.seeded() as rng:
            head = LinearClassifier(nn.Identity(), self.backbone.width, ways).to(query.device)
            order = visiting_order(len(support), ways, self.epochs, rng)
            fine_tune(head, self.schedule, support, labels, order)
        return head(query).argmax(1)


def scikit_model(solver: str, support: Tensor, labels: Tensor) -> KNeighborsClassifier | RidgeClassifier | SVC:
    """Return scikit-learn's classifier, fitted to support features (B, D) and labels (B,) with the paper's settings.

    `solver` is "nn" (nearest neighbours), "ridge" or "svm". The SVM predicts by one-vs-one vote, which can differ from
    its largest one-vs-rest score.
    """
    model = {
        "nn": lambda: KNeighborsClassifier(n_neighbors=1),
        "ridge": lambda: RidgeClassifier(alpha=RIDGE_ALPHA),
        "svm": lambda: SVC(C=SVM_C, kernel="rbf", gamma="scale", random_state=0),  # else a number is drawn
    }[solver]()
    return model.fit(support.cpu().numpy(), labels.cpu().numpy())


def class_means(support: Tensor, labels: Tensor) -> Tensor:
    """Return the mean feature (n, D) of every class, from support features (B, D) with labels (B,) of 0..n-1."""
    onehot = F.one_hot(labels).to(support.dtype)
    return onehot.T @ support / onehot.sum(0)[:, None]


def protonet_scores(query: Tensor, support: Tensor, labels: Tensor) -> Tensor:
    """Return ProtoNet's class scores (M, n) of query features (M, D): negative squared distances to the class means.

    The means are computed from support features (B, D) with labels (B,) of 0..n-1. The scores have no temperature.
    """
    means = class_means(support, labels)
    return -(query.square().sum(1, keepdim=True) - 2 * query @ means.T + means.square().sum(1))


def r2d2_weights(support: Tensor, labels: Tensor) -> Tensor:
    """Return the weights (D, n) of ridge regression from support features (B, D) to one-hot labels (R2D2).

    The regression is solved in its dual form, with a B x B matrix.
    """
    gram = support @ support.T + R2D2_RIDGE * torch.eye(len(support), dtype=support.dtype, device=support.device)
    return support.T @ torch.linalg.solve(gram, F.one_hot(labels).to(support.dtype))


def metaoptnet_weights(support: Tensor, labels: Tensor) -> Tensor:
    """Return the weights (D, n) of Crammer and Singer's multi-class support vector machine (MetaOptNet).

    The machine is fitted to support features (B, D) and labels (B,) of 0..n-1; the weights carry no gradient.
    """
    with torch.no_grad():
        wide = support.double()
        solution = crammer_singer((wide @ wide.T)[None], labels[None], int(labels.max()) + 1)[0]
        return (wide.T @ solution).to(support.dtype)


SCORES: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "protonet": protonet_scores,
    "r2d2": lambda query, support, labels: query @ r2d2_weights(support, labels),
    "metaoptnet": lambda query, support, labels: query @ metaoptnet_weights(support, labels),
}
"""Functions from queries, supports and labels to scores, of solvers that scikit-learn lacks."""


def initial_head(kind: HeadKind, support: Tensor, labels: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return the weight (n, D) and bias (n,) that a linear head starts from (§7).

    Args:
        kind: how the head is computed: "protonet", "r2d2" or "metaoptnet".
        support, labels: support features (B, D) and their labels (B,).
        temperature: factor of the weight of R2D2's and MetaOptNet's head. The loss divides the scores by the same
            number, so predictions stay; only the ratio of the gradients on features and on head changes.
    """
    if kind == "protonet":
        means = class_means(support, labels)
        return 2 * means / PROTONET_SCALE, -means.square().sum(1) / PROTONET_SCALE
    solve = {"r2d2": r2d2_weights, "metaoptnet": metaoptnet_weights}[kind]
    weight = temperature * solve(support, labels).T
    return weight, torch.zeros_like(weight[:, 0])
