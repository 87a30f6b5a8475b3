"""Writers of other people's containers: stand-in modules under the real names, and real pickling by pickle and torch.

The stand-ins exist only while a file is written; the reader must do without them.
"""

import io
import pickle
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch

BUFFERS = ("noise_const", "resample_filter", "w_avg", "running_mean", "running_var", "num_batches_tracked")
BUFFERS += ("weight_u", "weight_v", "transform", "freqs", "phases", "magnitude_ema", "up_filter", "down_filter")


def _reconstruct_persistent_obj(meta: Any) -> Any:
    raise AssertionError("the reader ran a constructor")


class EasyDict(dict):
    """As dnnlib has it: entries as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Stranger:
    """Anything that a training script may have left in a file."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Plain:
    """An undecorated torch module: its state is its attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(training=False, _parameters=OrderedDict(), _buffers=OrderedDict(), _modules=OrderedDict())
        self.__dict__.update(_forward_hooks=OrderedDict(), _non_persistent_buffers_set=set())
        self.__dict__.update(attributes)


class Persistent(Plain):
    """A module under NVIDIA's persistence."""

    def __reduce__(self) -> tuple:
        meta = EasyDict(type="class", version=6, module_src="", class_name="Anything", state=self.__dict__)
        return _reconstruct_persistent_obj, (meta,)


class Network:
    """A TensorFlow network: what it is lies in its state."""

    def __init__(self, state: dict) -> None:
        self._state = state

    def __getstate__(self) -> dict:
        return self._state

    def __setstate__(self, state: dict) -> None:
        raise AssertionError("the reader made a real network")


STAND_INS = {
    "torch_utils.persistence": (_reconstruct_persistent_obj,),
    "dnnlib.util": (EasyDict,),
    "dnnlib.tflib.network": (Network,),
    "pg_modules.networks_fastgan": (Plain,),
    "timm.models.efficientnet": (Stranger,),
}


@contextmanager
def stand_ins() -> Iterator[None]:
    """Put the stand-ins under their real names, and take them away again."""
    before = dict(sys.modules)
    own = {thing: thing.__module__ for things in STAND_INS.values() for thing in things}
    try:
        for name, things in STAND_INS.items():
            parts = name.split(".")
            for end in range(1, len(parts) + 1):
                sys.modules.setdefault(".".join(parts[:end]), ModuleType(".".join(parts[:end])))
            for thing in things:
                thing.__module__ = name
                setattr(sys.modules[name], thing.__name__, thing)
        yield
    finally:
        for thing, name in own.items():
            thing.__module__ = name
        for name in set(sys.modules) - set(before):
            if name.partition(".")[0] in ("torch_utils", "dnnlib", "pg_modules", "timm"):
                del sys.modules[name]


def torch_tensors(tensors: dict[str, np.ndarray], dtype: torch.dtype | None = None) -> OrderedDict:
    """A state dict."""
    made = OrderedDict()
    for key, value in tensors.items():
        tensor = torch.from_numpy(np.array(value))
        made[key] = tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
    return made


def module(
    tensors: dict[str, np.ndarray],
    *,
    attributes: dict[str, dict] | None = None,
    kind: type[Plain] = Persistent,
    dtype: torch.dtype | None = None,
) -> Plain:
    """A tree of modules with these tensors and attributes, by path."""
    root = kind(**(attributes or {}).get("", {}))

    def at(path: str) -> Plain:
        found = root
        done: list[str] = []
        for part in path.split(".") if path else []:
            done.append(part)
            if part not in found._modules:
                found._modules[part] = kind(**(attributes or {}).get(".".join(done), {}))
            found = found._modules[part]
        return found

    for key, tensor in torch_tensors(tensors, dtype).items():
        path, _, name = key.rpartition(".")
        if name in BUFFERS:
            at(path)._buffers[name] = tensor
        else:
            at(path)._parameters[name] = torch.nn.Parameter(tensor)
        at(path)._parameters.setdefault("never_set", None)
    return root


def pickled(top: Any, *, protocol: int = 4) -> bytes:
    with stand_ins():
        return pickle.dumps(top, protocol)


