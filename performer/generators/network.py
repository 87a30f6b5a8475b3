"""A generator as engines compile it: latents in, finished bytes out.

Imports torch; engines import this module only when they have to build, so that a show from the cache needs none.

Thread: whoever calls.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from performer.flow import NOISE_MAPS, STRAIGHT
from performer.generators import family
from performer.generators.checkpoint import Checkpoint, CheckpointError, Sizes
from performer.generators.ops import LARGEST_HALF, Guarded, rescale


class PictureNetwork(nn.Module):
    """Latents to a picture, u8 [H, W, 4] sRGB with alpha 255.

    `inputs` names what it takes, in order, as fields of `LatentFrame`: `ws` [1, num_ws, w_dim]; `noise`
    [noise_layers, 3], where the generator has noise; `transform` [3, 3], where its input can be moved; `bends` [3, 7],
    where it can be bent; `blend` [num_ws], where it is several siblings in one.

    -1..1 maps to bytes as x * 127.5 + 128, rounded down, as StyleGAN's own samplers do.
    """

    def __init__(self, generator: nn.Module, *, sizes: Sizes, siblings: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.generator = generator
        self.sizes = sizes
        self.blended = Blended(generator, siblings) if siblings else None
        self.inputs = tuple(self._examples())

    def forward(self, *latent: Tensor | None) -> Tensor:
        return (self.signal(*latent) * 127.5 + 128.0).clamp(0.0, 255.0).to(torch.uint8)

    def signal(self, *latent: Tensor | None) -> Tensor:  # [H, W, 4]
        """The same before quantisation, in about -1..1. None for `bends` leaves them out; they change nothing at rest."""
        given: dict[str, Any] = dict(zip(self.inputs, latent, strict=True))
        ws, noise, blend = given.pop("ws"), given.pop("noise", None), given.pop("blend", None)
        if noise is None:
            noise = ws.new_zeros(0, NOISE_MAPS)
        if self.blended is None or blend is None:
            return rgba(self.generator, ws, noise, given)[0]
        with self.blended.at(blend):
            return rgba(self.generator, ws, noise, given)[0]

    def examples(self) -> tuple[Tensor, ...]:
        """One tensor for each input: what tracers start from."""
        return tuple(self._examples().values())

    def _examples(self) -> dict[str, Tensor]:
        """The inputs by name, with values that leave the picture alone."""
        inputs = {"ws": torch.zeros(1, self.sizes.num_ws, self.sizes.w_dim)}
        if self.sizes.noise_layers:
            inputs["noise"] = torch.eye(1, NOISE_MAPS).repeat(self.sizes.noise_layers, 1)
        if getattr(self.generator, "takes_transform", False):
            inputs["transform"] = torch.eye(3)
        if len(getattr(self.generator, "bends", ())):
            inputs["bends"] = torch.tensor(STRAIGHT)
        if self.blended is not None:
            inputs["blend"] = torch.zeros(self.sizes.num_ws)
        return inputs


class SignalNetwork(nn.Module):
    """A picture network before quantisation. For measuring engines against the oracle."""

    def __init__(self, picture: PictureNetwork) -> None:
        super().__init__()
        self.picture = picture

    def forward(self, *latent: Tensor) -> Tensor:
        return self.picture.signal(*latent)


class Blended(nn.Module):
    """A chain of siblings in one network, which is, layer by layer, any network on the way from the first to the last.

    Every tensor that differs is mixed while the network runs, each sibling's by its share at the place of its layer. Of
    two that is (1 - b) first + b second; of more, only the two neighbours of the place have a share. So it is the network
    with interpolated weights by construction, whatever the family, and where a sibling stands it is that one to the bit.
    Mixing costs a pass over the weights, not a second pass over the picture: `docs/decisions/0013-blend.md`.

    The tensors leave `generator` for this module, and come back for the time of `at`.
    """

    def __init__(self, generator: nn.Module, siblings: Sequence[nn.Module]) -> None:
        super().__init__()
        row_of = getattr(generator, "row_of", lambda tensor: 0)
        others = [dict(sibling.named_modules()) for sibling in siblings]
        self._places: list[tuple[nn.Module, str, int]] = []  # (module, name of its tensor, row of ws)
        kept_of = [nn.ParameterList() for _ in (generator, *siblings)]  # in the order of `_places`
        for path, module in generator.named_modules():
            for held in (module._parameters, module._buffers):
                for name in list(held):
                    first, rest = held[name], [getattr(modules[path], name) for modules in others]
                    if first is None or all(torch.equal(first, other) for other in rest):
                        continue
                    del held[name]
                    self._places.append((module, name, row_of(f"{path}.{name}".lstrip("."))))
                    for kept, tensor in zip(kept_of, (first, *rest), strict=True):
                        kept.append(nn.Parameter(tensor.detach(), requires_grad=False))
        self.tensors = nn.ModuleList(kept_of)

    @contextmanager
    def at(
        self,
        blend: Tensor,  # [num_ws], 0..1
    ) -> Iterator[None]:
        """For as long as this holds, the generator is the network at `blend`."""
        parts = shares(blend, count=len(self.tensors))
        for (module, name, row), *tensors in zip(self._places, *self.tensors, strict=True):
            mixed = reduce(torch.add, (each.float() * part[row] for each, part in zip(tensors, parts, strict=True)))
            setattr(module, name, mixed.to(tensors[0].dtype))
        try:
            yield
        finally:
            for module, name, _ in self._places:
                delattr(module, name)


def shares(
    blend: Tensor,  # [num_ws], 0..1
    *,
    count: int,
) -> list[Tensor]:  # [num_ws], one for each sibling
    """How much of each of `count` siblings is in every layer: all of it where it stands, none at its neighbours' places.

    Written so that of two they are 1 - blend and blend, to the bit.
    """
    place = blend * (count - 1)
    return [torch.minimum(place - (k - 1), (k + 1) - place).clamp(min=0) for k in range(count)]


def rgba(generator: nn.Module, ws: Tensor, noise: Tensor, more: dict[str, Any]) -> Tensor:  # [N, H, W, 4]
    """The picture channels-last with alpha 1, by the family's own fast form where it has one."""
    fast = getattr(generator, "forward_rgba", None)
    if fast is not None:
        return fast(ws, noise, **more)
    image = generator(ws, noise, **more).permute(0, 2, 3, 1)
    color = image[..., :3]
    if image.shape[-1] == 4:  # what is transparent shows black, as an empty stage does
        color = (color + 1) * ((image[..., 3:] + 1) / 2).clamp(0, 1) - 1
    return torch.cat([color, torch.ones_like(image[..., :1])], dim=-1)


