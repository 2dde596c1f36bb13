"""`fsbench weights list` and `check`: what is here, whether it is the published file, and whether it loads."""

import re
from pathlib import Path

import pytest
import torch

from fsbench.cli.main import main
from fsbench.methods.alpnet import NETWORKS
from fsbench.methods.modules.frozen_pspnet import PSPNETS, TRUNKS
from fsbench.methods.universeg import NETS
from fsbench.methods.vrp_sam.vrp_sam import TRUNKS as VRP_TRUNKS
from fsbench.networks.backbones.sam import SAMS
from fsbench.networks.backbones.sam2_sam3 import SAM2_VIDEOS, SAM3S
from fsbench.networks.backbones.seggpt import SEGGPTS
from fsbench.networks.backbones.text import CLIP_TEXTS
from fsbench.networks.backbones.timm_networks import ENCODERS, PYRAMIDS, VITS
from fsbench.networks.weights import table
from fsbench.runner.config.backbone_choice import needed_weights
from fsbench.runner.config.needs import methods_by_weights
from fsbench.runner.config.registry import names
from tests.fsbench.networks.weights.conftest import saved


def check(capsys, *arguments):
    """Run `fsbench weights check`; its status, and by file name the verdict and what is said of it."""
    status, verdicts = main(["weights", "check", *arguments]), {}
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("  "):
            list(verdicts.values())[-1].append(line.strip())
        elif not line.startswith("not here: "):
            _, word, file = re.fullmatch(r"(\w+): ([a-z ]+)  (.*)", line).groups()
            verdicts[Path(file).name] = [word]
    return status, verdicts


class Evil:
    def __reduce__(self):
        return (print, ("pickled code ran",))


def test_published_truncated_and_missing_files(small_table, weights, vit_bytes, capsys):
    weights.mkdir()
    assert check(capsys)[0] == 0  # nothing here is no error, unless it was named
    assert check(capsys, "demo")[0] == 1
    (weights / "vit.pth").write_bytes(vit_bytes)
    (weights / "plain.pth.part").write_bytes(vit_bytes[:10])
    status, verdicts = check(capsys)
    assert status == 0
    assert verdicts == {"vit.pth": ["official"], "plain.pth": ["incomplete", "only plain.pth.part (10 bytes)"]}
    (weights / "vit.pth").write_bytes(vit_bytes[:1000])
    (weights / "vit.pth.bad").write_bytes(b"x")
    status, verdicts = check(capsys)
    problem = f"1000 bytes; expected {len(vit_bytes)} bytes; it is cut off"
    assert status == 1 and verdicts["vit.pth"] == ["damaged", problem, "beside it: vit.pth.bad (1 bytes)"]
    assert main(["weights", "check"]) == 1
    assert "not here: 4 of 6" in capsys.readouterr().out


def test_files_that_do_not_load_are_named_and_nothing_is_unpickled(small_table, weights, capsys, monkeypatch):
    """`plain` has neither size nor checksum, so only reading it shows what it is."""
    weights.mkdir()
    monkeypatch.setitem(VITS, "plain", VITS["demo"])
    path = weights / "plain.pth"
    path.write_bytes(saved({"cls_token": torch.zeros(1, 1, 96)}))
    status, verdicts = check(capsys, "plain")
    word, problem = verdicts["plain.pth"]
    assert status == 1 and word == "does not load" and "keys missing: blocks.0.attn.proj.bias" in problem
    assert check(capsys, "plain", "--quick")[1] == {"plain.pth": ["unverified"]}
    path.write_bytes(saved({"x": Evil()}))
    status, verdicts = check(capsys, "plain")  # anything that was printed beside it would be no verdict
    assert status == 1 and "it holds objects (builtins.print), which could run code" in verdicts["plain.pth"][1]
    path.write_bytes(b"<html>")
    assert check(capsys, "plain", "--quick")[1]["plain.pth"][0] == "damaged"


