"""Adapters, FORT's prompt step, and the tuning of an episode: what the goldens do not say."""

import numpy as np
import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from fsbench.methods.classifiers import adapters as _adapters
from fsbench.methods.classifiers.adapters import ClassTokenBlock, read_class_token_alone
from fsbench.methods.classifiers.fine_tuned import shared
from fsbench.methods.classifiers.fort import attention_logits, attention_loss, position_prompts, weighted_focus
from fsbench.methods.classifiers.tuning import LinearClassifier, Schedule, fine_tune, visiting_order

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


@pytest.mark.parametrize("tuning", ["full", "lora", "ssf", "vpt"])
def test_a_network_whose_class_token_alone_is_read_has_the_same_features_and_gradients(tuning):
    """Parameters keep their names, and attention that is read out is the same."""
    whole, alone, x = small("vit"), small("vit"), images("vit")
    read_class_token_alone(alone)
    assert isinstance(alone.blocks[-1], ClassTokenBlock) and not isinstance(alone.blocks[0], ClassTokenBlock)
    found = []
    for encoder in (whole, alone):
        torch.manual_seed(2)
        _adapters.insert(encoder, tuning)
        for parameter in encoder.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape)
        with attention_logits(encoder) as stages:
            features = encoder(x)
            logits = stages[0]()
        (features.square().sum() + logits.square().sum()).backward()
        found.append({name: p.grad for name, p in encoder.named_parameters() if p.requires_grad})
        found[-1] |= {"features": features, "logits": logits}
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)


def test_networks_that_read_more_or_drop_something_keep_their_last_block():
    others = ({"global_pool": "avg"}, {"qk_norm": True}, {"drop_path_rate": 0.1}, {"attn_drop_rate": 0.1})
    for encoder in (VisionTransformer(**VIT, **other) for other in (*others, {"proj_drop_rate": 0.1})):
        last = encoder.blocks[-1]
        read_class_token_alone(encoder)
        assert encoder.blocks[-1] is last
    read_class_token_alone(small("swin"))


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


def test_the_attention_term_turns_attention_to_the_focus():
    encoder, x = small("vit"), images("vit")
    labels = torch.tensor([0, 0, 1, 1])
    net = LinearClassifier(encoder, 24, 2)
    focus = position_prompts(encoder, net.head, x, labels, 4)
    _adapters.insert(encoder, "lora")
    schedule = Schedule("adamw", 3e-3, alpha=1.0)
    taken = list(fine_tune(net, schedule, x, labels, visiting_order(4, 4, 15, np.random.default_rng(0)), focus))
    terms = [loss - entropy for loss, entropy in taken]
    assert terms[-1] < terms[0] and taken[-1][1] < taken[0][1]


def test_no_two_gradients_exist_at_once_and_the_steps_are_those_of_a_plain_loop():
    """The weights are those of torch's usual loop, bit by bit."""
    x, labels = images("vit"), torch.tensor([0, 0, 1, 1])
    nets = [LinearClassifier(small("vit"), 24, 2) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    schedule, steps = Schedule("adamw", 1e-2), [torch.tensor([0, 2]), torch.tensor([1, 3]), torch.tensor([2, 3])]
    held = []
    nets[0].register_forward_pre_hook(lambda net, _: held.append([p.grad for p in net.parameters()]))
    for parameter in nets[0].parameters():
        parameter.grad = torch.ones_like(parameter)  # of before
    most = []
    for parameter in nets[0].parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda _: most.append(sum(p.grad is not None for p in nets[0].parameters()))
        )
    for _ in fine_tune(nets[0], schedule, x, labels, steps):
        pass
    nets[0](x)
    assert max(most) == 1 and len(held) == 4 and all(grad is None for gradients in held for grad in gradients)
    optimiser = schedule.build(nets[1].parameters())
    for step in steps:
        loss = nn.functional.cross_entropy(nets[1](x[step]), labels[step])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for found, plain in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(found, plain)


def test_the_first_weights_are_the_stored_ones_only_where_every_bit_agrees() -> None:
    stored = torch.tensor([0.0, torch.nan, -2.0])
    assert shared(stored.clone(), stored) is stored
    for other in (torch.tensor([-0.0, torch.nan, -2.0]), stored.half(), stored.clone()[None]):
        assert shared(other, stored) is other and shared(other, None) is other
    with torch.inference_mode():
        unreadable = stored.clone()
    assert shared(stored, unreadable) is stored
