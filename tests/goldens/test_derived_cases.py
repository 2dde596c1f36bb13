"""The command on cases that hold less, or more, than those in the repository, derived from a small one of each kind."""

import dataclasses
import json

import pytest
import torch

from tests.goldens.harness import Case, run
from tests.goldens.kinds.fort import gradient_weight
from tests.goldens.test_goldens import HERE

CASES = {
    "emat": "cst_attention_1 downscale_2 efficient_attention_2 feed_forward_0 mask_tokens "
    " posembed_true preprocess threshold_rules vit_tiny",
    "dcama": "mha_small mha_dropout mha_true ensembles ablation_background_zero metrics_coco analysis",
    "classical": "proto_3w1s_empty pfenet_prior centerpivot_s1 hsnet_corr_vote",
    "hmnet": "selective_scan_4 srm_qim_op_small wgap_gram prior_maps kshot_reweight losses transforms vssm_small_scale",
    "fort": "heads_5w1s select_N16",
    "pspnet_training": "labels_pascal_0 augmentation validation_pascal",
}
SLOW = ["dcama/train_steps", "emat/learner_cst_reduced"]
FILES = [
    *(f"{subject}/{name}.safetensors" for subject, names in CASES.items() for name in names.split()),
    *(pytest.param(f"{name}.safetensors", marks=pytest.mark.slow) for name in SLOW),
]
RESULTS = ("mid.", "out.", "grad", "sum.")
WEIGHTS = ("in.w", "in.weight", "in.weight_last", "in.weight_s", "in.weight_q", "in.weight_qim", "in.loss_weight",
           "in.query_mask", "in.q_mask", "in.q_mask_bits", "in.presence")  # fmt: skip
"""Inputs that only a loss takes."""


def stored(file: str) -> Case:
    """The case of a file of the repository, read."""
    folder = HERE / file.partition("/")[0]
    entries = json.loads((folder / "index.json").read_text())["cases"]
    entry = next(entry for entry in entries if entry["file"] == file.partition("/")[2])
    case = Case(folder, entry)
    case.read()
    return case


def verdicts(case: Case, tensors: dict[str, torch.Tensor], **config) -> dict[str, bool]:
    """What the check says of the case with other tensors and settings."""
    entry = case.entry | ({"config": case.config | config} if config else {})
    derived = dataclasses.replace(case, entry=entry, tensors={k: v.clone() for k, v in tensors.items()}, checked=set())
    derived.read = lambda: None
    return {found.tensor: found.passed for found in run(derived)}


def is_loss(name: str) -> bool:
    return name.startswith("grad") or name.removeprefix("out.").startswith(("loss", "step")) or name in WEIGHTS


@pytest.mark.parametrize("file", FILES)
def test_a_case_may_hold_less_and_what_is_unknown_is_named(file):
    """Without intermediate values or results, with one result alone, without a loss; results of no kind are named."""
    case = stored(file)
    unknown = {f"{prefix}.something": torch.zeros(2) for prefix in ("out", "mid", "grad")}
    found = verdicts(case, case.tensors | unknown)
    assert {name for name, passed in found.items() if not passed} == {f"{name}: not checked" for name in unknown}
    results = [name for name in case.tensors if name.startswith(RESULTS)]
    rest = {
        "no intermediate values": [name for name in results if not name.startswith("mid.")],
        "intermediate values alone": [name for name in results if name.startswith("mid.")],
        "the first result alone": results[:1],
        "the last result alone": results[-1:],
    }
    for what, kept in rest.items():
        if kept and len(kept) < len(results):
            found = verdicts(case, {k: v for k, v in case.tensors.items() if k in kept or k not in results})
            assert found and all(found.values()), (what, found)
    without_loss = {k: v for k, v in case.tensors.items() if not is_loss(k)}
    if set(without_loss) & set(results) and len(without_loss) < len(case.tensors):
        found = verdicts(case, without_loss)
        assert found and all(found.values()), found


def test_the_weight_of_forts_gradient_is_the_cases_own():
    """Half the gradient at twice the weight is the same importance; another weight alone is not."""
    case = stored("fort/select_N16.safetensors")
    half = case.tensors | {"in.G": case.tensors["in.G"] / 2}
    assert verdicts(case, half, lambda_=2.0)["out.importance"]
    assert not verdicts(case, case.tensors, lambda_=2.0)["out.importance"]
    assert gradient_weight(case) == 1.0
    other = dataclasses.replace(case, entry=case.entry | {"config": {"lambda_": 0.25}})
    assert gradient_weight(other) == 0.25 and gradient_weight(other, {"lambda_": 3}) == 3
