"""HMNet around its goldens: settings, shots, training of both optimisers, the base learner, checkpoints both ways."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.precision import MixedPrecision

from datamodules.episodic import EpisodicDataModule
from datamodules.folder import Folder
from fsbench.backbones import BackboneConfig, state_digest
from fsbench.callbacks import Validation
from fsbench.checkpoints import TRAINED_WITH, WRITTEN_BY, convert, load_checkpoint
from fsbench.errors import CheckpointError, SettingsError
from methods._hmnet_head import HMNetHead, best_priors, dice_loss, prior_maps, shot_weights
from methods._mamba import Mixing
from methods._pspnet import Features, FrozenPSPNet, PSPNet, from_imagenet, under_hmnets_names
from methods.base_learner import BaseLearner
from methods.hmnet import HMNet

SMALL = dict(width=8, feature_side=8, blocks=2, states=2)


def data(folder, size=33, **options):
    settings = dict(image_size=size, batch_size=2, workers=0, empty_masks=False, episodes=4, validation_episodes=2)
    return EpisodicDataModule(Folder(str(folder)), **settings | options)


def on_vit(**options):
    torch.manual_seed(0)
    return HMNet(BackboneConfig("demo"), **SMALL | {"bam": False} | options).eval()


def on_pspnet(**options):
    torch.manual_seed(0)
    return HMNet(BackboneConfig("pspnet_vgg16", "random"), **SMALL | options).eval()


def fit(method, module, steps=2, callbacks=(), **options):
    trainer = L.Trainer(
        max_epochs=1, limit_train_batches=steps, limit_val_batches=1, logger=False,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks), callbacks=list(callbacks),
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu", use_distributed_sampler=False,
        **options,
    )  # fmt: skip
    trainer.fit(method, module)
    return trainer


def without_dropout(method):
    """Which draws from the generator of each process."""
    for module in method.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.p = 0.0
    return method.train()


def episode(module):
    return next(iter(module.test_dataloader())).without_truth()


def test_predictions_have_the_size_that_is_asked_for(blocks_folder):
    found = episode(data(blocks_folder, 64))
    with torch.no_grad():
        prediction = on_vit()(found)
    assert prediction.label_map.shape == tuple(found.query_sizes[0].tolist())
    assert prediction.logits.shape == (1, 2, *prediction.label_map.shape)
    expected = prediction.logits[0].argmax(0)
    assert torch.equal(prediction.label_map, expected)


def test_the_order_of_ways_only_renames_the_answer(blocks_folder):
    module = data(blocks_folder, 64, way=2, empty_masks=True)
    found, method = episode(module), on_vit()
    swapped = found.__class__(**{k: getattr(found, k) for k in found.__dataclass_fields__})
    swapped.support, swapped.support_labels = found.support.flip(1), found.support_labels.flip(1)
    with torch.no_grad():
        torch.testing.assert_close(method(found).logits, method(swapped).logits.flip(0), atol=1e-5, rtol=1e-5)


def test_shots_are_averaged_whatever_their_order_and_number(blocks_folder):
    module = data(blocks_folder, shot=3)
    found, method = episode(module), on_pspnet()
    turned = found.__class__(**{k: getattr(found, k) for k in found.__dataclass_fields__})
    turned.support, turned.support_labels = found.support.roll(1, 2), found.support_labels.roll(1, 2)
    with torch.no_grad():
        torch.testing.assert_close(method(found).logits, method(turned).logits, atol=1e-5, rtol=1e-5)


def test_learned_weights_of_shots_need_that_many(blocks_folder):
    method = on_pspnet(shots=3)
    assert sum(p.numel() for p in method.head.kshot_rw.parameters()) == 2 * 3 + 2 + 3 * 2 + 3
    with pytest.raises(SettingsError, match="but the test shows 1 at a time; give SHOT=3"):
        method(episode(data(blocks_folder)))
    assert method(episode(data(blocks_folder, shot=3))).label_map.dim() == 2


def test_weights_of_shots_without_hidden_channels_start_as_the_mean():
    net = HMNetHead((4, 4), 4, 4, None, True, 3, reweight_width=0)
    assert {k: tuple(v.shape) for k, v in net.kshot_rw.state_dict().items()} == {"weight": (3, 3, 1, 1)}
    weights = shot_weights(torch.rand(2, 3, 1, 1), net.kshot_rw)
    torch.testing.assert_close(weights, torch.full((2, 3, 1, 1), 1 / 3))


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(SettingsError, match="bam needs a backbone with a base learner, found demo"):
        on_vit(bam=True)
    with pytest.raises(SettingsError, match="shots is 5, but without a base learner"):
        on_vit(shots=5)
    with pytest.raises(SettingsError, match="feature_side is 9, expected a multiple of the 4 patches a side"):
        on_vit(feature_side=9)
    for side in (0, -4):
        with pytest.raises(SettingsError, match=f"feature_side is {side}, expected a multiple"):
            on_vit(feature_side=side)
    with pytest.raises(SettingsError, match="states is 300, expected at most 256"):
        on_vit(states=300)
    for rate in ("learning_rate", "mamba_learning_rate", "momentum", "weight_decay", "mamba_weight_decay"):
        with pytest.raises(SettingsError, match=f"^{rate} is -1, expected 0 or more"):
            on_vit(**{rate: -1})
    with pytest.raises(SettingsError, match="'demo' is no dilated network; give --model"):
        BaseLearner(BackboneConfig("demo"))
    with pytest.raises(SettingsError, match="'dinov2_vits14' gives no features for HMNet; there are: pspnet_resnet50"):
        HMNet(BackboneConfig("dinov2_vits14"))
    with pytest.raises(SettingsError, match="image size 472 does not fit pspnet_vgg16; expected 8 n \\+ 1"):
        on_pspnet().backbone.check_image_size(472)
    with pytest.raises(CheckpointError, match="train them with METHOD=pspnet"):
        HMNet(BackboneConfig("pspnet_resnet50", "nowhere.pth"))


def test_a_training_of_both_optimisers(blocks_folder):
    """Everything that has a use moves, SGD's rate reaches 0 with the last step, AdamW's stays, the rest is frozen."""
    method, module = on_pspnet(), data(blocks_folder)
    before = {name: p.clone() for name, p in method.named_parameters()}
    frozen = method.backbone.digest
    trainer = fit(method, module)
    sgd, adamw = trainer.optimizers
    assert {g["lr"] for g in sgd.param_groups} == {0.0} and {g["lr"] for g in adamw.param_groups} == {6e-5}
    moved = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {name for name, p in method.named_parameters() if p.requires_grad}
    assert method.base_classes == [4, 5, 6] and state_digest(method.backbone.state) == frozen
    assert trainer.callback_metrics["train/loss"] == pytest.approx(
        float(trainer.callback_metrics["train/main"] + trainer.callback_metrics["train/dice"]), abs=1e-5
    )


def test_the_base_learner_must_know_the_folds_classes(blocks_folder, tmp_path):
    with torch.random.fork_rng():
        state = PSPNet("vgg16", 5).state_dict()
    torch.save({f"module.{k}": v for k, v in state.items()}, tmp_path / "five.pth")
    method = HMNet(BackboneConfig("pspnet_vgg16", str(tmp_path / "five.pth")), **SMALL)
    assert method.backbone.classes == 5
    with pytest.raises(SettingsError, match="tells 5 classes apart, but the fold has 3 base classes"):
        fit(method, data(blocks_folder))


def test_the_chain_from_the_base_learner_to_hmnet(blocks_folder, tmp_path):
    """A PSPNet is trained on the base classes; its checkpoint is HMNet's backbone and knows its fold."""
    torch.manual_seed(0)
    learner = BaseLearner(BackboneConfig("dilated_vgg16", "random"), classes=3)
    module = data(blocks_folder, training_items="images", validation="base")
    fit(learner, module, 1, [ModelCheckpoint(tmp_path, "base"), Validation(module)])
    frozen = FrozenPSPNet(BackboneConfig("pspnet_vgg16", str(tmp_path / "base.ckpt")))
    assert frozen.classes == 3 and frozen.trained_on["classes"] == ["yellow", "cyan", "magenta"]
    pixels = torch.randn(3, 33, 33)
    with torch.no_grad():
        expected = learner.eval().model(pixels[None])
    for found, value in zip(frozen.encode(pixels), expected, strict=True):
        torch.testing.assert_close(found, value[0])
    module.check_unseen(frozen.trained_on, "the backbone")
    with pytest.raises(SettingsError, match="was trained on fold 0 of blocks, whose base classes include yellow"):
        data(blocks_folder, fold=1).check_unseen(frozen.trained_on, "the backbone")
    with pytest.raises(SettingsError, match="classes is 15, but the fold has 3 base classes"):
        fit(BaseLearner(BackboneConfig("dilated_vgg16", "random")), module)


