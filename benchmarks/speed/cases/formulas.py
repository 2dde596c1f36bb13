"""Steps of methods beside the formulas of their papers, and a network in bf16 beside fp32.

Each plain form is the reference of the step; sections are those of the methods' specifications.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.harness import Case, call_difference
from fsbench.methods.abcdfss.head import contrast
from fsbench.methods.hdmnet.transformer import TEMPERATURE, Matching
from fsbench.methods.hsnet.patnet import AnchoredPair, prototypes, scaled_rows
from fsbench.methods.ifa.matching import LOCAL_SHARPNESS, local_background
from fsbench.methods.segic.correspondence import similarity
from fsbench.networks.backbones.base import BackboneConfig, FrozenBackbone, NetworkPrecision
from fsbench.networks.backbones.timm_networks import (
    VITS,
    FrozenPyramid,
    FrozenViT,
    block_features,
    build_pyramid_network,
)
from fsbench.networks.ops.correlation import hyper_correlation
from fsbench.networks.ops.kept_correlation import resize_mask
from fsbench.networks.ops.selective_scan import selective_scan
from fsbench.networks.ops.selective_scan.recapped_scan import long_scan, recapped_scan

SCALES = ((4, 512, 8), (6, 1024, 16), (3, 2048, 31))
"""Blocks, channels and pixels of the image a position of ResNet-50's scales, the last of 400 pixels rounded up."""

PRECISIONS: tuple[NetworkPrecision, NetworkPrecision] = ("fp32", "bf16")


def _case(what: str, plain: Callable[[], object], ours: Callable[[], object], names: str = "plain ours") -> Case:
    paths = {name: torch.no_grad()(call) for name, call in zip(names.split(), (plain, ours), strict=True)}
    return Case(what, paths, partial(call_difference, *paths.values()), math.inf if "bf16" in names else 1e-3)


def patnet_correlation(query: Tensor, support: Tensor, mask: Tensor, anchors: Tensor) -> Tensor:
    """Return PATNet's correlation by the matrix (L, C, C) that the authors multiply every feature with (§2, §3)."""
    basis = scaled_rows(prototypes(support, mask))
    matrices = (torch.linalg.pinv(basis) @ anchors.double()).to(query.dtype)
    masked = support * resize_mask(mask, (support.shape[3], support.shape[4]))[:, None, None]
    q, s = (torch.einsum("blcd,blchw->bldhw", matrices, x) for x in (query, masked))
    return hyper_correlation(q, s, torch.ones_like(mask))


def patnet_coefficients(query: Tensor, support: Tensor, mask: Tensor, anchors: Tensor) -> Tensor:
    """Return PATNet's correlation by two coefficients a position, as the method computes it."""
    return AnchoredPair.between(query, support, mask).correlation(anchors).dense()


