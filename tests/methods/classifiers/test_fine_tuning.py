"""Adapters, FORT's prompt step, and the tuning of an episode: what the goldens do not say."""

import numpy as np
import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from fsbench.methods.classifiers import adapters as _adapters
from fsbench.methods.classifiers.fort import attention_logits, attention_loss, position_prompts, weighted_focus
from fsbench.methods.classifiers.tuning import visiting_order

VIT = dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=0)
SWIN = dict(img_size=56, patch_size=4, embed_dim=12, depths=(2, 2), num_heads=(2, 4), window_size=7, num_classes=0)


def small(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return (VisionTransformer(**VIT) if kind == "vit" else SwinTransformer(**SWIN, drop_path_rate=0.0)).eval()


def images(kind: str, count: int = 4) -> torch.Tensor:
    side = {"vit": 32, "swin": 56}[kind]
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("network", "tuning", "parameters", "tensors"),
    [
        ("vit", "lora", 221_184, 48),
        ("vit", "ssf", 205_824, 148),
        ("vit", "vpt", 92_160, 1),
        ("vit", "full", 85_798_656, 150),
        ("swin", "lora", 105_984, 48),
        ("swin", "ssf", 104_448, 156),
        ("swin", "full", 27_519_354, 171),
    ],
)
def test_trained_parameters_are_the_papers(network, tuning, parameters, tensors):
    """Of ViT-B/16 and Swin-T (fort.md §13)."""
    with torch.device("meta"):
        encoder: nn.Module = (
            VisionTransformer(num_classes=0)
            if network == "vit"
            else SwinTransformer(num_classes=0, embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24))
        )
        _adapters.insert(encoder, tuning)
    trained = [p for p in encoder.parameters() if p.requires_grad]
    assert (sum(p.numel() for p in trained), len(trained)) == (parameters, tensors)


@pytest.mark.parametrize("kind", ["vit", "swin"])
@pytest.mark.parametrize("tuning", ["lora", "ssf"])
def test_an_adapter_starts_as_nothing_and_is_reset_to_it(kind, tuning):
    encoder, x = small(kind), images(kind)
    with torch.no_grad():
        before = encoder(x)
        _adapters.insert(encoder, tuning)
        assert torch.equal(encoder(x), before)
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
        assert not torch.allclose(encoder(x), before)
        _adapters.reset(encoder)
        assert torch.equal(encoder(x), before)


def test_prompts_of_a_block_replace_those_of_the_block_before():
    encoder, x = small("vit"), images("vit")
    _adapters.insert(encoder, "vpt")
    seen = []
    for block in encoder.blocks:
        block.register_forward_hook(lambda block, args, out: seen.append((args[0], out)))
    with torch.no_grad():
        encoder(x)
    prompts = encoder.prompts.deep_prompt_embeddings
    patches = 1 + (32 // 8) ** 2
    for index, (entered, left) in enumerate(seen):
        assert entered.shape[1] == left.shape[1] == patches + _adapters.PROMPTS
        assert torch.equal(entered[0, 1:11], prompts[index])
    assert torch.equal(seen[1][0][:, 11:], seen[0][1][:, 11:]) and torch.equal(seen[1][0][:, 0], seen[0][1][:, 0])
    assert float(prompts.detach().abs().max()) <= encoder.prompts.bound


@pytest.mark.parametrize("kind", ["vit", "swin"])
def test_logits_are_those_the_network_attends_with(kind):
    """Their softmax is what the unfused attention multiplies its values by."""
    encoder, x = small(kind), images(kind)
    attention = (encoder.blocks if kind == "vit" else encoder.layers[-1].blocks)[-1].attn
    attention.fused_attn = False
    weights = []
    attention.attn_drop.register_forward_hook(lambda m, args, out: weights.append(args[0]))
    with torch.no_grad(), attention_logits(encoder) as stages:
        encoder(x)
        logits = stages[-1]()
    if kind == "vit":  # without the key of the class token: the same odds among the others
        found, expected = logits.softmax(-1), weights[0][..., 1:] / weights[0][..., 1:].sum(-1, keepdim=True)
    else:
        found, expected = logits.flatten(0, 1).softmax(-1), weights[0]
    assert torch.allclose(found, expected, atol=1e-6)


def test_the_prompt_step_leaves_the_network_as_it_was():
    encoder, x = small("vit"), images("vit")
    head = nn.Linear(24, 2)
    fused = [block.attn.fused_attn for block in encoder.blocks]
    position_prompts(encoder, head, x, torch.tensor([0, 0, 1, 1]), 4)
    assert [block.attn.fused_attn for block in encoder.blocks] == fused
    hooks = [m._forward_hooks or m._forward_pre_hooks for m in encoder.modules()]
    assert not any(hooks) and all(p.grad is None for p in [*encoder.parameters(), *head.parameters()])


def test_focus_keeps_p_patches_that_sum_to_p():
    importance = torch.rand(5, 16, generator=torch.Generator().manual_seed(2))
    focus = weighted_focus(importance, 6)
    assert ((focus > 0).sum(1) == 6).all() and torch.allclose(focus.sum(1), torch.full((5,), 6.0))
    assert torch.equal(focus.argmax(1), importance.argmax(1))


def test_the_attention_term_is_smallest_where_attention_is_the_focus():
    focus = torch.tensor([[0.5, 0.3, 0.2]])
    best = focus.log()[:, None, None].expand(1, 2, 4, 3)
    least = float(attention_loss([best], [focus], 1.0))
    assert least == pytest.approx(float(-(focus * focus.log()).sum()), rel=1e-6)
    other = best + torch.randn(best.shape, generator=torch.Generator().manual_seed(3))
    assert float(attention_loss([other], [focus], 1.0)) > least


def test_every_image_is_visited_once_in_an_epoch():
    steps = list(visiting_order(10, 5, 3, np.random.default_rng(0)))
    assert [len(step) for step in steps] == [5] * 6
    for epoch in range(3):
        assert sorted(torch.cat(steps[2 * epoch : 2 * epoch + 2]).tolist()) == list(range(10))
