"""DCAMA beyond its goldens: sizes, variants, shots, sampled support pixels, explanations."""

import weakref

import pytest
import torch
import torch.nn.functional as F

from fsbench.core.outputs import Context
from fsbench.methods.dcama.attention import MaskAttention, Positions, balanced_sample, position_table, resize_mask
from fsbench.methods.dcama.dcama import DCAMA
from fsbench.methods.dcama.head import DCAMAHead
from fsbench.methods.dcama.options import HeadOptions
from fsbench.networks.ops import mask_value_attention
from tests.methods.small import chosen
from tests.methods.small import pyramid as small_pyramid

pytestmark = pytest.mark.usefixtures("pyramids")


@pytest.fixture
def data(episodes):
    return episodes(64, 6)


@pytest.mark.parametrize(
    ("channels", "blocks", "count"),
    [
        ((256, 512, 1024, 2048), (3, 4, 6, 3), 14_215_394),
        ((256, 512, 1024, 2048), (3, 4, 23, 3), 14_222_194),
        ((128, 256, 512, 1024), (2, 2, 18, 2), 5_073_394),
    ],
    ids=["resnet50", "resnet101", "swin_base"],
)
def test_parameter_counts_of_the_paper(channels, blocks, count):
    with torch.device("meta"):
        head = DCAMAHead(channels, blocks)
    assert sum(p.numel() for p in head.parameters()) == count
    assert not any(name.startswith("pe") for name in head.state_dict())


def test_both_projections_start_alike():
    head = DCAMAHead((8, 16, 16, 16), (1, 1, 1, 1))
    for block in head.DCAMA_blocks.values():
        first, second = block.linears
        assert torch.equal(first.weight, second.weight) and torch.equal(first.bias, second.bias)
        assert first.weight is not second.weight


def test_the_optimiser_is_the_papers():
    (group,) = (optimizer := DCAMA(small_pyramid()).configure_optimizers()).param_groups
    assert isinstance(optimizer, torch.optim.SGD)
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (1e-3, 0.9, True, 1e-4)