def patnet_cases(device: torch.device, kept: float = 0.25, side: int = 400) -> Iterator[Case]:
    """Compare PATNet's correlation at each scale of ResNet-50 by matrices and by two coefficients a position.

    --kept is the share of the support that its mask keeps.
    """
    generator = torch.Generator().manual_seed(0)
    mask, edge = torch.zeros(1, side, side, device=device), round(side * kept**0.5)
    mask[:, (side - edge) // 2 : (side + edge) // 2, (side - edge) // 2 : (side + edge) // 2] = 1
    for blocks, channels, stride in SCALES:
        size = -(-side // stride)
        shape = (1, blocks, channels, size, size)
        query, support = (torch.rand(shape, generator=generator).to(device) for _ in range(2))
        anchors = scaled_rows(torch.randn(blocks, 2, channels, generator=generator).to(device))
        yield _case(
            f"PATNet's correlation, {blocks} blocks of {channels} channels, {size} x {size}, {kept:.0%} kept",
            partial(patnet_correlation, query, support, mask, anchors),
            partial(patnet_coefficients, query, support, mask, anchors),
        )


def plain_contrast(a: Tensor, b: Tensor, temperature: float = 0.5) -> Tensor:
    """Return ABCDFSS's contrast with the products of all positions of all maps at once (abcdfss.md §4)."""
    first, second = (x.flatten(2) for x in (a, b))
    scores = first.mT @ second / temperature
    return (scores.logsumexp(2) - scores.diagonal(dim1=1, dim2=2)).mean()


def contrast_gradient(formula: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> list[Tensor]:
    """Return the gradient of a contrast by both maps."""
    leaves = [x.detach().requires_grad_() for x in (a, b)]
    with torch.enable_grad():
        return list(torch.autograd.grad(formula(*leaves), leaves))


def abcdfss_cases(device: torch.device, shot: int = 1, side: int = 400) -> Iterator[Case]:
    """Compare the gradient of the contrast of the supports' views, at each scale of ResNet-50.

    --shot is the number of supports; each has two views.
    """
    generator = torch.Generator().manual_seed(0)
    for _, _, stride in SCALES:
        size = -(-side // stride)
        maps = (torch.randn(2 * shot, 64, size, size, generator=generator).to(device) for _ in range(2))
        given = [F.normalize(x, dim=1) for x in maps]
        what = f"ABCDFSS's contrast with its gradient, {2 * shot} maps of 64 channels, {size} x {size}"
        yield _case(
            what, partial(contrast_gradient, plain_contrast, *given), partial(contrast_gradient, contrast, *given)
        )


def background_by_position(x: Tensor, background: Tensor) -> Tensor:
    """Return IFA's local background of one position after the other (ifa.md §3)."""
    found = []
    for position in x.T:
        weights = (LOCAL_SHARPNESS * F.cosine_similarity(position[:, None], background, dim=0)).softmax(0)
        found.append((weights * background).sum(1))
    return torch.stack(found, 1)


def ifa_cases(device: torch.device, outside: float = 0.75, side: int = 160) -> Iterator[Case]:
    """Compare IFA's local background of a query by one product of matrices and by a loop over its positions.

    --outside is the share of its positions that are surely background.
    """
    channels, size = 1024, -(-side // 8)
    x = torch.randn(channels, size * size, generator=torch.Generator().manual_seed(0)).to(device)
    given = (x, x[:, : max(round(outside * size * size), 1)].contiguous())
    what = f"IFA's local background, {channels} channels, {size} x {size}, {outside:.0%} of them background"
    yield _case(what, partial(background_by_position, *given), partial(local_background, *given))


def plain_matching(net: Matching, query: Tensor, source: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `net` does by the formula: all support tokens, those outside of the mask times 0 (hdmnet.md §4.3)."""
    q, k, v = net.project(query, source)
    scores = F.normalize(q, dim=3) @ F.normalize(k, dim=3).mT / TEMPERATURE
    shown = mask[:, None, None]
    matched = (scores * shown).sum(3).mean(1) / (mask.sum(1, keepdim=True) + 1e-9)
    return net.joined((scores.softmax(2) * shown) @ v), matched


def hdmnet_cases(device: torch.device, side: int = 60, shots: str = "1,5", kept: float = 0.25) -> Iterator[Case]:
    """Compare HDMNet's finest matching, of maps of 60 x 60 (images of 473 pixels), by the number of shots.

    --kept is the share of each support that its mask keeps.
    """
    torch.manual_seed(0)
    net, tokens = Matching(64, 2).to(device).requires_grad_(False), side * side
    for number in map(int, shots.split(",")):
        query, source = (torch.randn(1, n * tokens, 64, device=device) for n in (1, number))
        mask = (torch.arange(tokens, device=device) < kept * tokens).float().repeat(number)[None]
        given = (query, source, mask)
        what = f"HDMNet's matching, {side} x {side}, {number}-shot, {kept:.0%} of the supports kept"
        yield _case(what, partial(plain_matching, net, *given), partial(net, *given))


def plain_similarity(prototype: Tensor, query: Tensor, side: int) -> Tensor:
    """Return SegIC's similarity by the formula: all channels enlarged, each pixel brought to length 1 (segic.md §4)."""
    prototype, quarter = prototype[:, 0], (side // 4, side // 4)
    pixels = F.interpolate(query[None], quarter, mode="bilinear", align_corners=False)[0]
    cosine = torch.einsum("nc,cyx->nyx", F.normalize(prototype, dim=1, eps=1e-8), F.normalize(pixels, dim=0, eps=1e-8))
    return F.interpolate(cosine[:, None], (side, side), mode="bilinear", align_corners=False)


def segic_cases(device: torch.device, side: int = 896, channels: int = 1024) -> Iterator[Case]:
    """Compare SegIC's similarity of one and of five prototypes with every pixel of an image of --side pixels."""
    torch.manual_seed(0)
    query = torch.randn(channels, side // 14, side // 14, device=device)
    for count in (1, 5):
        given = (torch.randn(count, 1, channels, device=device), query, side)
        what = f"SegIC's similarity, {channels} channels, {side} pixels, {count} prototype{'s' * (count > 1)}"
        yield _case(what, partial(plain_similarity, *given), partial(similarity, *given))


def scan_cases(device: torch.device, channels: int = 2048, side: int = 256, windows: int = 4) -> Iterator[Case]:
    """Compare HMNet's scans, values alone: token by token in torch, and in blocks.

    --side tokens stand in each of --windows windows; the recapped scan has as many of a support before each. An
    episode of HMNet has 16 windows, for which the reference takes minutes.
    """
    generator, states, groups = torch.Generator().manual_seed(0), 16, 4

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    def tokens(*length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # u, delta, B, C
        inputs, groups_of = (1, channels, *length), (1, groups, states, *length)
        return drawn(*inputs), drawn(*inputs), drawn(*groups_of), drawn(*groups_of)

    A = -torch.arange(1.0, states + 1).expand(channels, -1).to(device)
    D, bias = drawn(channels), drawn(channels) * 0.5 - 4  # of delta, as before training
    u, delta, B, C = tokens(side * windows)
    scan = partial(selective_scan, u, delta, A, B, C, D, None, bias, True)
    yield _case(
        f"selective scan, {channels} channels, {side * windows} tokens, {states} states",
        partial(scan, backend="reference"),
        partial(scan, backend="torch"),
    )
    support, query = tokens(side), tokens(windows, side)
    yield _case(
        f"recapped scan, {channels} channels, {side} tokens before each of {windows} windows of {side}",
        lambda: long_scan(*support, *query, A, D, bias, True, "reference")[1],
        lambda: recapped_scan(*support, *query, A, D, bias, True, "torch")[1],
    )


def network_cases(device: torch.device, backbone: str = "resnet50_v1", side: int = 400) -> Iterator[Case]:
    """Compare a frozen pyramid, whose BatchNorms are part of its convolutions, with the network that it was made of."""
    torch.manual_seed(0)
    frozen = FrozenPyramid(BackboneConfig(backbone, "random"))
    frozen.fine = False
    network = build_pyramid_network(frozen.spec).to(device).eval().requires_grad_(False)
    network.load_state_dict(frozen.state, strict=False)
    image = torch.randn(3, side, side, device=device)
    yield _case(
        f"HSNet's network, {backbone}, {side} pixels, one image",
        lambda: block_features(network, image[None])[frozen.spec.blocks[0] :],
        lambda: [block for stage in frozen.encode(image) for block in stage[None].unbind(1)],
    )


def precision_cases(
    device: torch.device, networks: str = "dinov2_vits14:448,swin_base:384,resnet50:400"
) -> Iterator[Case]:
    """Compare one image of noise through each network with random weights, as `--backbone-precision` has it computed.

    A processor gains by bf16 where it multiplies in it (AMX, AVX512-BF16); elsewhere it converts, and loses.
    """
    for name, side in (word.split(":") for word in networks.split(",")):
        image = torch.randn(3, int(side), int(side), generator=torch.Generator().manual_seed(0)).to(device)
        kind: type[FrozenBackbone] = FrozenViT if name in VITS else FrozenPyramid
        full, half = (kind(BackboneConfig(name, "random", precision=precision)) for precision in PRECISIONS)
        what = f"{name} in bf16, one image of {side} pixels"
        yield _case(what, partial(full.encode, image), partial(half.encode, image), " ".join(PRECISIONS))
