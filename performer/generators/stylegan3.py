"""StyleGAN3 synthesis, configurations T and R: signals instead of pixels, a Fourier input that can be moved.

Written from Karras et al., "Alias-Free Generative Adversarial Networks" (2021), sections 2 and 3 and appendices C and D.
Row 0 of ws drives the input, row i + 1 layer i. There is no noise.

The layers' rates, sizes and paddings come from the checkpoint's options (`layers`), where the file that it was imported
from kept them, and else from the published design (`design`).

Thread: whoever calls.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from performer.flow import F32
from performer.generators.checkpoint import Checkpoint, CheckpointError, Sizes
from performer.generators.mapping import z_dim_of
from performer.generators.ops import (
    ACTIVATION_GAIN,
    CLAMP,
    LEAK,
    Affine,
    Guarded,
    bends_of,
    bent_planes,
    channels_last,
    clamped,
    demodulation,
    guarded,
)

NAME = "stylegan3"
OUTPUT_SCALE = 0.25
MARGIN = 10  # of every layer's picture on each side beyond what is seen, px
NUM_LAYERS, NUM_CRITICAL = 14, 2
FIRST_CUTOFF, FIRST_STOPBAND, LAST_STOPBAND = 2.0, 2**2.1, 2**0.3
TAPS_A_FACTOR = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPlan:
    """The geometry of one layer."""

    name: str  # as in the checkpoint: L3_52_512
    is_torgb: bool
    up_factor: int
    down_factor: int
    padding: tuple[int, int, int, int]  # of the enlarged picture: left, right, top, bottom; negative crops
    clamp: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPlan:
    """The geometry of the Fourier input."""

    size: tuple[int, int]  # (width, height), samples
    rate: float  # samples a unit of length; the picture is one unit wide
    bandwidth: float


class FourierInput(nn.Module):
    """Sines over the plane, moved by the first w and by the hand, then mixed."""

    in_half = ("weight",)  # phases are of many turns, of which half precision would keep no fraction

    def __init__(self, plan: InputPlan, *, channels: int, w_dim: int) -> None:
        super().__init__()
        self.plan = plan
        self.weight = nn.Parameter(torch.empty(channels, channels))
        self.register_buffer("freqs", torch.empty(channels, 2))
        self.register_buffer("phases", torch.empty(channels))
        self.affine = Affine(w_dim, 4)
        self.freqs: Tensor
        self.phases: Tensor
        width, height = plan.size
        x = (torch.arange(width) + 0.5 - width / 2) / plan.rate
        y = (torch.arange(height) + 0.5 - height / 2) / plan.rate
        grid = torch.stack([x[None, :].expand(height, -1), y[:, None].expand(-1, width)])
        self.register_buffer("grid", grid.flatten(1), persistent=False)  # [2, height * width]
        self.grid: Tensor

    def forward(
        self,
        w: Tensor,  # [N, w_dim]
        transform: Tensor,  # [3, 3], the inverse of how the picture is moved
    ) -> Tensor:  # [N, C, height, width]
        t = self.affine(w)
        t = t / torch.sqrt(t[:, :1].square() + t[:, 1:2].square())
        cos, sin = t[:, 0], t[:, 1]
        # Rotation by (cos, sin), then translation by (-t2, -t3), written out: fewer and simpler operations to compile.
        shift_x = cos * -t[:, 2] - sin * -t[:, 3]
        shift_y = sin * -t[:, 2] + cos * -t[:, 3]
        learnt = torch.stack([cos, -sin, shift_x, sin, cos, shift_y], dim=1).reshape(-1, 2, 3)
        moved = learnt[:, :, :2] @ transform[:2] + learnt[:, :, 2:] * transform[2:]  # [N, 2, 3]
        phases = self.phases + (self.freqs @ moved[:, :, 2:])[:, :, 0]  # [N, C]
        freqs = self.freqs @ moved[:, :, :2]  # [N, C, 2]
        # Frequencies that the move makes too high for the grid fade out, or they would alias.
        length = torch.sqrt(freqs.square().sum(dim=2))
        fading = 1 - (length - self.plan.bandwidth) / (self.plan.rate / 2 - self.plan.bandwidth)
        waves = torch.sin((freqs @ self.grid + phases[:, :, None]) * (2 * math.pi)) * fading.clamp(0, 1)[:, :, None]
        mixed = (self.weight / math.sqrt(self.weight.shape[1])) @ waves.to(self.weight.dtype)
        width, height = self.plan.size
        return mixed.reshape(-1, self.weight.shape[0], height, width)


class SignalLayer(Guarded):
    """Modulated convolution, then a leaky ReLU at a higher rate between two low-passes."""

    def __init__(
        self,
        plan: LayerPlan,
        *,
        shape: tuple[int, ...],  # of the weight: [O, I, k, k]
        w_dim: int,
        up_taps: int,  # 0 for no filter
        down_shape: tuple[int, ...],  # [taps], or [taps, taps] where the filter is radial; () for none
    ) -> None:
        super().__init__()
        self.plan = plan
        outputs, inputs, self.kernel = shape[:3]
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.affine = Affine(w_dim, inputs)
        self.register_buffer("magnitude_ema", torch.empty([]))
        self.magnitude_ema: Tensor
        self.up_filter: Tensor | None
        self.down_filter: Tensor | None
        self.register_buffer("up_filter", torch.empty(up_taps) if up_taps else None)
        self.register_buffer("down_filter", torch.empty(down_shape) if down_shape else None)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:  # [N, I, H, W], [N, w_dim] -> [N, O, H', W']
        s = self.affine(w)
        fan_in = self.weight[0].numel()
        s = s / math.sqrt(fan_in) if self.plan.is_torgb else s
        # What the inputs' size was in training is taken out again.
        scale, makeup = guarded(s * torch.rsqrt(self.magnitude_ema), self.norm)
        x = F.conv2d(x * scale[:, :, None, None], self.weight, padding=self.kernel - 1)
        if self.plan.is_torgb:
            x = x.float() if makeup is None else x.float() * makeup[:, :, None, None]
        else:
            # The weights of each output channel have a mean square of 1; that too is a gain behind the convolution.
            q = self.energy()
            size = torch.rsqrt(q.sum(dim=1) / fan_in)
            d = demodulation(s, q * size.square()[:, None], size if makeup is None else makeup * size)
            x = x * d.to(x.dtype)[:, :, None, None]
        x = x + self.bias.to(x.dtype)[:, None, None]
        if self.up_filter is not None:
            x = self._enlarged(x, self.up_filter)
        if not self.plan.is_torgb:
            x = F.leaky_relu(x, LEAK) * ACTIVATION_GAIN
        x = clamped(x, self.plan.clamp)
        if self.down_filter is not None:
            x = self._reduced(x, self.down_filter)
        return x

    def _enlarged(self, x: Tensor, taps: Tensor) -> Tensor:
        """Zeros between the samples, then the low-pass; one axis after the other."""
        up, channels, count = self.plan.up_factor, x.shape[1], taps.shape[0]
        kernel = (taps * up).to(x.dtype).repeat(channels, 1, 1, 1)
        x = F.conv_transpose2d(x, kernel, stride=(1, up), groups=channels)
        x = F.conv_transpose2d(x, kernel.transpose(2, 3), stride=(up, 1), groups=channels)
        left, right, top, bottom = self.plan.padding
        # A transposed convolution gives all there is; the padding says how much of it is wanted.
        before, after = count - 1, count - 1 - (up - 1)
        return F.pad(x, (left - before, right - after, top - before, bottom - after))

    def _reduced(self, x: Tensor, taps: Tensor) -> Tensor:
        """The low-pass, and every n-th sample of it."""
        down, channels, taps = self.plan.down_factor, x.shape[1], taps.to(x.dtype)
        if taps.dim() == 2:
            return F.conv2d(x, taps.repeat(channels, 1, 1, 1), stride=down, groups=channels)
        kernel = taps.repeat(channels, 1, 1, 1)
        x = F.conv2d(x, kernel, stride=(1, down), groups=channels)
        return F.conv2d(x, kernel.transpose(2, 3), stride=(down, 1), groups=channels)


class StyleGan3(nn.Module):
    """ws and a transform to an image in about -1..1."""

    takes_transform = True

    def __init__(self, input_: FourierInput, layers: list[SignalLayer], *, output_scale: float) -> None:
        super().__init__()
        self.input = input_
        self.layers = nn.ModuleList(layers)
        self.bends = nn.ModuleDict()  # by row
        self.output_scale = output_scale

    def forward(
        self,
        ws: Tensor,  # [N, num_ws, w_dim]
        noise: Tensor,  # [0]; this family has none
        *,
        transform: Tensor,  # [3, 3], the inverse of how the picture is moved; identity leaves it
        bends: Tensor | None = None,  # [3, 7]
    ) -> Tensor:  # [N, 3, R, R]
        x = bent_planes(channels_last(self.input(ws[:, 0], transform)), bends, self.bends, 0)
        for index, layer in enumerate(self.layers):
            x = bent_planes(layer(x, ws[:, index + 1]), bends, self.bends, index + 1)
        return x * self.output_scale

    def row_of(self, tensor: str) -> int:
        """The row of ws to whose layer a tensor of the network belongs."""
        part, index, *_ = tensor.split(".")
        return int(index) + 1 if part == "layers" else 0


def design(
    resolution: int,  # px
    *,
    radial: bool,  # configuration R
    names: list[str],  # of the layers, in order
) -> tuple[InputPlan, list[LayerPlan]]:
    """The published geometry (appendix D), for checkpoints that kept nothing but their tensors."""
    count = len(names) - 1
    steps = [min(i / (count - NUM_CRITICAL), 1.0) for i in range(count + 1)]
    cutoffs = [FIRST_CUTOFF * (resolution / 2 / FIRST_CUTOFF) ** step for step in steps]
    stopbands = [FIRST_STOPBAND * (resolution / 2 * LAST_STOPBAND / FIRST_STOPBAND) ** step for step in steps]
    rates = [2 ** math.ceil(math.log2(min(2 * stopband, resolution))) for stopband in stopbands]
    sizes = [rate + 2 * MARGIN for rate in rates]
    sizes[-2:] = [resolution] * 2
    plans = []
    for i, name in enumerate(names):
        before, is_torgb = max(i - 1, 0), i == count
        in_rate, out_rate = rates[before], rates[i]
        between = max(in_rate, out_rate) * (1 if is_torgb else 2)
        up, down = between // in_rate, between // out_rate
        kernel = 1 if is_torgb or radial else 3
        up_taps = TAPS_A_FACTOR * up if up > 1 and not is_torgb else 1
        down_taps = TAPS_A_FACTOR * down if down > 1 and not is_torgb else 1
        total = (sizes[i] - 1) * down + 1 - (sizes[before] + kernel - 1) * up + up_taps + down_taps - 2
        low = (total + up) // 2
        plans.append(
            LayerPlan(
                name=name,
                is_torgb=is_torgb,
                up_factor=up,
                down_factor=down,
                padding=(low, total - low, low, total - low),
                clamp=CLAMP,
            )
        )
    return InputPlan(size=(sizes[0], sizes[0]), rate=float(rates[0]), bandwidth=cutoffs[0]), plans


def layer_names(tensors: dict[str, F32]) -> list[str]:
    """The names of the layers, in order."""
    names = {key.split(".")[1] for key in tensors if key.startswith("synthesis.L")}
    return sorted(names, key=lambda name: int(name[1:].split("_")[0]))


def sizes_of(tensors: dict[str, F32], options: dict[str, Any]) -> Sizes:
    """The sizes of a generator, from its tensors. Raises CheckpointError."""
    names = layer_names(tensors)
    try:
        w_dim = tensors["synthesis.input.affine.weight"].shape[1]
        width, height = (
            options["layers"][-1]["out_size"] if options.get("layers") else [int(names[-1].split("_")[1])] * 2
        )
        z_dim = z_dim_of(tensors)
    except IndexError:
        raise CheckpointError("no synthesis.L0_… among the tensors; expected the layers of a StyleGAN3") from None
    except KeyError as error:
        raise CheckpointError(f"tensor {error} is missing; expected a StyleGAN3") from None
    return Sizes(
        height_px=int(height),
        width_px=int(width),
        z_dim=z_dim,
        w_dim=w_dim,
        num_ws=len(names) + 1,
        noise_layers=0,
        coarse=6,
        middle=11,
        classes=int(options.get("c_dim", 0)),
    )


def build(checkpoint: Checkpoint) -> nn.Module:
    """The synthesis network of `checkpoint`, in evaluation mode.

    Raises:
        CheckpointError: a tensor is missing or has the wrong shape.
    """
    tensors, options = checkpoint.tensors, checkpoint.options
    names = layer_names(tensors)
    w_dim = checkpoint.sizes.w_dim
    try:
        kernel = tensors[f"synthesis.{names[0]}.weight"].shape[-1]
        input_plan, plans = design(checkpoint.sizes.resolution, radial=kernel == 1, names=names)
        if options.get("layers"):
            plans = [_saved_layer(saved) for saved in options["layers"]]
        if options.get("input"):
            saved = options["input"]
            input_plan = InputPlan(
                size=(int(saved["size"][0]), int(saved["size"][1])),
                rate=float(saved["sampling_rate"]),
                bandwidth=float(saved["bandwidth"]),
            )
        channels = tensors["synthesis.input.weight"].shape[0]
        layers = []
        for plan in plans:
            prefix = f"synthesis.{plan.name}"
            up, down = tensors.get(f"{prefix}.up_filter"), tensors.get(f"{prefix}.down_filter")
            layers.append(
                SignalLayer(
                    plan,
                    shape=tensors[f"{prefix}.weight"].shape,
                    w_dim=w_dim,
                    up_taps=0 if up is None else len(up),
                    down_shape=() if down is None else down.shape,
                )
            )
    except (KeyError, IndexError) as error:
        raise CheckpointError(f"{checkpoint.path}: {error} is missing; expected a StyleGAN3") from None
    network = StyleGan3(
        FourierInput(input_plan, channels=channels, w_dim=w_dim),
        layers,
        output_scale=float(options.get("output_scale", OUTPUT_SCALE)),
    )
    widths = [channels, *(len(layer.bias) for layer in layers)]
    network.bends = bends_of(checkpoint.sizes, lambda row: widths[row], margin_px=MARGIN)
    state = {}
    for key, value in network.state_dict().items():
        head, index, *rest = key.split(".")
        source = f"synthesis.{plans[int(index)].name}.{'.'.join(rest)}" if head == "layers" else f"synthesis.{key}"
        tensor = tensors.get(source)
        if tensor is None or tensor.shape != tuple(value.shape):
            there = "is missing" if tensor is None else f"has shape {list(tensor.shape)}"
            raise CheckpointError(f"{checkpoint.path}: tensor {source} {there}; expected {list(value.shape)}")
        state[key] = torch.from_numpy(tensor.copy())
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def _saved_layer(saved: dict[str, Any]) -> LayerPlan:
    left, right, top, bottom = (int(side) for side in saved["padding"])
    clamp = saved.get("conv_clamp", CLAMP)
    return LayerPlan(
        name=saved["name"],
        is_torgb=bool(saved["is_torgb"]),
        up_factor=int(saved["up_factor"]),
        down_factor=int(saved["down_factor"]),
        padding=(left, right, top, bottom),
        clamp=None if clamp is None else float(clamp),
    )
