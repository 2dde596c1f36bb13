"""DCAMA and HSNet beyond their goldens: sizes, variants, shots, independence from the batch, checkpoints."""

from dataclasses import replace

import pytest
import torch

from datamodules.episodic import EpisodicDataModule
from datamodules.folder import Folder
from fsbench.backbones import VITS, BackboneConfig, state_digest
from fsbench.checkpoints import convert, load_checkpoint
from fsbench.episodes import collate
from fsbench.errors import CheckpointError, SettingsError
from fsbench.pyramids import PYRAMIDS, PyramidNet, new_network
from methods._mask_aggregation import DCAMAHead, HeadOptions, balanced_sample, resize_mask
from methods.cst import CST
from methods.dcama import DCAMA
from methods.emat import EMAT
from methods.hsnet import HSNet, HyperpixelLearner
from methods.prototype import Prototype

SMALL = PyramidNet(
    "resnet", dict(layers=(1, 2, 1, 1), channels=(4, 8, 8, 16)), (1, 2, 1, 1), (16, 32, 32, 64), 32, file="none.pth"
)


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.setitem(PYRAMIDS, "small", SMALL)
    monkeypatch.setitem(PYRAMIDS, "eight", replace(SMALL, multiple=8))
    tiny = dict(patch_size=8, embed_dim=24, depth=3, num_heads=2)
    vit = type(VITS["dinov2_vits14"])(tiny, table_side=4, file=str(tmp_path / "tiny.pth"))
    monkeypatch.setitem(VITS, "tiny", vit)


def backbone(weights="random:0", name="small"):
    return BackboneConfig(name, weights)


@pytest.fixture
def data(blocks_folder):
    return EpisodicDataModule(
        Folder(str(blocks_folder)), image_size=64, way=2, shot=2, episodes=6, batch_size=3, workers=0
    )


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


def test_hsnet_has_the_papers_parameters():
    with torch.device("meta"):
        assert sum(p.numel() for p in HyperpixelLearner([4, 6, 3]).parameters()) == 2_573_794


def test_both_projections_start_alike():
    head = DCAMAHead((8, 16, 16, 16), (1, 1, 1, 1))
    for block in head.DCAMA_blocks.values():
        first, second = block.linears
        assert torch.equal(first.weight, second.weight) and torch.equal(first.bias, second.bias)
        assert first.weight is not second.weight


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


@pytest.mark.parametrize("skips", [(), (4,), (8,), (16,), (4, 8), (4, 16), (8, 16), (4, 8, 16)])
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


@pytest.mark.parametrize("scales", [(8, 16, 32), (16, 32), (32,)])
def test_attended_scales(scales):
    net = head(attn_scales=scales)
    assert sorted(net.coarse_masks(pyramid(), pyramid(1), masks())) == sorted(scales)
    assert hasattr(net, "conv3") == (8 in scales) and hasattr(net, "conv2") == (16 in scales)
    assert net(pyramid(), pyramid(1, seed=1), masks()).shape == (2, 2, 64, 64)