def halve(generator: nn.Module, siblings: Sequence[nn.Module] = ()) -> None:
    """Put a generator, and the siblings that it is to be blended with, into half precision.

    A module names what is half there in `in_half`. What stays single is small, or is no feature: styles, places, pictures.
    The weights of siblings are rescaled alike, see `ops.Guarded`, since only what is of one scale can be mixed.

    Raises:
        ValueError: a tensor is beyond the range of half precision, or the network has no such form.
    """
    others = [dict(sibling.named_modules()) for sibling in siblings]
    found = False
    for path, module in generator.named_modules():
        alike = [module, *(modules[path] for modules in others)]
        rescale([one for one in alike if isinstance(one, Guarded)])
        for name in getattr(module, "in_half", ()):
            for tensor in (getattr(one, name) for one in alike):
                tensor.data = tensor.data.half()
                if not tensor.isfinite().all():
                    where = f"{path}.{name}".lstrip(".")
                    raise ValueError(
                        f"tensor {where} has numbers beyond half precision; expected {LARGEST_HALF:g} at most"
                    )
            found = True
    if not found:
        raise ValueError("this family has no form in half precision; expected full precision")


def build(checkpoint: Checkpoint, siblings: Sequence[Checkpoint] = (), *, half: bool = False) -> PictureNetwork:
    """The network of a species; with siblings, of all that lies on the way through them, in their order.

    Raises:
        CheckpointError: the species does not fit its family, or can not be had in half precision.
    """
    generator, others = family.build(checkpoint), [family.build(sibling) for sibling in siblings]
    if half:
        try:
            halve(generator, others)
        except ValueError as error:
            raise CheckpointError(f"{checkpoint.path}: {error}") from None
    return PictureNetwork(generator, sizes=checkpoint.sizes, siblings=others).eval()
