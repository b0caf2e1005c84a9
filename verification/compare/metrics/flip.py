# SPDX-License-Identifier: GPL-3.0-or-later
"""FLIP for LDR pictures: how different two pictures look to a person who flips between them.

Written after Andersson, Nilsson, Akenine-Möller, Oskarsson, Åström, Fairchild: "FLIP: A Difference Evaluator
for Alternating Images" (HPG 2020); section and equation numbers below are that paper's. FLIP is for people's
eyes: no verdict within a device class rests on it.
"""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

PIXELS_PER_DEGREE = 0.7 * 3840 / 0.7 * math.pi / 180
"""An observer 0.7 m from a display 0.7 m wide with 3840 pixels."""

TO_XYZ = (
    (10135552 / 24577794, 8788810 / 24577794, 4435075 / 24577794),
    (2613072 / 12288897, 8788810 / 12288897, 887015 / 12288897),
    (1425312 / 73733382, 8788810 / 73733382, 70074185 / 73733382),
)
"""Linear sRGB to CIE XYZ, D65."""

SENSITIVITY = (
    ((1.0, 0.0047), (0.0, 1e-5)),
    ((1.0, 0.0053), (0.0, 1e-5)),
    ((34.1, 0.04), (13.5, 0.025)),
)
"""Table 1: two Gaussians (a, b) of the contrast sensitivity of each opponent channel."""

COLOUR_EXPONENT, COLOUR_BEND, COLOUR_SHARE = 0.7, 0.4, 0.95
"""q_c, p_c and p_t of equations 8 and 9."""

FEATURE_WIDTH, FEATURE_EXPONENT = 0.082, 0.5
"""w in degrees and q_f of section 4.2."""


def flip(
    submitted: Tensor, reference: Tensor, device: str = "cpu", pixels_per_degree: float = PIXELS_PER_DEGREE
) -> Tensor:
    """FLIP of each pixel, 0 (alike) to 1, of shape (batch, height, width).

    `submitted` and `reference` are sRGB values in 0..1 of shape (batch, 3, height, width); values outside are
    clipped. `device` is torch's; `pixels_per_degree` is how large a pixel is for who looks.
    """
    one, other = (
        _opponent(picture.to(device, torch.float32).clamp(0, 1)) for picture in (submitted, reference)
    )
    colour = _colour_difference(one, other, pixels_per_degree)
    feature = _feature_difference(one[:, :1], other[:, :1], pixels_per_degree)
    return torch.pow(colour, 1 - feature)[:, 0]


def _matrix(rows: tuple[tuple[float, ...], ...], picture: Tensor) -> Tensor:
    table = torch.tensor(rows, dtype=picture.dtype, device=picture.device)
    return torch.einsum("ij,bjhw->bihw", table, picture)


@cache
def _to_rgb() -> tuple[tuple[float, ...], ...]:
    inverse = torch.linalg.inv(torch.tensor(TO_XYZ, dtype=torch.float64))
    return tuple(tuple(row) for row in inverse.tolist())


def _white(picture: Tensor) -> Tensor:
    rows = [sum(row) for row in TO_XYZ]
    return torch.tensor(rows, dtype=picture.dtype, device=picture.device).view(1, 3, 1, 1)


def _opponent(srgb: Tensor) -> Tensor:
    """SRGB to the linear opponent space YCxCz (section 4.1.1)."""
    linear = torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    x, y, z = (_matrix(TO_XYZ, linear) / _white(linear)).unbind(1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), 1)


def _linear(opponent: Tensor) -> Tensor:
    lightness, red_green, yellow_blue = opponent.unbind(1)
    y = (lightness + 16) / 116
    xyz = torch.stack((y + red_green / 500, y, y - yellow_blue / 200), 1) * _white(opponent)
    return _matrix(_to_rgb(), xyz)


def _lab(linear: Tensor) -> Tensor:
    """Linear sRGB to CIELab, its colourfulness adjusted to the luminance as Hunt found (equation 6)."""
    ratio = _matrix(TO_XYZ, linear) / _white(linear)
    edge = 6 / 29
    curved = torch.where(ratio > edge**3, ratio.clamp(min=1e-12) ** (1 / 3), ratio / (3 * edge**2) + 4 / 29)
    x, y, z = curved.unbind(1)
    lightness = 116 * y - 16
    return torch.stack((lightness, 5 * lightness * (x - y), 2 * lightness * (y - z)), 1)