def test_the_base_learner_answers_with_what_it_sees_under_the_mask(blocks_folder, monkeypatch):
    """With logits that are given: class 2 under the support mask, so class 2 of the query."""
    learner = BaseLearner(BackboneConfig("dilated_vgg16", "random"), classes=3)
    found = episode(data(blocks_folder))
    mask = torch.nn.functional.interpolate(found.support_masks[0, 0, :, None].float(), (33, 33))[0, 0] > 0
    support, query = torch.zeros(4, 33, 33), torch.zeros(4, 33, 33)
    support[2, mask], support[3, ~mask] = 1, 1
    query[2, :, :16], query[1, :, 16:] = 1, 1
    images = iter([query, support])
    monkeypatch.setattr(learner, "_probabilities", lambda episode, rows: next(images)[None])
    answer = learner(found).label_map
    assert (answer[:, 0] == 1).all() and (answer[:, -1] == 0).all()


def test_authors_checkpoints_and_back(tmp_path):
    """Ours -> the authors' (with the PSPNet) -> ours: the same weights, and both load."""
    method = on_pspnet(shots=5)
    weights = tmp_path / "pspnet.pth"
    torch.save(method.backbone.state, weights)
    checkpoint = {"state_dict": method.state_dict()}
    method.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "ours.ckpt")
    forms = [("methods.hmnet.HMNet", HMNet.authors_form)]
    assert convert(tmp_path / "ours.ckpt", tmp_path / "theirs.pth", weights, forms) == "ours to authors'"
    theirs = torch.load(tmp_path / "theirs.pth", weights_only=True)["state_dict"]
    assert next(iter(theirs)) == "module.layer0.0.weight" and "module.mamba.norm.weight" in theirs
    assert convert(tmp_path / "theirs.pth", tmp_path / "again.ckpt", None, forms) == "authors' to ours"
    again = torch.load(tmp_path / "again.ckpt", weights_only=True)
    assert again["state_dict"].keys() == method.state_dict().keys()
    assert all(torch.equal(v, method.state_dict()[k]) for k, v in again["state_dict"].items())
    assert again[WRITTEN_BY]["backbone_sha256"] == method.backbone.digest
    other = HMNet(BackboneConfig("pspnet_vgg16", "random:1"), **SMALL, shots=5)
    bare = {key.removeprefix("module."): value for key, value in theirs.items()}
    torch.save({"epoch": 3, "state_dict": bare, "optimizer": {}}, tmp_path / "bare.pth")  # without the wrapper
    load_checkpoint(other, tmp_path / "bare.pth")
    assert other.backbone.digest == method.backbone.digest
    assert all(torch.equal(v, method.state_dict()[k]) for k, v in other.state_dict().items())


