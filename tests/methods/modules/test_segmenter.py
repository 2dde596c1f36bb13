"""EMAT and CST beyond their goldens: sizes, independence from the batch, checkpoints, half precision."""

import pytest
import torch

from datamodules.datasets.folder import Folder
from datamodules.episodic import EpisodicDataModule
from fsbench.backbones.base import BackboneConfig
from fsbench.backbones.vit import VITS, random_state
from fsbench.data.batch import collate
from fsbench.engine.checkpoint import convert, load_checkpoint, read_checkpoint, weights_of_checkpoint
from fsbench.episodes.evaluation_order import supports_of
from fsbench.errors import CheckpointError
from fsbench.weights.table import WeightFile
from methods.cst import CST, cst_learner
from methods.emat import EMAT, emat_learner
from methods.modules.correlation import kept_tokens
from tests.fsbench.episodes.test_evaluation_order import encoded_twice

TINY = dict(patch_size=8, embed_dim=24, depth=3, num_heads=2)


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    vit = type(VITS["dinov2_vits14"])(TINY, table_side=4, weights=WeightFile(str(tmp_path / "tiny.pth")))
    monkeypatch.setitem(VITS, "tiny", vit)


def converted(source, target, backbone):
    return convert(source, target, backbone, {"emat": EMAT.released_format})


def backbone(weights="random:0"):
    return BackboneConfig("tiny", weights)


@pytest.fixture
def data(blocks_folder):
    return EpisodicDataModule(
        Folder(str(blocks_folder)), image_size=48, way=2, shot=2, episodes=8, batch_size=3, workers=0
    )


@pytest.mark.parametrize(
    ("learner", "count"),
    [
        (emat_learner(72, 20), 86_020),
        (emat_learner(72, 20, class_token=False), 74_098),
        (cst_learner(72, 12), 366_004),
        (cst_learner(72, 18), 366_004),
    ],
    ids=["emat", "emat_seg", "cst", "cst_large"],
)
def test_parameter_counts_of_the_papers(learner, count):
    assert sum(p.numel() for p in learner.parameters()) == count


@pytest.mark.parametrize(
    "method",
    [
        lambda: EMAT(backbone(), support_side=8),
        lambda: EMAT(backbone(), support_side=8, class_token=False),
        lambda: CST(backbone(), support_side=6),
        lambda: CST(backbone(), support_side=6, average_shots=True),
    ],
    ids=["emat", "emat_seg", "cst", "cst_original"],
)
def test_results_do_not_depend_on_the_batch_or_on_what_came_before(method, data):
    torch.manual_seed(0)
    method = method().eval()
    singles = list(data.test_dataloader())
    with torch.no_grad():
        alone = [method.validation_step(batch, 0)["results"][0] for batch in singles]
        together = method.validation_step(collate(singles), 0)["results"]
        method.backbone.cache.clear()
        backwards = [method.validation_step(batch, 0)["results"][0] for batch in singles[::-1]][::-1]
    for first, second, third in zip(alone, together, backwards, strict=True):
        assert torch.equal(first.label_map, second.label_map) and torch.equal(first.label_map, third.label_map)
        assert torch.equal(first.counts, second.counts) and torch.equal(first.score, second.score)
        assert torch.equal(first.score, third.score)


def test_images_are_encoded_once_but_for_supports_that_become_queries(data):
    method = EMAT(backbone(), support_side=8).eval()
    encoded = []
    encode = method.backbone.encode
    method.backbone.encode = lambda pixels: encoded.append(1) or encode(pixels)
    with torch.no_grad():
        for batch in data.test_dataloader():
            method.validation_step(batch, 0)
    episodes = data.test_dataloader().dataset.episodes
    images = {e.query for e in episodes} | supports_of(episodes)
    assert len(encoded) == len(images) + encoded_twice(episodes)
    assert len(encoded) < sum(2 * 3 for _ in episodes)  # K·(N+1) an episode, the plain way


def test_methods_cannot_see_the_truth(data):
    batch = next(iter(data.test_dataloader()))
    method = EMAT(backbone(), support_side=8).eval()
    seen = []
    forward = method.forward
    method.forward = lambda episode: seen.append(episode.truth) or forward(episode)
    method.validation_step(batch, 0)
    assert seen == [None]