def _hyab(one: Tensor, other: Tensor) -> Tensor:
    apart = one - other
    chroma: Tensor = torch.linalg.vector_norm(apart[:, 1:], dim=1, keepdim=True)
    return apart[:, :1].abs() + chroma


def _colour_difference(one: Tensor, other: Tensor, pixels_per_degree: float) -> Tensor:
    """Equations 4 to 9: what is left of a colour difference at the observer's distance."""
    seen = [_lab(_linear(_as_seen(picture, pixels_per_degree)).clamp(0, 1)) for picture in (one, other)]
    corners = [
        _lab(torch.tensor(c, device=one.device).view(1, 3, 1, 1)) for c in ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    ]
    largest = _hyab(*corners) ** COLOUR_EXPONENT
    found = _hyab(*seen) ** COLOUR_EXPONENT
    bend = COLOUR_BEND * largest
    above = COLOUR_SHARE + (found - bend) / (largest - bend) * (1 - COLOUR_SHARE)
    return torch.where(found < bend, COLOUR_SHARE / bend * found, above).clamp(0, 1)


def _as_seen(opponent: Tensor, pixels_per_degree: float) -> Tensor:
    """Each opponent channel blurred by its contrast sensitivity function (section 4.1.1)."""
    widest = max(b for gaussians in SENSITIVITY for _, b in gaussians)
    radius = math.ceil(3 * math.sqrt(widest / (2 * math.pi**2)) * pixels_per_degree)
    distance = torch.arange(-radius, radius + 1, dtype=torch.float32, device=opponent.device)
    squares = (distance / pixels_per_degree) ** 2
    square = squares[:, None] + squares[None, :]
    kernels = [_sensitivity(square, gaussians) for gaussians in SENSITIVITY]
    weights = torch.stack([kernel / kernel.sum() for kernel in kernels])[:, None]
    return conv2d(_edged(opponent, radius), weights, groups=3)


def _sensitivity(square: Tensor, gaussians: tuple[tuple[float, float], ...]) -> Tensor:
    parts = [a * math.sqrt(math.pi / b) * torch.exp(-(math.pi**2) * square / b) for a, b in gaussians]
    return torch.stack(parts).sum(0)


def _edged(picture: Tensor, radius: int) -> Tensor:
    return pad(picture, (radius, radius, radius, radius), mode="replicate")


def _feature_difference(one: Tensor, other: Tensor, pixels_per_degree: float) -> Tensor:
    """Section 4.2: edges and points that only one of the pictures has, from their lightness."""
    found = [_features((lightness + 16) / 116, pixels_per_degree) for lightness in (one, other)]
    edges, points = ((mine - theirs).abs() for mine, theirs in zip(*found, strict=True))
    return (torch.maximum(edges, points) / math.sqrt(2)) ** FEATURE_EXPONENT


def _features(lightness: Tensor, pixels_per_degree: float) -> tuple[Tensor, Tensor]:
    """Strength of edges and of points: first and second derivatives of a Gaussian."""
    deviation = 0.5 * FEATURE_WIDTH * pixels_per_degree
    radius = math.ceil(3 * deviation)
    x = torch.arange(-radius, radius + 1, dtype=torch.float32, device=lightness.device)
    gauss = torch.exp(-(x**2) / (2 * deviation**2))
    padded = _edged(lightness, radius)
    edge = _derivative(padded, gauss, -x * gauss)
    point = _derivative(padded, gauss, ((x / deviation) ** 2 - 1) * gauss)
    return edge, point


def _derivative(padded: Tensor, across: Tensor, along: Tensor) -> Tensor:
    kernel = across[:, None] * along[None, :]
    kernel = torch.where(kernel > 0, kernel / kernel[kernel > 0].sum(), kernel / -kernel[kernel < 0].sum())
    horizontal = conv2d(padded, kernel[None, None])
    vertical = conv2d(padded, kernel.T[None, None])
    return torch.sqrt(horizontal**2 + vertical**2)
