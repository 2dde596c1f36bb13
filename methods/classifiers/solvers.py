"""Classifiers on fixed features, and the linear heads that fine-tuning starts from (fort.md §6, §7).

Shapes: B support features (B, D), M query features (M, D), labels (B,) in 0..n-1, n ways; scores (M, n).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from torch import Tensor

from fsbench.networks.ops.crammer_singer import crammer_singer

Solver = Literal["nn", "ridge", "svm", "protonet", "r2d2", "metaoptnet"]
HeadKind = Literal["protonet", "r2d2", "metaoptnet"]

RIDGE_ALPHA = 1.0  # §6
SVM_C = 1.0  # §6
R2D2_RIDGE = 50.0  # §6
PROTONET_SCALE = 4000.0
"""Divides the weights of a head of prototypes, whose scores would otherwise saturate a softmax (§7)."""


def class_means(support: Tensor, labels: Tensor, ways: int) -> Tensor:
    """Return the mean feature of every class, (n, D)."""
    onehot = F.one_hot(labels, ways).to(support.dtype)
    return onehot.T @ support / onehot.sum(0)[:, None]


def protonet_scores(support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
    """Return ProtoNet's scores: negative squared distances to the class means, without a temperature."""
    means = class_means(support, labels, ways)
    return -(query.square().sum(1, keepdim=True) - 2 * query @ means.T + means.square().sum(1))


def r2d2_weights(support: Tensor, labels: Tensor, ways: int) -> Tensor:
    """Solve ridge regression to one-hot labels in its B x B form; returns weights (D, n)."""
    gram = support @ support.T + R2D2_RIDGE * torch.eye(len(support), dtype=support.dtype, device=support.device)
    return support.T @ torch.linalg.solve(gram, F.one_hot(labels, ways).to(support.dtype))


def metaoptnet_weights(support: Tensor, labels: Tensor, ways: int) -> Tensor:
    """Solve Crammer and Singer's support vector machine; returns weights (D, n), without gradient."""
    with torch.no_grad():
        wide = support.double()
        solution = crammer_singer((wide @ wide.T)[None], labels[None], ways)[0]
        return (wide.T @ solution).to(support.dtype)


def classify(solver: Solver, support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
    """Classify the queries of one episode; returns labels (M,), int64."""
    if solver == "protonet":
        return protonet_scores(support, labels, query, ways).argmax(1)
    if solver == "r2d2":
        return (query @ r2d2_weights(support, labels, ways)).argmax(1)
    if solver == "metaoptnet":
        return (query @ metaoptnet_weights(support, labels, ways)).argmax(1)
    fitted = scikit_model(solver, support, labels)
    return torch.from_numpy(fitted.predict(query.cpu().numpy())).to(query.device)


def scikit_model(
    solver: Literal["nn", "ridge", "svm"], support: Tensor, labels: Tensor
) -> KNeighborsClassifier | RidgeClassifier | SVC:
    """Fit scikit-learn's classifier with the paper's settings.

    The SVM's `predict` is its one-vs-one vote; the largest one-vs-rest value can belong to another class.
    """
    model = {
        "nn": lambda: KNeighborsClassifier(n_neighbors=1),
        "ridge": lambda: RidgeClassifier(alpha=RIDGE_ALPHA),
        "svm": lambda: SVC(C=SVM_C, kernel="rbf", gamma="scale"),
    }[solver]()
    return model.fit(support.cpu().numpy(), labels.cpu().numpy())


def initial_head(
    kind: HeadKind, support: Tensor, labels: Tensor, ways: int, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return the weight (n, D) and bias (n,) that a linear head starts from (§7).

    Args:
        kind: solver of the head.
        support, labels, ways: support features (B, D), their labels (B,), and n.
        temperature: multiplies the weight of R2D2's and MetaOptNet's head. The loss divides the scores by it, so the
            predictions stay; only the size of the gradients on the features changes against that on the head.
    """
    if kind == "protonet":
        means = class_means(support, labels, ways)
        return 2 * means / PROTONET_SCALE, -means.square().sum(1) / PROTONET_SCALE
    solve = {"r2d2": r2d2_weights, "metaoptnet": metaoptnet_weights}[kind]
    weight = temperature * solve(support, labels, ways).T
    return weight, torch.zeros(ways, dtype=weight.dtype, device=weight.device)
