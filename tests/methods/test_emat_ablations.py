"""EMAT's ablations: channels of the correlation, and heads of the attention one after the other."""

import pytest
import torch

from fsbench.methods.emat import EMAT
from fsbench.networks.backbones.base import BackboneConfig
from tests.methods.small import data, episode


def emat(**options):
    torch.manual_seed(0)
    return EMAT(BackboneConfig("demo"), **{"support_side": 8} | options).eval()


def test_channels_are_heads_layers_or_those_of_the_last_layer(blocks_folder):
    found, whole, layers, last = (
        episode(data(blocks_folder, 64)), emat(), emat(correlation="layers"), emat(correlation="last_layer")
    )  # fmt: skip
    depth, heads = whole.backbone.depth, whole.backbone.heads
    assert [method.channels for method in (whole, layers, last)] == [depth * heads, depth, heads]
    row = int(found.query[0])
    with torch.no_grad():
        query, of_layers, of_last = (method._query(found, row) for method in (whole, layers, last))
        support, layer_support, last_support = (method._support(found, row) for method in (whole, layers, last))
    # channels are head-major, so those of the last layer are each head's last
    assert torch.equal(of_last, query[depth - 1 :: depth]) and torch.equal(last_support, support[depth - 1 :: depth])
    assert of_layers.shape[0] == depth and of_layers.shape[-1] == heads * query.shape[-1]
    torch.testing.assert_close(of_layers.norm(dim=-1), torch.ones(of_layers.shape[:-1]))
    assert layer_support.shape[0] == depth
    for method in (layers, last):
        with torch.no_grad():
            assert method(found).label_map.shape == tuple(found.query_sizes[0].tolist())


@pytest.mark.parametrize("backend", ["packed", "fused"])
def test_heads_one_after_the_other_answer_alike_and_learn_alike(blocks_folder, backend, monkeypatch):
    monkeypatch.setenv("FSBENCH_ATTENTION", backend)
    together, sequential = emat(), emat(attention_heads="sequential")
    sequential.load_state_dict(together.state_dict())
    found = episode(data(blocks_folder, 64, shot=2))
    with torch.no_grad():
        torch.testing.assert_close(together(found).logits, sequential(found).logits, atol=2e-5, rtol=2e-5)
    batch = next(iter(data(blocks_folder, 64).train_dataloader()))
    for method in (together, sequential):
        method.batch_loss(batch)["loss"].backward()
    own = dict(sequential.named_parameters())
    for name, parameter in together.named_parameters():
        largest = float(parameter.grad.abs().max())
        torch.testing.assert_close(own[name].grad, parameter.grad, atol=1e-4 * largest + 1e-8, rtol=0)


def test_checkpoints_tell_channels():
    assert emat().checkpoint_settings() == {"support_side": 8, "class_token": True}
    assert emat(correlation="layers").checkpoint_settings()["correlation"] == "layers"
    assert "attention_heads" not in emat(attention_heads="sequential").checkpoint_settings()