@pytest.mark.parametrize("authors", [False, True])
def test_the_meta_learner_alone_of_a_checkpoint_with_the_ensemble(blocks_folder, tmp_path, authors):
    """What is read are the meta logits that the ensemble starts from; the rest of the settings must be the same."""
    method = on_pspnet(shots=2)
    checkpoint = {"state_dict": method.state_dict()}
    method.on_save_checkpoint(checkpoint)
    if authors:
        checkpoint = HMNet.authors_form.join(method.state_dict(), method.backbone.state)
    torch.save(checkpoint, tmp_path / "bam.ckpt")
    alone = on_pspnet(bam=False)
    assert load_checkpoint(alone, tmp_path / "bam.ckpt")[TRAINED_WITH] == {"bam": True, "shots": 2}
    found = episode(data(blocks_folder, shot=2))
    inputs = (
        method._features(found, [int(found.query[0])]),
        method._features(found, found.support[0, 0].tolist()),
        found.support_labels[0, :1],
        method._base_logits,
    )
    with torch.no_grad():
        both, one = method.head(*inputs), alone.head(*inputs)
    assert torch.equal(one.final, both.meta) and not torch.equal(one.final, both.final)
    with pytest.raises(CheckpointError, match=r"was trained with shots: 2; found shots: 1; give --model\.shots 2"):
        load_checkpoint(on_pspnet(), tmp_path / "bam.ckpt")
    if not authors:
        with pytest.raises(CheckpointError, match=r"was trained with .*'srm': 'recap'.*; expected .*'srm': 'basic'"):
            load_checkpoint(on_pspnet(bam=False, srm="basic"), tmp_path / "bam.ckpt")


