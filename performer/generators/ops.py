"""Building blocks of the StyleGAN2 families, in the static-weight form that compiled engines want.

A modulated convolution scales its weights by a style, per image. Here the activations are scaled instead, the
convolution keeps constant weights, and demodulation follows as a per-channel gain:

    y = conv(x * s, W) * d,    d_o = 1 / sqrt(sum_i s_i^2 Q_oi + 1e-8),    Q_oi = sum_k W_oik^2

which equals the weight form of Karras et al. (2020), section 2.2, since a convolution is linear in its weights.
`modulated_conv_reference` is the weight form, kept as the oracle.

Thread: whoever calls. No I/O, no global flags.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAK = 0.2
ACTIVATION_GAIN = math.sqrt(2.0)
TAPS = (1.0, 3.0, 3.0, 1.0)  # the low-pass of StyleGAN2
CLAMP = 256.0  # keeps half precision in range; never reached by a healthy network


def modulated_conv_reference(
    x: Tensor,  # Activations, [N, I, H, W].
    weight: Tensor,  # Weights, [O, I, k, k].
    style: Tensor,  # Modulation of the input channels, [N, I].
    *,
    demodulate: bool = True,
) -> Tensor:  # [N, O, H, W]
    """The weight form: modulate and demodulate the weights of each image, then convolve. Slow and obvious."""
    images = []
    for image, s in zip(x, style, strict=True):
        w = weight * s[None, :, None, None]
        if demodulate:
            w = w * torch.rsqrt(w.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
        images.append(F.conv2d(image[None], w, padding=weight.shape[-1] // 2))
    return torch.cat(images)


class Affine(nn.Module):
    """w to style: a fully connected layer with equalised learning rate."""

    def __init__(self, w_dim: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, w_dim))
        self.bias = nn.Parameter(torch.empty(channels))
        self.gain = 1.0 / math.sqrt(w_dim)

    def forward(self, w: Tensor) -> Tensor:  # [N, w_dim] -> [N, channels]
        return F.linear(w, self.weight * self.gain, self.bias)


class StyledConv(nn.Module):
    """Modulated convolution, noise, bias, leaky ReLU.

    Activations travel channels-last between layers, and the arithmetic around a convolution is written on that layout:
    compilers then keep it for the whole network. With the arithmetic on channels-first tensors OpenVINO re-ordered
    memory twice a layer and took 20 ms for the light 256 px generator where this form takes 14 (one core).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        w_dim: int,
        size_px: tuple[int, int],  # Of the output, (height, width).
        up: str = "",  # "", "fir" (transposed convolution and FIR, as published) or "bilinear" (convolve, then enlarge).
        taps: Sequence[float] = TAPS,  # Of the FIR.
        clamp: float | None = CLAMP,
        gain: float = 1.0,  # Of the output; residual networks take the root of a half.
    ) -> None:
        super().__init__()
        self.up, self.taps = up, tuple(taps)
        self.clamp = None if clamp is None else clamp * gain
        self.gain = ACTIVATION_GAIN * gain
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.noise_strength = nn.Parameter(torch.empty([]))
        self.register_buffer("noise_const", torch.empty(size_px))
        self.affine = Affine(w_dim, in_channels)
        self.noise_const: Tensor

    def forward(
        self,
        x: Tensor,  # [N, H, W, I]
        w: Tensor,  # [N, w_dim]
        noise_gain: Tensor,  # [], 1 as trained.
    ) -> Tensor:  # [N, H or 2H, W or 2W, O]
        return self.activate(self.before_activation(x, w, noise_gain))

    def before_activation(self, x: Tensor, w: Tensor, noise_gain: Tensor) -> Tensor:
        """The linear part."""
        s = self.affine(w)
        q = self.weight.square().sum(dim=(2, 3))  # [O, I]; a constant, folded by every compiler
        d = torch.rsqrt(s.square() @ q.t() + 1e-8)
        x = (x * s[:, None, None, :]).permute(0, 3, 1, 2)
        x = conv_up_fir(x, self.weight, self.taps) if self.up == "fir" else F.conv2d(x, self.weight, padding=1)
        if self.up == "bilinear":
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = x.permute(0, 2, 3, 1) * d[:, None, None, :]
        return x + (self.noise_const * self.noise_strength)[:, :, None] * noise_gain + self.bias

    def activate(self, x: Tensor) -> Tensor:
        """Leaky ReLU with the gain that keeps the variance, clamped."""
        return clamped(F.leaky_relu(x, LEAK) * self.gain, self.clamp)


class ToRgb(nn.Module):
    """Modulated convolution to image channels, without demodulation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        w_dim: int,
        kernel: int = 1,
        clamp: float | None = CLAMP,
    ) -> None:
        super().__init__()
        self.clamp = clamp
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.affine = Affine(w_dim, in_channels)
        self.padding = kernel // 2
        self.gain = 1.0 / math.sqrt(in_channels * kernel * kernel)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:  # [N, H, W, I], [N, w_dim] -> [N, H, W, O]
        return self.convolve(x, w, self.weight, self.bias)

    def convolve(self, x: Tensor, w: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The layer with other weights and biases of the same kernel size: [N, H, W, I] -> [N, H, W, O]."""
        s = self.affine(w) * self.gain
        x = F.conv2d((x * s[:, None, None, :]).permute(0, 3, 1, 2), weight, padding=self.padding)
        return clamped(x.permute(0, 2, 3, 1) + bias, self.clamp)


class Skip(nn.Module):
    """The residual network's short way past a block: a 1x1 convolution, then enlarged."""

    def __init__(self, in_channels: int, out_channels: int, *, taps: Sequence[float] = TAPS, gain: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 1, 1))
        self.gain = gain / math.sqrt(in_channels)
        self.taps = tuple(taps)

    def forward(self, x: Tensor) -> Tensor:  # [N, H, W, I] -> [N, 2H, 2W, O]
        x = F.conv2d(x.permute(0, 3, 1, 2), self.weight * self.gain)
        return image_up_fir(x, self.taps).permute(0, 2, 3, 1)


def clamped(x: Tensor, limit: float | None) -> Tensor:
    """`x` kept within -limit..limit; None leaves it."""
    return x if limit is None else x.clamp(-limit, limit)


def fir_kernel(gain: float, *, channels: int, taps: Sequence[float]) -> Tensor:  # [channels, 1, 4, 4]
    """A separable low-pass as a depthwise kernel whose sum is `gain`."""
    row = torch.tensor(taps)
    kernel = torch.outer(row, row)
    return (kernel * (gain / kernel.sum())).repeat(channels, 1, 1, 1)


def conv_up_fir(
    x: Tensor,  # [N, I, H, W]
    weight: Tensor,  # [O, I, 3, 3]
    taps: Sequence[float] = TAPS,
) -> Tensor:  # [N, O, 2H, 2W]
    """Transposed convolution of stride 2, then the FIR low-pass with gain 4."""
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    channels = weight.shape[0]
    return F.conv2d(F.pad(x, (1, 1, 1, 1)), fir_kernel(4.0, channels=channels, taps=taps).to(x), groups=channels)


def image_up_fir(
    image: Tensor,  # [N, C, H, W]
    taps: Sequence[float] = TAPS,
) -> Tensor:  # [N, C, 2H, 2W]
    """Enlarge a picture with the same low-pass."""
    channels = image.shape[1]
    kernel = fir_kernel(4.0, channels=channels, taps=taps).to(image)
    return F.conv_transpose2d(image, kernel, stride=2, padding=1, groups=channels)
