"""Critics: they learn to tell real pictures from generated ones, and so teach the generator.

- `Plain` looks at pixels: the residual discriminator of Karras et al., "Analyzing and Improving the Image Quality of
  StyleGAN" (2020), section 4, with adaptive augmentation.
- `Projected` looks through a network that already knows how to see: Sauer et al., "Projected GANs Converge Faster"
  (2021). It needs a tenth of the pictures and of the time.

Thread: whoever calls.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from performer.generators.ops import ACTIVATION_GAIN, LEAK, TAPS, Affine, fir_kernel
from performer.training.lite0 import WIDTHS, Lite0

GROUP = 4  # pictures that are compared with each other to notice sameness
FOLDED = 2  # pixels in each direction that become channels
LEAST_SEEN_PX = 128  # smaller pictures are enlarged for the network that sees, which learnt from larger ones
VIRTUAL = 8  # pictures that are normalised together, however large the batch


class Equalised(nn.Module):
    """Convolution with equalised learning rate: Karras et al., "Progressive Growing of GANs" (2018), section 4.1."""

    def __init__(self, inside: int, out: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, inside, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out)) if bias else None
        self.gain = 1 / math.sqrt(inside * kernel * kernel)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.gain, self.bias, padding=self.weight.shape[-1] // 2)


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, LEAK) * ACTIVATION_GAIN


class Plain(nn.Module):
    """Pictures [N, 3, R, R] in -1..1 to one number each [N]: positive for real."""

    def __init__(self, *, size_px: int, channels: dict[int, int], shuffle: int = 1) -> None:
        """`channels` by resolution, from 4; `shuffle` first folds the picture into channels, as light generators end."""
        super().__init__()
        self.shuffle = shuffle
        top = size_px // shuffle
        self.first = Equalised(3 * shuffle * shuffle, channels[top], 1 if shuffle == 1 else 3)
        self.blocks = nn.ModuleList()
        while top > 4:
            self.blocks.append(_Down(channels[top], channels[top // 2]))
            top //= 2
        self.mixed = Equalised(channels[4] + 1, channels[4], 3)
        self.last = nn.Sequential(nn.Flatten(), _dense(channels[4] * 16, channels[4]))
        self.out = _dense(channels[4], 1)

    def forward(self, x: Tensor) -> Tensor:  # [N]
        x = leaky(self.first(F.pixel_unshuffle(x, self.shuffle)))
        for block in self.blocks:
            x = block(x)
        x = leaky(self.mixed(torch.cat([x, sameness(x.float()).to(x.dtype)], dim=1)))
        return self.out(leaky(self.last(x)))[:, 0].float()


def _dense(inside: int, out: int) -> Affine:
    layer = Affine(inside, out)
    nn.init.normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class _Down(nn.Module):
    """A residual block that halves the picture."""

    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        self.stay, self.widen = Equalised(inside, inside, 3), Equalised(inside, out, 3)
        self.short = Equalised(inside, out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        short = self.short(halved(x))
        x = leaky(self.widen(halved(leaky(self.stay(x)))))
        return (x + short) * math.sqrt(0.5)


def halved(x: Tensor) -> Tensor:
    """Half the size, by the low-pass 1 3 3 1 in both directions."""
    kernel = fir_kernel(1.0, channels=x.shape[1], taps=TAPS).to(x)
    return F.conv2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


def sameness(x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, 1, H, W]
    """How much the pictures of a group differ: Karras et al. (2018), section 3."""
    n, c, h, w = x.shape
    group = math.gcd(n, GROUP)
    spread = x.reshape(-1, group, c, h, w)
    # The root has no slope at 0, where all pictures of a group are alike.
    spread = (spread.var(dim=1, correction=0) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    return spread.repeat_interleave(group)[:, None, None, None].expand(-1, 1, h, w)


class Projected(nn.Module):
    """Pictures to one number for each place at each of four scales, and in the pixels: positive for real.

    Section 3.2 of the paper: features of a fixed network are mixed across channels and across scales by fixed random
    convolutions, and a small critic looks at each scale. Only these learn. One more looks at the pixels themselves, at
    many small places (Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (2017), section
    3.2.2): what alternates from one pixel to the next the network hardly sees, and a generator fills wings with it.
    Normalisation is over groups of eight, as in Sauer et al., "StyleGAN-T" (2023), section 3.2, so that several processes
    compute what one would.
    """

    def __init__(self, eyes: Lite0, *, size_px: int, seed: int, width: int = 32) -> None:
        super().__init__()
        self.eyes = eyes
        self.enlarged = max(LEAST_SEEN_PX // size_px, 1)
        size_px *= self.enlarged
        self.across, self.down, self.narrow = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        generator = torch.Generator().manual_seed(seed)
        mixed = [width << scale for scale in range(len(WIDTHS))]
        for scale, inside in enumerate(WIDTHS):
            self.across.append(_fixed(inside, mixed[scale], 1, generator))
            self.down.append(_fixed(mixed[scale], mixed[scale], 3, generator))
            if scale:
                self.narrow.append(_fixed(mixed[scale], mixed[scale - 1], 1, generator))
        end = min(8, size_px // 32)
        self.critics = nn.ModuleList(
            [_ScaleCritic(mixed[scale], 2 * mixed[scale], size_px // (4 << scale), end) for scale in range(len(WIDTHS))]
        )
        folded_px = size_px // self.enlarged // FOLDED
        self.critics.append(_ScaleCritic(3 * FOLDED**2, 2 * width, folded_px, max(folded_px // 4, 4)))

    def features(self, x: Tensor) -> list[Tensor]:  # [N, 3, R, R] -> four of [N, C, R / 4..32, R / 4..32], and pixels
        """What the critics look at. Nothing here learns."""
        pixels = F.pixel_unshuffle(x, FOLDED)
        if self.enlarged > 1:
            x = F.interpolate(x, scale_factor=self.enlarged, mode="bilinear", align_corners=False)
        found = [mix(y) for mix, y in zip(self.across, self.eyes(x), strict=True)]
        mixed = [self.down[-1](found[-1])]
        for scale in range(len(found) - 2, -1, -1):
            coarser = F.interpolate(self.narrow[scale](mixed[0]), scale_factor=2, mode="bilinear", align_corners=False)
            mixed.insert(0, self.down[scale](found[scale] + coarser))
        return [*mixed, pixels]

    def judge(self, features: list[Tensor]) -> list[Tensor]:  # five of [N, places]
        return [critic(x).flatten(1).float() for critic, x in zip(self.critics, features, strict=True)]


class _ScaleCritic(nn.Module):
    """Features of one scale to a number for each place."""

    def __init__(self, channels: int, width: int, size_px: int, end_px: int) -> None:
        """`width` is that of the first layer; each has twice that of the one before it."""
        super().__init__()
        layers: list[nn.Module] = []
        while size_px > end_px:
            width = min(width, 256)
            layers += [_spectral(channels, width, 4, stride=2, padding=1), LocalNorm(width), nn.LeakyReLU(LEAK)]
            channels, width, size_px = width, width * 2, size_px // 2
        layers.append(_spectral(channels, 1, 4))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def _spectral(inside: int, out: int, kernel: int, *, stride: int = 1, padding: int = 0) -> nn.Module:
    conv = nn.Conv2d(inside, out, kernel, stride=stride, padding=padding, bias=False)
    return parametrizations.spectral_norm(conv)


def _fixed(inside: int, out: int, kernel: int, generator: torch.Generator) -> nn.Conv2d:
    """A random convolution that keeps the variance and never learns."""
    conv = nn.Conv2d(inside, out, kernel, padding=kernel // 2, bias=False)
    weight = torch.randn(conv.weight.shape, generator=generator) * math.sqrt(1 / (inside * kernel * kernel))
    conv.weight = nn.Parameter(weight, requires_grad=False)
    return conv


class LocalNorm(nn.Module):
    """Batch normalisation over groups of `VIRTUAL` pictures, with no memory of earlier ones."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W]
        n, c, h, w = x.shape
        groups = n // math.gcd(n, VIRTUAL)
        y = x.float().reshape(groups, -1, c, h, w)
        mean, var = y.mean(dim=(1, 3, 4), keepdim=True), y.var(dim=(1, 3, 4), keepdim=True, correction=0)
        y = ((y - mean) * torch.rsqrt(var + 1e-5)).reshape(n, c, h, w)
        return (y * self.weight[:, None, None] + self.bias[:, None, None]).to(x.dtype)