def test_loss_is_that_of_the_paper(data):
    """CE of masks, plus a tenth of CE of presence; void is background (emat.md §5)."""
    torch.manual_seed(0)
    method = EMAT(backbone(), support_side=8)
    batch = next(iter(data.train_dataloader()))
    losses = method.loss(batch)
    query = torch.stack([method._query(batch, int(r)) for r in batch.query])
    labels, maps = method.learner(query, method._supports(batch, batch.support[:, 0, 0]), batch.support_masks[:, 0, 0])
    logits = torch.nn.functional.interpolate(maps, (48, 48), mode="bilinear", align_corners=True)
    target = torch.stack(batch.truth.label_maps)
    target = torch.where(target == 255, 0, target).long()
    mask = torch.nn.functional.cross_entropy(logits, target)
    presence = torch.nn.functional.cross_entropy(labels, batch.truth.presence[:, 0].long())
    torch.testing.assert_close(losses["loss"], mask + 0.1 * presence)


@pytest.mark.parametrize("make", [lambda: EMAT(backbone(), support_side=8), lambda: CST(backbone(), support_side=6)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_trains_and_predicts(make, dtype, data):
    torch.manual_seed(0)
    method = make()
    batch = next(iter(data.train_dataloader()))
    exact = method.loss(batch)["loss"].detach()
    with torch.autocast("cpu", dtype=dtype):
        loss = method.loss(batch)["loss"]
        episode = next(iter(data.test_dataloader()))
        result = method.eval().validation_step(episode, 0)["results"][0]
    loss.backward()
    torch.testing.assert_close(loss.detach(), exact, atol=0.02, rtol=0.02)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
    assert result.score.isfinite().all()


def official_checkpoint(path, learner):
    """A checkpoint as the authors release it: Lightning's form, backbone and learner together."""
    frozen = random_state(VITS["tiny"], 7) | {"mask_token": torch.zeros(1, 24)}
    state = {f"backbone.{k}": v for k, v in frozen.items()} | {
        f"learner.{k}": v for k, v in learner.state_dict().items()
    }
    torch.save({"epoch": 3, "global_step": 5, "state_dict": state, "callbacks": {"best": 1.0}}, path)
    return state


def test_authors_checkpoints_load_with_their_backbone(tmp_path, data):
    torch.manual_seed(1)
    state = official_checkpoint(tmp_path / "best.ckpt", emat_learner(6, 8))
    method = EMAT(backbone(), support_side=8)
    load_checkpoint(method, tmp_path / "best.ckpt")
    assert torch.equal(method.state_dict()["learner.linear.0.weight"], state["learner.linear.0.weight"])
    assert torch.equal(method.backbone.state["cls_token"], state["backbone.cls_token"])
    assert method.backbone.weights_id.startswith("in the checkpoint best.ckpt sha256 ")
    told = weights_of_checkpoint(method, read_checkpoint(tmp_path / "best.ckpt"))
    assert told == {"origin": "the authors' checkpoint", "training": None}
    other = EMAT(BackboneConfig("tiny", "random:7"), support_side=8)
    other.load_state_dict(method.state_dict())
    batch = next(iter(data.test_dataloader()))
    results = [m.eval().validation_step(batch, 0)["results"][0] for m in (method, other)]
    assert torch.equal(results[0].score, results[1].score)


def test_checkpoints_convert_both_ways(tmp_path):
    state = official_checkpoint(tmp_path / "theirs.ckpt", emat_learner(6, 8))
    assert converted(tmp_path / "theirs.ckpt", tmp_path / "ours.ckpt", None) == (
        "authors' to ours; its variant: taken on trust, as no config.yaml is beside it"
    )
    ours = torch.load(tmp_path / "ours.ckpt", weights_only=True)["state_dict"]
    assert all(key.startswith("learner.") for key in ours)
    frozen = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    torch.save(frozen, tmp_path / "weights.pth")
    assert converted(tmp_path / "ours.ckpt", tmp_path / "again.ckpt", tmp_path / "weights.pth") == "ours to authors'"
    again = torch.load(tmp_path / "again.ckpt", weights_only=True)["state_dict"]
    assert again.keys() == state.keys() and all(torch.equal(again[k], state[k]) for k in state)
    with pytest.raises(CheckpointError, match="holds no backbone"):
        converted(tmp_path / "ours.ckpt", tmp_path / "x.ckpt", None)
    torch.save(frozen | {"cls_token": frozen["cls_token"] + 1}, tmp_path / "others.pth")
    with pytest.raises(CheckpointError, match=r"was trained on .*theirs.ckpt', not on .*others.pth"):
        converted(tmp_path / "ours.ckpt", tmp_path / "x.ckpt", tmp_path / "others.pth")
    same = EMAT(BackboneConfig("tiny", "random:7"), support_side=8)
    content = load_checkpoint(same, tmp_path / "ours.ckpt")
    assert weights_of_checkpoint(same, content)["origin"] == "the authors' checkpoint"
    with pytest.raises(CheckpointError, match=r"was trained on the backbone weights 'in the .*theirs.ckpt'"):
        load_checkpoint(EMAT(BackboneConfig("tiny", "random:5"), support_side=8), tmp_path / "ours.ckpt")


STATED = """
DATA: {BENCHMARK: pascal, IMG_SIZE: 700, NAME: x}
METHOD: {NAME: CST*, SUPPORT_DIM: 145}
TRAIN: {LR: 1e-3, GPUS: [0, 1, 2]}
"""


@pytest.mark.parametrize(
    ("stated", "size", "message"),
    [
        (STATED, 700, None),
        (STATED.replace("IMG_SIZE: 700", "IMG_SIZE: [700, 700]"), 700, None),
        ("SUPPORT_DIM: 145\nIMG_SIZE: 700\n", 700, None),
        (STATED, None, None),
        ("x: [1]", 700, "trust"),
        ("METHOD: {SUPPORT_DIM: 145}", 700, "trust"),
        (
            STATED.replace("145", "325"),
            700,
            "support_side 18, as its config.yaml states; expected 12, with which the method is built; give "
            "--model.support_side 18",
        ),
        (STATED, 400, "image_size 700, as its config.yaml states; expected 400.*give --data.image_size 700"),
        (STATED.replace("CST\\*", "EMAT").replace("CST*", "EMAT"), 700, "is of EMAT.*expected cst; give the METHOD"),
        (STATED.replace("145", "146"), 700, "SUPPORT_DIM is 146, expected a square and 1, as 401 or 145"),
        (STATED.replace("145", "many"), 700, "SUPPORT_DIM is 'many', expected a whole number above 0"),
        (STATED.replace("145", "true"), 700, "SUPPORT_DIM is 'True', expected a whole number above 0"),
        (STATED + "IMG_SIZE: 400", 700, "states IMG_SIZE several times: 700 and 400; expected one"),
        ("- 145", 700, "config.yaml holds list; expected the authors' YAML"),
        ("METHOD: {NAME: [", 700, "cannot read .*config.yaml .*expected the authors' YAML"),
        ("a: 2024-99-99", 700, "cannot read .*config.yaml"),
        ("!!python/object/apply:print ['code ran']", 700, "cannot read .*config.yaml"),
        ("[" * 5000, 700, "cannot read .*config.yaml"),
        ("x" * 2**21, 700, "config.yaml has 2097152 bytes"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_the_authors_state_beside_a_checkpoint(tmp_path, capsys, stated, size, message):
    """CST* and CST-large have equal keys and shapes: only the file beside the checkpoint tells them apart."""
    frozen = random_state(VITS["tiny"], 7)
    learned = {f"learner.{k}": v for k, v in cst_learner(6, 12).state_dict().items()}
    torch.save({"state_dict": learned | {f"backbone.{k}": v for k, v in frozen.items()}}, tmp_path / "best.ckpt")
    (tmp_path / "config.yaml").write_text(stated)
    method = CST(backbone())
    if message not in (None, "trust"):
        with pytest.raises(CheckpointError, match=message) as error:
            load_checkpoint(method, tmp_path / "best.ckpt", size)
        assert "\n" not in str(error.value) and len(str(error.value)) < 600
    else:
        expected = "taken on trust" if message else "stated beside the checkpoint"
        assert load_checkpoint(method, tmp_path / "best.ckpt", size)["variant"] == expected
    assert "code ran" not in capsys.readouterr().out


def test_a_converted_checkpoint_keeps_what_was_stated_beside_it(tmp_path):
    official_checkpoint(tmp_path / "best.ckpt", cst_learner(6, 12))
    assert load_checkpoint(CST(backbone()), tmp_path / "best.ckpt", 700)["variant"] == "taken on trust"
    (tmp_path / "config.yaml").write_text(STATED)
    (tmp_path / "ours").mkdir()
    assert converted(tmp_path / "best.ckpt", tmp_path / "ours" / "x.ckpt", None) == (
        "authors' to ours; its variant: method CST*, support_side 12, image_size 700 (stated beside the checkpoint)"
    )
    same = CST(BackboneConfig("tiny", "random:7"))
    assert load_checkpoint(same, tmp_path / "ours" / "x.ckpt", 700)["variant"] == "stated beside the checkpoint"
    large = CST(BackboneConfig("tiny", "random:7"), support_side=18)
    with pytest.raises(CheckpointError, match=r"support_side 12.*expected 18.*--model\.support_side 12"):
        load_checkpoint(large, tmp_path / "ours" / "x.ckpt", 700)
    (tmp_path / "config.yaml").unlink()
    trained = CST(BackboneConfig("tiny", "random:7"))
    torch.save({"state_dict": trained.state_dict()}, tmp_path / "bare.ckpt")
    told = weights_of_checkpoint(trained, read_checkpoint(tmp_path / "bare.ckpt"))
    assert told == {"origin": "another run", "training": None}
    assert load_checkpoint(trained, tmp_path / "bare.ckpt", 700)["variant"] is None


@pytest.mark.parametrize("state", [{}, {"head.w": torch.zeros(1)}, {"backbone.cls_token": torch.zeros(1)}])
def test_what_is_neither_form_is_not_converted(tmp_path, state):
    torch.save({"state_dict": state}, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="no checkpoint of the authors"):
        converted(tmp_path / "x.ckpt", tmp_path / "y.ckpt", tmp_path / "weights.pth")
    assert not (tmp_path / "y.ckpt").exists()


def test_a_checkpoint_of_another_method_names_the_keys(tmp_path):
    official_checkpoint(tmp_path / "cst.ckpt", cst_learner(6, 6))
    with pytest.raises(
        CheckpointError,
        match=r"cst.ckpt cannot be used with this model: \d+ keys missing: learner.corrtrans.*not known",
    ):
        load_checkpoint(EMAT(backbone(), support_side=8), tmp_path / "cst.ckpt")


def test_a_checkpoint_of_another_backbone_is_refused(tmp_path):
    import lightning as L

    trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", barebones=False)
    method = CST(backbone("random:1"), support_side=6)
    trainer.strategy.connect(method)
    trainer.save_checkpoint(tmp_path / "ours.ckpt")
    load_checkpoint(CST(backbone("random:1"), support_side=6), tmp_path / "ours.ckpt")
    with pytest.raises(CheckpointError, match=r"of cst\).* was trained on .*random \(seed 1\).*random \(seed 2\)"):
        load_checkpoint(CST(backbone("random:2"), support_side=6), tmp_path / "ours.ckpt")
    with pytest.raises(CheckpointError, match=r"was trained with .*'support_side': 6.*expected .*'support_side': 9"):
        load_checkpoint(CST(backbone("random:1"), support_side=9), tmp_path / "ours.ckpt")  # of the same shapes
    stored = torch.load(tmp_path / "ours.ckpt", weights_only=True)["state_dict"]
    assert all(key.startswith("learner.") for key in stored)  # frozen weights are in no checkpoint


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04"])
def test_what_is_no_checkpoint_is_said(tmp_path, content):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot read the checkpoint"):
        load_checkpoint(EMAT(backbone(), support_side=8), tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_checkpoint(EMAT(backbone(), support_side=8), tmp_path / "y.ckpt")


def test_support_attention_is_the_first_layers(data):
    """Against the definition, written out for one query patch; and nothing outside the mask."""
    method = EMAT(backbone(), support_side=4)
    episode = next(iter(data.test_dataloader())).without_truth()
    found = method.support_attention(episode, 0.4, 0.9)
    query, support = method._query(episode, int(episode.query[0])), method._supports(episode, episode.support[0, 0])
    side = int(query.shape[1] ** 0.5)
    patch = int(0.4 * side) * side + int(0.9 * side)
    layer, masks = method.learner.corrtransformer[0].attn, episode.support_masks[0, 0]
    for shot in range(2):
        x = torch.einsum("cte,cse->cts", query, support[shot])[None]
        q, k = layer.q(x)[0, :, patch], layer.kv(x)[0, : layer.q.q_seg.out_channels, patch]
        keep = kept_tokens(masks[shot, None], 4, True)[0]
        for name, kept in (("attention", keep), ("without the mask", torch.ones_like(keep))):
            total = torch.zeros(17)
            for head in range(8):
                rows = slice(head * len(q) // 8, (head + 1) * len(q) // 8)
                for token in q[rows].T:
                    total[kept] += (token @ k[rows][:, kept]).softmax(0) / (8 * q.shape[1])
            torch.testing.assert_close(found[name][shot].flatten(), total[1:], atol=1e-6, rtol=1e-5)
    assert (found["attention"] <= 1).all() and found["attention"].flatten(1)[:, ~keep[1:]][1].eq(0).all()