def test_weights_of_a_pspnet_alone():
    """The authors' base learners: last layers cls.{0..4}, and everything twice under `encoder.`."""
    state = PSPNet("vgg16", 2).state_dict()
    alone = {"module." + k.replace("base_learner.2", "cls.4"): v for k, v in state.items()}
    alone |= {f"module.encoder.0.{k}": v for k, v in list(state.items())[:3]}
    assert under_hmnets_names(alone).keys() == state.keys()


def test_imagenet_weights_under_their_usual_names():
    own = {k: v for k, v in PSPNet("resnet50", 1).state_dict().items() if k.startswith("layer")}
    stem = {"layer0.0": "conv1", "layer0.1": "bn1", "layer0.3": "conv2", "layer0.4": "bn2"}
    stem |= {"layer0.6": "conv3", "layer0.7": "bn3"}
    usual = {
        stem.get(".".join(k.split(".")[:2]), ".".join(k.split(".")[:2])) + "." + k.split(".", 2)[2]: v
        for k, v in own.items()
    }
    found = from_imagenet("resnet50", usual | {"fc.weight": torch.zeros(2, 2)}, "weights")
    assert list(found) == list(own) and all(torch.equal(found[k], own[k]) for k in own)


def test_networks_of_other_libraries_give_the_same_features():
    import timm
    from torchvision.models.vgg import cfgs, make_layers

    torch.manual_seed(1)
    image = torch.randn(1, 3, 64, 64)  # even sides: VGG's pools, which round up, are as others
    timms = timm.create_model("resnet50s").eval()
    resnet, vgg = PSPNet("resnet50", 1).eval(), PSPNet("vgg16", 1).eval()
    resnet.load_state_dict(from_imagenet("resnet50", timms.state_dict(), "weights"), strict=False)
    features = make_layers(cfgs["D"], batch_norm=True).eval()
    state = {f"features.{key}": value for key, value in features.state_dict().items()}
    vgg.load_state_dict(from_imagenet("vgg16", state, "weights"), strict=False)
    with torch.no_grad():
        stem = timms.maxpool(timms.act1(timms.bn1(timms.conv1(image))))
        before_dilation = timms.layer2(timms.layer1(stem))
        torch.testing.assert_close(resnet.trunk(image)[0], before_dilation)
        torch.testing.assert_close(vgg.trunk(image)[2], features[:43](image))
    with pytest.raises(CheckpointError, match=r"weights cannot be used with this model: .* keys missing"):
        from_imagenet("vgg16", {"features.0.weight": torch.zeros(64, 3, 3, 3)}, "weights")


def test_the_own_class_is_left_out_of_the_base_map_in_training():
    head = HMNetHead((4, 4), 4, 4, None, True)
    logits = torch.randn(2, 6, 4, 4)
    probability = logits.softmax(1)
    torch.testing.assert_close(head.base_map(logits, None)[:, 0], 1 - probability[:, 0])
    found = head.base_map(logits, torch.tensor([0, 3]))
    torch.testing.assert_close(found[0, 0], 1 - probability[0, 0] - probability[0, 1])
    torch.testing.assert_close(found[1, 0], 1 - probability[1, 0] - probability[1, 4])