def test_shots_are_a_set_and_repeating_them_changes_nothing():
    net, query, support = head(), pyramid(), pyramid(2, seed=1)
    mask = masks(2)
    mask[:, 1] = mask[:, 1].flip(-1)
    both = net(query, support, mask)
    turned = net(query, [s.flip(1) for s in support], mask.flip(1))
    torch.testing.assert_close(both, turned, atol=2e-5, rtol=1e-4)
    twice = net(query, [torch.cat([s, s], 1) for s in support], torch.cat([mask, mask], 1))
    torch.testing.assert_close(both, twice, atol=2e-5, rtol=1e-4)


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
    method = DCAMA(backbone(), support_pixels=6).eval()
    arguments = [torch.randn(1, 1, 16, 16, 16), torch.randn(1, 2, 32, 8, 8), torch.randn(1, 1, 32, 4, 4)]
    arguments.append(torch.randn(1, 1, 64, 2, 2))
    support = [a[:, None] for a in arguments]
    first, again, other = (
        method.logits(arguments, support, masks()[:1], torch.tensor([number])) for number in (4, 4, 5)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_pixels_attention_is_what_its_coarse_mask_is_averaged_with():
    method = DCAMA(backbone(), heads=2).eval()
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
    method = DCAMA(backbone(), support_pixels=6, heads=2).eval()
    episode = next(iter(data.test_dataloader())).without_truth()
    first, again = method.coarse_masks(episode), method.coarse_masks(episode)
    assert all(torch.equal(first[scale], again[scale]) for scale in first)
    seen = {}
    method.model.conv3.register_forward_pre_hook(lambda module, args: seen.update(coarse=args[0][0]))
    one = replace(episode, support=episode.support[:, :1], support_labels=episode.support_labels[:, :1])
    method(one)
    assert torch.equal(seen["coarse"], first[8])
    assert method.attention_of(episode, 10, 20).shape == (2, 64, 64)


def test_images_that_the_decoder_cannot_double_are_refused():
    with pytest.raises(SettingsError, match="image size 72 is not a multiple of 32"):
        DCAMA(BackboneConfig("eight", "random:0")).check_image_size(72)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 0}, "heads is 0, expected 1 or more"),
        ({"attn_scales": (8,)}, r"attn_scales is \[8\], expected \[32\], \[16, 32\] or \[8, 16, 32\]"),
        ({"skip_scales": (4, 32)}, r"skip_scales is \[4, 32\], expected some of 4, 8, 16"),
        ({"heads": 3}, "3 heads do not divide the 16 channels"),
        ({"dropout": 1.0}, "dropout is 1.0, expected"),
        ({"support_pixels": 0}, "support_pixels is 0, expected all"),
        ({"width": 40}, "width is 40, expected a multiple of 32"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(SettingsError, match=message):
        head(**options)


METHODS = {
    "dcama": lambda: DCAMA(backbone()),
    "hsnet": lambda: HSNet(backbone(), width=32),
}


@pytest.mark.parametrize("name", METHODS)
def test_results_do_not_depend_on_the_batch_or_on_what_came_before(name, data):
    torch.manual_seed(0)
    method = METHODS[name]().eval()
    singles = list(data.test_dataloader())
    with torch.no_grad():
        alone = [method.validation_step(batch, 0)["results"][0] for batch in singles]
        together = method.validation_step(collate(singles), 0)["results"]
        method.backbone.cache.clear()
        backwards = [method.validation_step(batch, 0)["results"][0] for batch in singles[::-1]][::-1]
    for first, second, third in zip(alone, together, backwards, strict=True):
        assert torch.equal(first.counts, second.counts) and torch.equal(first.counts, third.counts)
        assert torch.equal(first.decided, first.counts[1:, 1] + first.counts[1:, 3] > 0)  # presence from the mask


@pytest.mark.parametrize("name", METHODS)
def test_a_training_step_lowers_the_loss(name, data):
    torch.manual_seed(0)
    method = METHODS[name]()
    batch = next(iter(data.train_dataloader()))
    optimiser = torch.optim.Adam(method.parameters(), 1e-3)
    losses = []
    for _ in range(8):
        loss = method.loss(batch)["loss"]
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert min(losses[4:]) < losses[0]


def test_optimisers_are_the_papers():
    sgd = DCAMA(backbone()).configure_optimizers()
    group = sgd.param_groups[0]
    assert isinstance(sgd, torch.optim.SGD) and len(sgd.param_groups) == 1
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (1e-3, 0.9, True, 1e-4)
    adam = HSNet(backbone(), width=32).configure_optimizers()
    assert isinstance(adam, torch.optim.Adam) and adam.param_groups[0]["lr"] == 1e-3


@pytest.mark.parametrize("strategy", ["vote", "average", "average_logit", "hsnet_vote", "cross_guided"])
@pytest.mark.parametrize(
    "method",
    [
        lambda: DCAMA(backbone()),
        lambda: HSNet(backbone(), width=32),
        lambda: EMAT(backbone(name="tiny"), support_side=8),
        lambda: CST(backbone(name="tiny"), support_side=8),
        lambda: Prototype(backbone(name="tiny")),
    ],
    ids=["dcama", "hsnet", "emat", "cst", "prototype"],
)
def test_every_ensemble_works_for_every_method(strategy, method, data):
    """Equal shots say what one says, whatever the ensemble; different ones are counted."""
    torch.manual_seed(0)
    method = method().eval()
    batch = next(iter(data.test_dataloader()))
    single, twin = (next(batch.split()).without_truth() for _ in range(2))
    single.support, single.support_labels, single.valid = (
        t[:, :, :1] for t in (single.support, single.support_labels, single.valid)
    )
    twin.support, twin.support_labels, twin.valid = (
        torch.cat([t, t], 2) for t in (single.support, single.support_labels, single.valid)
    )
    with torch.no_grad():
        expected = method(single)
        method.nshot_strategy = strategy
        found = method._predict(twin)
        several = method.validation_step(batch, 0)["results"][0]
    assert torch.equal(found.label_map, expected.label_map)
    if expected.decided is not None:
        assert torch.equal(found.decided, expected.decided)
    assert int(several.counts[0, :1].sum()) >= 0 and several.label_map.shape == batch.truth.label_maps[0].shape


def test_hsnets_own_rule_is_its_vote(data):
    torch.manual_seed(0)
    method = HSNet(backbone(), width=32).eval()
    for batch in data.test_dataloader():
        episode = next(batch.split()).without_truth()
        with torch.no_grad():
            method.nshot_strategy = "own"
            own = method._predict(episode).label_map
            method.nshot_strategy = "hsnet_vote"
            assert torch.equal(own, method._predict(episode).label_map)


FORMS = [(f"{m.__module__}.{m.__qualname__}", m.authors_form) for m in (EMAT, DCAMA, HSNet)]


@pytest.mark.parametrize(
    ("make", "prefix", "frozen"),
    [
        (lambda w: DCAMA(backbone(w)), "module.model.", "module.feature_extractor."),
        (lambda w: HSNet(backbone(w), width=32), "module.hpn_learner.", "module.backbone."),
    ],
    ids=["dcama", "hsnet"],
)
def test_checkpoints_of_the_authors_both_ways(make, prefix, frozen, tmp_path):
    """A file in the authors' form evaluates, becomes ours, and comes back with the same tensors in the same order."""
    torch.manual_seed(1)
    weights = new_network(SMALL).state_dict() | {"fc.weight": torch.randn(3, 64), "fc.bias": torch.randn(3)}
    torch.save(weights, tmp_path / "backbone.pth")
    method = make(str(tmp_path / "backbone.pth"))
    learned = {f"module.{k}": v for k, v in method.authors_form.complete(method.state_dict()).items()}
    theirs = {frozen + key: value for key, value in weights.items()} | learned
    assert all(key.startswith((prefix, frozen)) for key in theirs)
    torch.save(theirs, tmp_path / "theirs.pt")

    other = make("random:5")
    load_checkpoint(other, tmp_path / "theirs.pt")
    assert all(torch.equal(v, method.state_dict()[k]) for k, v in other.state_dict().items())
    assert other.backbone.digest == method.backbone.digest and "theirs.pt" in other.backbone.weights_id

    assert convert(tmp_path / "theirs.pt", tmp_path / "ours.ckpt", None, FORMS) == "authors' to ours"
    load_checkpoint(method, tmp_path / "ours.ckpt")
    with pytest.raises(CheckpointError, match="trained on the backbone weights"):
        load_checkpoint(make("random:5"), tmp_path / "ours.ckpt")

    checkpoint = {"state_dict": method.state_dict()}
    method.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "trained.ckpt")
    direction = convert(tmp_path / "trained.ckpt", tmp_path / "back.pt", tmp_path / "backbone.pth", FORMS)
    assert direction == "ours to authors'"
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    assert list(back) == list(theirs) and all(torch.equal(back[k], theirs[k]) for k in back)

    convert(tmp_path / "ours.ckpt", tmp_path / "again.pt", tmp_path / "backbone.pth", FORMS)  # the converted one
    again = torch.load(tmp_path / "again.pt", weights_only=True)
    assert list(again) == list(theirs) and all(torch.equal(again[k], theirs[k]) for k in again)
    form = FORMS[0][1]
    with pytest.raises(CheckpointError, match=r"is of the method '.*', which this version does not know"):
        convert(tmp_path / "ours.ckpt", tmp_path / "x.pt", tmp_path / "backbone.pth", [("methods.emat.EMAT", form)])


def test_swin_weights_under_timms_names_are_not_handed_to_the_authors_program(tmp_path):
    state = {"layers.0.blocks.0.attn.qkv.weight": torch.zeros(3, 1), "layers.1.downsample.norm.weight": torch.zeros(4)}
    torch.save(state, tmp_path / "timm.pth")
    ours = {"state_dict": {}, "fsbench": {"method": "methods.dcama.DCAMA", "backbone_sha256": state_digest(state)}}
    torch.save(ours, tmp_path / "ours.ckpt")
    with pytest.raises(CheckpointError, match="has Swin's weights under timm's names"):
        convert(tmp_path / "ours.ckpt", tmp_path / "theirs.pt", tmp_path / "timm.pth", FORMS)


def test_dcamas_tables_of_positions_stand_where_the_authors_have_them():
    learned = DCAMA(backbone()).state_dict()
    names = list(DCAMA.authors_form.complete(learned))
    tables = [name for name in names if name.startswith("model.pe.")]
    assert tables == [f"model.pe.{i}.pe" for i in range(3)]
    assert names.index(tables[0]) == 12 and names.index("model.conv1.0.weight") == 15