def archived(top: Any, *, zipped: bool = True, protocol: int = 2) -> bytes:
    """By torch.save, in the container since 1.6 or in the one before."""
    file = io.BytesIO()
    with stand_ins():
        torch.save(top, file, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


WRITERS = {  # name: bytes of a file with this at its top
    **{
        f"pickle protocol {number}": lambda top, number=number: pickled(top, protocol=number) for number in (2, 3, 4, 5)
    },
    "torch archive": archived,
    "torch archive, protocol 4": lambda top: archived(top, protocol=4),
    "torch before 1.6": lambda top: archived(top, zipped=False),
    "torch before 1.6, protocol 4": lambda top: archived(top, zipped=False, protocol=4),
}
TORCH_WRITERS = {name: writer for name, writer in WRITERS.items() if name.startswith("torch")}


def tensorflow_network(
    canonical: dict[str, np.ndarray], *, version: int = 4, min_size: tuple[int, int] = (4, 4), **static_kwargs: Any
) -> Network:
    """A TensorFlow StyleGAN2 with the weights of a canonical one: the conversion backwards."""
    own: list[tuple[str, np.ndarray]] = [("lod", np.array(0, np.float32))]
    parts: dict[str, list[tuple[str, np.ndarray]]] = {"mapping": [], "synthesis": [("lod", np.array(0, np.float32))]}
    layer_of = {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB", "skip": "Skip"}
    part_of = {"affine.weight": "mod_weight", "affine.bias": "mod_bias"}
    for key, value in canonical.items():
        room, name = key.split(".", 1)
        if key == "mapping.w_avg":
            own.append(("dlatent_avg", value))
        elif room == "mapping":
            layer, part = name.split(".")
            label = "LabelEmbed" if "mapping.embed.bias" in canonical else "LabelConcat"
            layer = label if layer == "embed" else layer.replace("fc", "Dense")
            parts[room].append((f"{layer}/{part}", value.T if part == "weight" else value))
        else:
            block, name = name.split(".", 1)
            level = int(np.log2(int(block[1:]) // 4))
            scope = f"{min_size[0] << level}x{min_size[1] << level}"
            if name == "const":
                parts[room].append((f"{scope}/Const/const", value[None]))
                continue
            layer, part = name.split(".", 1)
            if part == "noise_const":
                parts[room].append((f"noise{2 * level - (layer == 'conv0')}", value[None, None]))
                continue
            if part == "weight":
                value = value.transpose(2, 3, 1, 0)
                value = value[::-1, ::-1] if layer in ("conv0", "skip") else value
            elif part == "affine.weight":
                value = value.T
            elif part == "affine.bias":
                value = value - np.float32(1)
            scoped = "Conv" if (level, layer) == (0, "conv1") else layer_of[layer]
            parts[room].append((f"{scope}/{scoped}/{part_of.get(part, part)}", value))

    def network(variables: list, **more: Any) -> Network:
        shapes = {"shapes": {name: value.shape for name, value in variables}} if version == 5 else {}
        return Network(
            {
                "version": version,
                "name": "G",
                "static_kwargs": EasyDict(static_kwargs),
                "components": EasyDict(more),
                "build_module_src": "raise SystemExit('the source was run')",
                "build_func_name": "G_main",
                "variables": [(name, np.array(value, order="C")) for name, value in variables],
                **shapes,
            }
        )

    return network(own, **{name: network(variables) for name, variables in parts.items()})


def rosinality_state(canonical: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state dict of rosinality's generator with the weights of a canonical one."""
    kernel = np.outer((1, 3, 3, 1), (1, 3, 3, 1)).astype(np.float32) / 16
    state = {"convs.0.conv.blur.kernel": kernel, "to_rgbs.0.upsample.kernel": kernel}
    parts = {"weight": "conv.weight", "bias": "activate.bias", "noise_strength": "noise.weight"}
    parts |= {"affine.weight": "conv.modulation.weight", "affine.bias": "conv.modulation.bias"}
    for key, value in canonical.items():
        room, name = key.split(".", 1)
        if key == "mapping.w_avg":
            continue
        if room == "mapping":
            layer, part = name.split(".")
            state[f"style.{int(layer[2:]) + 1}.{part}"] = value
            continue
        block, name = name.split(".", 1)
        level = int(np.log2(int(block[1:]) // 4))
        if name == "const":
            state["input.input"] = value[None]
            continue
        layer, part = name.split(".", 1)
        if part == "noise_const":
            state[f"noises.noise_{2 * level - (layer == 'conv0')}"] = value[None, None]
            continue
        if layer == "torgb":
            new = f"to_rgbs.{level - 1}" if level else "to_rgb1"
            renamed = "bias" if part == "bias" else parts[part]
            value = value.reshape(1, -1, 1, 1) if part == "bias" else value
        else:
            new = f"convs.{2 * (level - 1) + (layer == 'conv1')}" if level else "conv1"
            renamed = parts[part]
            value = value.reshape(1) if part == "noise_strength" else value
        state[f"{new}.{renamed}"] = value[None] if part == "weight" else value
    return state