@pytest.mark.parametrize(
    "mixing", [None, {}, {"hybrid": False}, {"srm": "basic", "qim": "off"}, {"srm": "off"}], ids=str
)
def test_every_trainable_weight_of_an_ablation_has_a_use(mixing):
    """On several GPUs an optimiser waits for the gradient of each."""
    torch.manual_seed(0)
    head = HMNetHead((6, 6), 8, 8, None if mixing is None else Mixing(blocks=2, states=2, **mixing), True).eval()
    features = [Features(*(torch.rand(2, 6, 8, 8) for _ in range(4))) for _ in range(2)]
    output = head(*features, torch.randint(0, 2, (2, 1, 16, 16)), lambda f4: f4)
    head.losses(output, torch.randint(0, 2, (2, 16, 16)))["loss"].backward()
    assert all((p.grad is not None) == p.requires_grad for p in head.parameters())
    frozen = {name.split(".")[0] for name, p in head.named_parameters() if not p.requires_grad}
    learns = mixing is not None and mixing.get("hybrid", True) and mixing.get("srm") != "off"
    assert ("init_merge_supp" in frozen) != learns and frozen <= {"init_merge_supp", "mamba"}


def test_the_ensemble_starts_with_the_meta_learner_alone():
    head = HMNetHead((4, 4), 4, 4, None, True)
    meta = torch.rand(2, 2, 4, 4)
    torch.testing.assert_close(head.join(meta, torch.rand(2, 1, 1, 1), torch.rand(2, 1, 4, 4)), meta)


def test_priors_come_from_the_level_that_answers_most():
    torch.manual_seed(0)
    query, support, masks = torch.rand(2, 5, 6, 6), torch.rand(2, 3, 5, 8, 8), (torch.rand(2, 3, 1, 8, 8) > 0.6).float()
    low, high = prior_maps(query - 0.5, support, masks), prior_maps(query, support, masks)
    assert (low.fg_max < high.fg_max).all()
    found = best_priors([low, high])
    torch.testing.assert_close(found[:, 0], high.fg.mean(1))
    chosen = torch.where((low.corr_max < high.corr_max)[..., None, None], high.corr, low.corr)
    torch.testing.assert_close(found[:, 1], chosen.mean(1))


def test_dice_of_a_perfect_answer_is_nothing_but_void():
    target = torch.tensor([[[0, 1], [1, 255]]])
    logits = torch.stack([target == 0, target == 1], 1).float() * 200 - 100
    assert dice_loss(logits, target) < 1e-6
    logits[0, :, 1, 1] = 100  # what is said on void still counts in the denominator
    assert dice_loss(logits, target) == pytest.approx((1 - 2 / 3) + (1 - 4 / 5), abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1, 300])  # products of such features overflow half precision
def test_half_precision_of_the_head_stays_near(dtype, scale):
    torch.manual_seed(0)
    head = HMNetHead((6, 6), 8, 8, Mixing(blocks=2, states=2), True, shots=2).eval()
    features = [
        Features(*(scale * torch.rand(2 * n, 6, 8, 8) for _ in range(3)), torch.rand(2 * n, 6, 8, 8)) for n in (1, 2)
    ]
    labels, target = torch.randint(0, 2, (2, 2, 32, 32)), torch.randint(0, 2, (2, 32, 32))
    arguments = (*features, labels, lambda f4: f4.float())
    exact = head(*arguments).final
    with torch.autocast("cpu", dtype=dtype):
        output = head(*arguments)
        loss = head.losses(output, target)["loss"]
    loss.backward()
    assert float(((output.final.float() - exact).norm() / exact.norm()).detach()) < 8 * torch.finfo(dtype).eps
    assert loss.dtype == torch.float32 and all(p.grad is None or p.grad.isfinite().all() for p in head.parameters())


