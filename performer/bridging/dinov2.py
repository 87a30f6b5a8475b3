"""DINOv2, a network that learnt from pictures alone what belongs together: eyes for bridges, where the user has its weights.

Written from Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision" (2023), on the Vision Transformer
of Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021), with LayerScale (Touvron et al., "Going deeper with Image
Transformers" (2021), section 2), registers (Darcet et al., "Vision Transformers Need Registers" (2024)), and SwiGLU
(Shazeer, "GLU Variants Improve Transformer" (2020)) in the giant. Tensors are named as in the published
`model.safetensors` of facebook/dinov2-small, -base, -large and -giant and of dinov2-with-registers-* (Apache-2.0).

Thread: whoever calls.
"""

import hashlib
import itertools
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from performer.refusal import Refused

LAYER = "encoder.layer"
HEAD = 64  # channels of an attention head, in all of them
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, by which pictures were scaled
EPSILON = 1e-6  # of layer normalisation
NAMES = {384: "small", 768: "base", 1024: "large", 1536: "giant"}  # by width


class Dinov2:
    """A picture in -1..1 to what each of its patches is, at two depths, and what it is as a whole."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        """`tensors` as published, in float32. Raises KeyError where one is missing, ValueError for a shape that is none."""
        self._of = tensors
        self.width = tensors["embeddings.cls_token"].shape[-1]
        self.patch_px = tensors["embeddings.patch_embeddings.projection.weight"].shape[-1]
        numbers = itertools.takewhile(lambda number: f"{LAYER}.{number}.norm1.weight" in tensors, itertools.count())
        self.depth = len(list(numbers))
        self.has_registers = "embeddings.register_tokens" in tensors
        places = tensors["embeddings.position_embeddings"].shape[1] - 1
        self.side = round(places**0.5)  # patches, of the pictures that it learnt from
        if not self.depth:
            raise KeyError(f"{LAYER}.0.norm1.weight")
        if self.width % HEAD or self.side**2 != places:
            raise ValueError(f"{self.width} channels and {places} places")

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N, 3, H, W], sides a multiple of `patch_px` -> (patches at three quarters of the depth [N, width, H / patch_px,
        W / patch_px], at the end, the whole [N, width]).
        """
        mean, deviation = x.new_tensor(MEAN)[:, None, None], x.new_tensor(DEVIATION)[:, None, None]
        patches = F.conv2d(
            ((x + 1) / 2 - mean) / deviation,
            self._of["embeddings.patch_embeddings.projection.weight"],
            self._of["embeddings.patch_embeddings.projection.bias"],
            stride=self.patch_px,
        )
        down, right = patches.shape[2:]
        whole = self._of["embeddings.cls_token"].expand(len(x), -1, -1)
        tokens = torch.cat([whole, patches.flatten(2).transpose(1, 2)], dim=1) + self._places(down, right)
        before = 1
        if self.has_registers:
            registers = self._of["embeddings.register_tokens"].expand(len(x), -1, -1)
            before += registers.shape[1]
            tokens = torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)
        found = []
        for number in range(self.depth):
            tokens = self._layer(tokens, f"{LAYER}.{number}")
            if number + 1 in (self.depth * 3 // 4, self.depth):
                found.append(self._normed(tokens, "layernorm"))
        middle, end = (each[:, before:].transpose(1, 2).unflatten(2, (down, right)) for each in (found[0], found[-1]))
        return middle, end, found[-1][:, 0]

    def _layer(self, x: Tensor, name: str) -> Tensor:  # [N, tokens, width]
        inner = self._normed(x, f"{name}.norm1")
        queries, keys, values = (
            self._linear(inner, f"{name}.attention.attention.{which}").unflatten(2, (-1, HEAD)).transpose(1, 2)
            for which in ("query", "key", "value")
        )
        seen = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        x = x + self._linear(seen, f"{name}.attention.output.dense") * self._of[f"{name}.layer_scale1.lambda1"]
        inner = self._normed(x, f"{name}.norm2")
        if f"{name}.mlp.weights_in.weight" in self._of:
            gate, up = self._linear(inner, f"{name}.mlp.weights_in").chunk(2, dim=2)
            inner = self._linear(F.silu(gate) * up, f"{name}.mlp.weights_out")
        else:
            inner = self._linear(F.gelu(self._linear(inner, f"{name}.mlp.fc1")), f"{name}.mlp.fc2")
        return x + inner * self._of[f"{name}.layer_scale2.lambda1"]

    def _places(self, down: int, right: int) -> Tensor:  # [1, 1 + down * right, width]
        """What says where a patch is, in a picture of another size too: there with registers or without is not the same."""
        learnt = self._of["embeddings.position_embeddings"]
        if (down, right) == (self.side, self.side):
            return learnt
        grid = learnt[:, 1:].transpose(1, 2).unflatten(2, (self.side, self.side))
        grid = F.interpolate(grid, (down, right), mode="bicubic", antialias=self.has_registers)
        return torch.cat([learnt[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._of[f"{name}.weight"], self._of[f"{name}.bias"])

    def _normed(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self._of[f"{name}.weight"], self._of[f"{name}.bias"], EPSILON)


def load(path: Path, device: torch.device | str = "cpu") -> tuple[Dinov2, str]:
    """(the network of a file, its name: the size, and the beginning of the file's SHA-256).

    Raises:
        Refused: there is no such file, or it is not what it should be.
    """
    expected = "expected model.safetensors of DINOv2, as huggingface.co/facebook/dinov2-small has it"
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        eyes = Dinov2({name: each.float().to(device) for name, each in safetensors.torch.load_file(path).items()})
        with torch.inference_mode():
            seen = eyes(torch.zeros(1, 3, 2 * eyes.patch_px, 3 * eyes.patch_px, device=device))
    except OSError as error:
        raise Refused(f"--descriptor {path}: cannot be read ({error.strerror or error}); {expected}") from None
    except KeyError as error:
        raise Refused(f"--descriptor {path}: has no tensor {error.args[0]}; {expected}") from None
    except (SafetensorError, ValueError, RuntimeError, IndexError) as error:
        raise Refused(f"--descriptor {path}: {str(error).splitlines()[0]}; {expected}") from None
    if not all(bool(each.isfinite().all()) for each in seen):
        raise Refused(f"--descriptor {path}: holds numbers that are none; {expected}")
    return eyes, f"dinov2-{NAMES.get(eyes.width, str(eyes.width))} {digest[:12]}"