def test_checkpoints_of_authors(small_table, weights, capsys):
    assert check(capsys)[0] == 0
    for name, content in (("a", saved({"state_dict": {"w": torch.zeros(1)}})), ("b", b"PK\3\4 cut off")):
        (weights / name).mkdir(parents=True)
        (weights / name / "best.ckpt").write_bytes(content)
    status = main(["weights", "check", "shop"])
    printed = capsys.readouterr().out.splitlines()
    assert status == 1
    assert printed[0].startswith("shop: unverified") and printed[1].startswith("shop: does not load")
    assert "cannot read the checkpoint" in printed[2]


def test_the_list_fits_a_hundred_columns(capsys):
    assert main(["weights", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "size", "licence", "state", "used", "by"]
    assert max(len(line) for line in lines[:-1]) <= 100
    rows = {line.split()[0]: line for line in lines[1:-2]}
    assert rows.keys() == {*table.weight_files(), *table.checkpoint_sets()}
    assert "88.3 MB" in rows["dinov2_vits14"] and "Apache-2.0" in rows["dinov2_vits14"]
    assert "not stated" in rows["dino_vitb16"] and "cst_original" in rows["dino_vits8_300ep"]


def test_the_table_has_every_backbone_and_each_can_be_had_somehow():
    sams = {**SAMS, **SAM2_VIDEOS, **SAM3S}
    backbones = {**VITS, **PYRAMIDS, **ENCODERS, **PSPNETS, **TRUNKS, **VRP_TRUNKS, **sams, **SEGGPTS, **CLIP_TEXTS}
    backbones |= NETWORKS | NETS
    files = table.weight_files()
    own = {
        "demo",
        "sam_demo",
        "sam2_demo",
        "seggpt_demo",
        "sam3_demo",
        "clip_text_demo",
        "universeg_demo",
        "multiverseg_demo",
    }  # the first come with the repository, those of others are random
    assert files.keys() == backbones.keys() - own
    assert {name: backbone.weights for name, backbone in backbones.items() if name not in own} == files
    shared = {"vrp_resnet50", "vrp_resnet101", "vrp_vgg16"}  # VRP-SAM's networks have the files of PFENet's
    assert len({file.file for name, file in files.items() if name not in shared}) == len(files) - len(shared)
    for file in files.values():
        assert [bool(file.address), bool(file.by_hand), bool(file.package)].count(True) == 1
        assert not file.address or (file.licence and file.licence_page and file.page)
        assert not (file.size and file.mib)
    for entry in table.checkpoint_sets().values():
        assert set(entry.methods) <= set(names("methods"))


@pytest.mark.parametrize(
    ("name", "checksum"),
    [("resnet50_v1", "0676ba61"), ("dino_vits8", "230cd5"), ("swin_base", ""), ("dino_vitb16", "")],
)
def test_file_names_carry_the_start_of_their_checksum(name, checksum):
    assert table.weight_files()[name].checksum == checksum


def test_a_rounded_size_allows_for_its_rounding(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(bytes(2_150_000))  # 2.0504 MiB
    assert table.WeightFile("w.pth", mib=2.050).size_problem(path) == ""
    assert table.WeightFile("w.pth", mib=2.051).size_problem(path) == (
        "2150000 bytes; expected 2.051 MiB; it is cut off"
    )
    assert table.WeightFile("w.pth", mib=2.049).size_problem(path) == "2150000 bytes; expected 2.049 MiB"


def test_what_a_method_needs_follows_from_its_configuration():
    assert needed_weights("emat") == "dinov2_vits14" and needed_weights("cst_original") == "dino_vits8_300ep"
    assert needed_weights("emat", "demo") is None  # its weights come along
    assert needed_weights("metaoptnet_clip") == "clip_vitb16"
    assert methods_by_weights()["vgg16"] == ["hsnet_vgg16", "patnet_vgg16"]