def pyramid(shots=None, seed=0, side=64):
    generator = torch.Generator().manual_seed(seed)
    lead = (2,) if shots is None else (2, shots)
    shapes = [(1, 8, side // 4), (2, 16, side // 8), (1, 16, side // 16), (1, 32, side // 32)]
    return [torch.randn(*lead, depth, width, s, s, generator=generator) for depth, width, s in shapes]


def head(**options):
    torch.manual_seed(0)
    return DCAMAHead((8, 16, 16, 32), (1, 2, 1, 1), HeadOptions(**options)).eval()


def masks(shots=1):
    found = torch.zeros(2, shots, 64, 64)
    found[:, :, 10:40, 20:50] = 1
    return found


@pytest.mark.parametrize("skips", [(), (8,), (4, 16), (4, 8, 16)])
@pytest.mark.parametrize("skip_support", [True, False])
def test_skips_widen_the_first_mixer(skips, skip_support):
    net = head(skip_scales=skips, skip_support=skip_support)
    width = {4: 8, 8: 16}
    sides = 2 if skip_support else 1
    assert net.mixer1[0].in_channels == 128 + sides * sum(width[s] for s in skips if s in width)
    query, support = pyramid(), pyramid(1, seed=1)
    logits = net(query, support, masks())
    assert logits.shape == (2, 2, 64, 64)
    for scale, index in ((4, 0), (8, 1), (16, 2)):
        changed = [s.clone() for s in support]
        changed[index][:, :, -1] += 1.0  # the last block of the scale
        decoded = net.decode(net.coarse_masks(query, support, masks()), query, changed)
        assert torch.equal(decoded, logits) == (not skip_support or scale not in skips)


@pytest.mark.parametrize("options", [{}, {"attn_scales": (32,), "skip_scales": (4, 8, 16)}, {"skip_support": False}])
def test_shots_that_are_read_one_by_one_answer_as_all_at_once(options):
    net, query, support, mask = head(**options), pyramid(), pyramid(3, seed=1), masks(3)
    mask[:, 1] = mask[:, 1].flip(-1)
    held: list[weakref.ref] = []

    def shots():
        for k in range(3):
            assert not [ref for ref in held if ref() is not None], "a shot is held when the next one comes"
            shot = [level[:, k].clone() for level in support]
            held.extend(map(weakref.ref, shot))
            yield shot, mask[:, k]
            del shot

    with torch.no_grad():
        assert net.joins_shots()
        logits, coarse = net.segment(query, support, mask)
        joined, parts = net.segment_shots(query, shots(), net.project_query(query))
    assert len(held) == 12
    torch.testing.assert_close(parts, coarse, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(joined, logits, atol=2e-5, rtol=1e-4)
    assert not net.joins_shots() and not head(support_pixels=6).joins_shots()  # a gradient; pixels of all shots


@pytest.mark.parametrize(
    "options", [{}, {"attn_scales": (16, 32)}, {"skip_scales": (8,)}, {"skip_scales": ()}], ids=str
)
def test_the_fast_paths_equal_the_plain_one_with_gradients_and_dropout(options, monkeypatch):
    results = []
    for path in ("reference", "chunked"):
        monkeypatch.setenv("FSBENCH_MASK_ATTENTION", path)
        net = head(**options).train()
        torch.manual_seed(3)
        logits = net(pyramid(), pyramid(1, seed=1), masks())
        logits.square().mean().backward()
        results.append([logits, *(p.grad for p in net.parameters())])
    for plain, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, atol=2e-5, rtol=1e-3)


def test_a_training_step_drops_where_the_authors_do_and_nowhere_else(monkeypatch):
    """Against the rule written out, with the same seeded masks: tokens with their positions, and attention weights."""
    monkeypatch.setenv("FSBENCH_MASK_ATTENTION", "reference")

    def kept(kind, number, like):
        drawn = torch.Generator().manual_seed(1000 * number + kind)
        return torch.randint(0, 2, like.shape, generator=drawn).to(like) * 2

    def step(net, calls):
        net = net.double().train()
        logits = net(*([x.double() for x in maps] for maps in (pyramid(), pyramid(2, seed=1))), masks(2).double())
        loss = F.cross_entropy(logits, masks()[:, 0].long())
        loss.backward()
        return loss, {name: p.grad for name, p in net.named_parameters()}, calls

    def dropped(x, p=0.5, training=True, inplace=False):
        assert (p, training) == (0.5, True)
        calls["tokens"] += 1
        return x * kept(0, calls["tokens"], x)

    def factors(weights, dropout, *place):
        calls["weights"] += 1
        return kept(1, calls["weights"], weights)

    def plain_positions(self, tokens):
        calls["tokens"] += 1
        placed = tokens + position_table(tokens.shape[-1], self.channels).T
        return placed * kept(0, calls["tokens"], placed)

    def plain_attention(self, query, support, value):
        calls["weights"] += 1
        split = (len(query), self.heads, -1)
        q, k = (
            linear(x.mT).mT.reshape(*split, x.shape[-1]).flatten(0, 1)
            for linear, x in zip(self.linears, (query, support), strict=True)
        )
        weights = (q.mT @ k / q.shape[1] ** 0.5).softmax(-1)
        weights = weights * kept(1, calls["weights"], weights)
        return (weights @ value.to(weights).repeat_interleave(self.heads, 0)[..., None]).view(*split).mean(1)

    with monkeypatch.context() as patch:
        calls = {"tokens": 0, "weights": 0}
        patch.setattr(F, "dropout", dropped)
        patch.setattr(mask_value_attention, "_dropout_factors", factors)
        ours = step(head(), calls)
    with monkeypatch.context() as patch:
        calls = {"tokens": 0, "weights": 0}
        patch.setattr(F, "dropout", lambda x, *rest: x)
        patch.setattr(Positions, "forward", plain_positions)
        patch.setattr(MaskAttention, "forward", plain_attention)
        plain = step(head(), calls)
    assert ours[2] == plain[2] == {"tokens": 6, "weights": 3}  # a scale each: query and supports, one attention
    torch.testing.assert_close(ours[0], plain[0], atol=1e-10, rtol=0)
    for name, gradient in plain[1].items():
        torch.testing.assert_close(ours[1][name], gradient, atol=1e-10, rtol=1e-8)


def test_zeroed_background_is_the_mask_on_the_support_alone():
    query, support = pyramid(), pyramid(1, seed=1)
    everything = torch.ones(2, 1, 64, 64)
    kept, zeroed = head(), head(support_background="zero")
    assert torch.equal(kept(query, support, everything), zeroed(query, support, everything))
    assert not torch.allclose(kept(query, support, masks()), zeroed(query, support, masks()))


def test_support_pixels_are_balanced_and_the_same_in_every_evaluation():
    values = torch.cat([torch.ones(5), torch.zeros(40)])
    drawn = balanced_sample(values, 8, torch.Generator().manual_seed(0))
    assert (values[drawn[:8]] == 1).all() and (values[drawn[8:]] == 0).all()
    assert len(set(drawn[8:].tolist())) == 8  # enough of these: none twice
    assert (balanced_sample(torch.zeros(4), 3, None) < 4).all()  # no foreground at all
    method = DCAMA(small_pyramid(), support_pixels=6).eval()
    arguments = [torch.randn(1, 1, 16, 16, 16), torch.randn(1, 2, 32, 8, 8), torch.randn(1, 1, 32, 4, 4)]
    arguments.append(torch.randn(1, 1, 64, 2, 2))
    support = method.support(arguments, masks()[:1, 0])

    def logits(number):
        method.context = Context(masks().shape[-1], (number,))
        return method.segment(method.query(arguments), iter([support])).logits

    first, again, other = logits(4), logits(4), logits(5)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_pixels_attention_is_what_its_coarse_mask_is_averaged_with():
    method = DCAMA(small_pyramid(), heads=2).eval()
    generator = torch.Generator().manual_seed(3)
    shapes = [(1, 16, 16, 16), (2, 32, 8, 8), (1, 32, 4, 4), (1, 64, 2, 2)]
    query = [torch.randn(1, *shape, generator=generator) for shape in shapes]
    support = [torch.randn(1, 2, *shape, generator=generator) for shape in shapes]
    coarse = method.model.coarse_masks(query, support, masks(2)[:1])
    for scale, (row, column) in {8: (5, 2), 16: (1, 3), 32: (0, 1)}.items():
        weights = method.model.attention_row(scale, query, support, masks(2)[:1], row, column)
        values = resize_mask(masks(2)[:1], *weights.shape[-2:])
        assert torch.allclose(weights.sum((1, 2, 3)), torch.ones(len(weights)))
        assert torch.allclose((weights * values).sum((1, 2, 3)), coarse[scale][0, :, row, column], atol=1e-6)


def test_what_is_explained_of_sampled_support_pixels_is_what_was_predicted_with(data):
    method = DCAMA(small_pyramid(), support_pixels=6, heads=2).eval()
    episode = next(iter(data.test_dataloader())).without_truth()
    seen = []
    method.model.conv3.register_forward_pre_hook(lambda module, args: seen.append(args[0][0]))
    one = chosen(episode, ways=(0,))
    for _ in range(2):
        method(one)
    assert torch.equal(*seen)
    attention = method.support_attention(episode, 10 / 64, 20 / 64)["attention"]
    assert attention.shape == (2, 64, 64)
    query = method.features(episode, episode.query)
    support = [scale[None] for scale in method.features(episode, episode.support[0, 0], supports=True)]
    masks = episode.support_masks[0, :1]
    rows = {s: method.model.attention_row(s, query, support, masks, 10 // s, 20 // s) for s in method.model.names}
    enlarged = [F.interpolate(row, (64, 64), mode="bilinear", align_corners=True) for row in rows.values()]
    assert torch.equal(attention, torch.cat(enlarged).mean(0))


def test_the_pixels_that_are_drawn_for_a_way_do_not_depend_on_the_other_ways(data):
    method = DCAMA(small_pyramid(), support_pixels=6, heads=2).eval()
    episode = next(next(iter(data.test_dataloader())).split()).without_truth()
    with torch.no_grad():
        both, turned, alone = (method(chosen(episode, ways=ways)).logits for ways in ((0, 1), (1, 0), (0,)))
    assert torch.equal(both, turned.flip(0)) and torch.equal(both[:1], alone) and not torch.equal(both[0], both[1])


def test_the_attention_of_a_prediction_is_the_mean_of_its_coarse_masks(data):
    """The mean of all blocks, each enlarged by weights of its rows and columns between its corner cells."""
    method = DCAMA(small_pyramid(), heads=2).eval()
    episode = next(iter(data.test_dataloader())).without_truth()
    one = chosen(episode, ways=(0,))
    method.keeps_soft_masks = True
    with torch.no_grad():
        prediction = method.predict_shots(one)
        query = method.features(one, one.query)
        support = [scale[None] for scale in method.features(one, one.support[0, 0], supports=True)]
        coarse = {s: m[0] for s, m in method.model.coarse_masks(query, support, one.support_masks[0, :1]).items()}
    total, blocks = torch.zeros(8, 8), 0
    for masks_of_scale in coarse.values():
        place = torch.linspace(0, masks_of_scale.shape[-1] - 1, 8)
        weights = (1 - (place[:, None] - torch.arange(masks_of_scale.shape[-1])).abs()).clamp(min=0)
        for mask in masks_of_scale:
            total += weights @ mask @ weights.T
            blocks += 1
    assert blocks == 4 and prediction.attention.shape == (1, 8, 8) and prediction.attention.std() > 0
    torch.testing.assert_close(prediction.attention[0], total / blocks)


def test_dcamas_tables_of_positions_stand_where_the_authors_have_them():
    learned = DCAMA(small_pyramid()).state_dict()
    names = list(DCAMA.released_format.complete(learned))
    tables = [name for name in names if name.startswith("model.pe.")]
    assert tables == [f"model.pe.{i}.pe" for i in range(3)]
    assert names.index(tables[0]) == 12 and names.index("model.conv1.0.weight") == 15