def test_a_training_in_mixed_precision(blocks_folder):
    """By Lightning's setting, with both optimisers: single-precision weights that move, a loss near the other."""
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        method = without_dropout(on_vit())
        before = {name: p.clone() for name, p in method.named_parameters()}
        trainer = fit(method, data(blocks_folder, 64), precision=precision)
        losses.append(float(trainer.callback_metrics["train/loss"]))
        moved = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
        assert moved == {name for name, p in method.named_parameters() if p.requires_grad}
        assert {p.dtype for p in method.parameters()} == {torch.float32}
    assert losses[1] == pytest.approx(losses[0], rel=0.02) and losses[0] != losses[1]


class Gradients(L.Callback):
    """Writes the gradients of the first step, of each process."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_end(self, trainer, method, outputs, batch, batch_idx):
        if batch_idx == 0:
            found = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
            torch.save(found, self.folder / f"{trainer.world_size}-{trainer.global_rank}.pt")


def test_gradients_in_half_precision_are_scaled_back_alike(blocks_folder, tmp_path):
    """Both optimisers step with the gradients themselves, though the scale doubles after every training step."""
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1)
    found = []
    for plugins in ([], [MixedPrecision("16-mixed", "cpu", scaler)]):
        method = without_dropout(on_vit())
        fit(method, data(blocks_folder, 64), 2, [Gradients(tmp_path)], plugins=plugins)
        found.append(torch.load(tmp_path / "1-0.pt", weights_only=True))
    single, half = found
    for part in ("head.mamba.", "head.cls_meta."):
        expected, gradient = (torch.cat([g[n].flatten() for n in g if n.startswith(part)]) for g in (single, half))
        assert (gradient - expected).norm() < 0.02 * expected.norm()
    assert scaler.get_scale() == 4096  # two steps


class WithoutVoid(HMNet):
    """Its loss is a mean over equally many pixels of each episode, and so of each process."""

    def loss(self, batch):
        for label_map in batch.known_truth().label_maps:
            label_map[label_map == 255] = 0
        return super().loss(batch)


def test_two_processes_train_as_one(blocks_folder, tmp_path):
    """Real processes with an episode each get the gradients of one with both; a second step shows that none waits for a
    gradient that never comes."""
    for world in (1, 2):
        torch.manual_seed(0)
        method = without_dropout(WithoutVoid(BackboneConfig("demo"), **SMALL, bam=False))
        module = data(blocks_folder, 64, batch_size=2 // world)
        fit(
            method, module, callbacks=[Gradients(tmp_path)], devices=world, strategy="ddp_fork" if world > 1 else "auto"
        )
    alone, *ranks = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1"))
    for found in ranks:
        assert found.keys() == alone.keys()
        for name, gradient in alone.items():
            assert (found[name] - gradient).abs().max() <= 1e-5 * gradient.abs().max().clamp(min=1e-3), name


def test_a_recapped_scan_remembers_the_support(blocks_folder):
    """The curve starts near the support's state; where it is read again, the state comes back to it."""
    method = on_vit(feature_side=16)
    for name, parameter in method.named_parameters():
        if name.endswith("dt_projs_bias"):
            parameter.data += 3  # start values forget too slowly to see it
    curves = method.memory_of(episode(data(blocks_folder, 64)))
    assert set(curves) == {"block 1: support recapped", "block 1: support once"}
    recapped, once = curves["block 1: support recapped"], curves["block 1: support once"]
    assert recapped.shape == once.shape == (16 * 4,)
    torch.testing.assert_close(recapped[:4], once[:4])  # before the first recap
    assert recapped.abs().max() <= 1 + 1e-5 and recapped[4::4].mean() > once[4::4].mean()


@pytest.mark.parametrize("options", [{"srm": "off"}, {"hybrid": False}, {"blocks": 1}], ids=str)
def test_a_scan_without_support_has_no_memory_to_draw(blocks_folder, options):
    with pytest.raises(SettingsError, match="reads no support, so there is nothing to remember"):
        on_vit(**options).memory_of(episode(data(blocks_folder, 64)))


def test_a_scan_that_reads_the_support_once_is_not_drawn_recapped(blocks_folder):
    curves = on_vit(srm="basic").memory_of(episode(data(blocks_folder, 64)))
    assert set(curves) == {"block 1: support once"}
