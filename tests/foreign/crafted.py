"""Files made by hand to do harm: pickles, archives and headers that no honest program writes."""

import io
import json
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

from tests.foreign import generators
from tests.foreign.writers import (
    Network,
    Plain,
    archived,
    module,
    pickled,
    torch_tensors,
)


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *args, state=None):
        self.function, self.args, self.state = function, args, state

    def __reduce__(self):
        return (self.function, self.args) if self.state is None else (self.function, self.args, self.state)


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def shell(canary: Path) -> str:
    return f"{sys.executable} -c \"open(r'{canary}', 'w')\""


def touch(canary: Path) -> str:
    return f"open(r'{canary}', 'w')"


def in_archive(
    data: bytes, *, name: str = "archive/data.pkl", method: int = zipfile.ZIP_STORED, **more: bytes
) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, data)
        for other, raw in more.items():
            archive.writestr(f"archive/{other.replace('__', '/')}", raw)
    return file.getvalue()


def from_bytes(raw: bytes) -> bytes:
    """A plain pickle with a tensor's storage in it, whose own stream is `raw`."""
    return b"\x80\x02ctorch.storage\n_load_from_bytes\n" + b"B" + struct.pack("<I", len(raw)) + raw + b"\x85R."


def with_discriminator(thing) -> bytes:
    return pickled({"G_ema": module(generators.stylegan2()), "D": thing})


def old_stream(top: bytes) -> bytes:
    parts = [pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2), pickle.dumps({"little_endian": True}, 2)]
    return b"".join([*parts, top, pickle.dumps([], 2)])


def stack_global(module_name: str, name: str, argument: str) -> bytes:
    return b"\x80\x04" + text(module_name) + text(name) + b"\x93" + text(argument) + b"\x85R."


def system(canary: Path, protocol: int) -> bytes:
    return pickle.dumps(Call(os.system, shell(canary)), protocol)


def getattr_chain(canary: Path) -> bytes:
    imported = b"cbuiltins\n__import__\n" + text("os") + b"\x85R"
    found = b"cbuiltins\ngetattr\n" + imported + text("system") + b"\x86R"
    return b"\x80\x02" + found + text(shell(canary)) + b"\x85R."


def rebuilt(*, offset=0, size=(4,), stride=(1,), state=None) -> bytes:
    """A StyleGAN2 with one crafted tensor."""
    crafted = Call(
        torch._utils._rebuild_tensor_v2,
        torch.zeros(4)._typed_storage(),
        offset,
        size,
        stride,
        False,
        OrderedDict(),
        state=state,
    )
    return pickled(torch_tensors(generators.stylegan2()) | {"synthesis.b4.const": crafted})


def array_of(dtype: bytes, shape: bytes, raw: bytes) -> bytes:
    """A pickle of a numpy array by hand."""
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
    kind = (
        b"cnumpy\ndtype\n("
        + text(dtype.decode())
        + b"I00\nI01\ntR(K\x03"
        + text("<")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    return b"\x80\x02}" + text("synthesis.b4.const") + made + b"(K\x01" + shape + kind + b"\x89" + raw + b"tbs."


def doubled(first: bytes, join: bytes, times: int) -> bytes:
    """Every step holds the one before twice."""
    steps = first + b"q\x00"
    for step in range(times):
        steps += join.replace(b"@", b"h" + bytes([step])) + b"q" + bytes([step + 1])
    return b"\x80\x02" + steps


def repeated(make: bytes, call: bytes, *, grow: bytes = b"") -> bytes:
    """A value that is made once and handed to a constructor a hundred thousand times."""
    return b"\x80\x02" + make + b"\x85q\x01" + grow + b"0" + (call + b"h\x01R0") * 100_000 + b"N."


MANY = b"](" + b"K\x01" * 100_000 + b"eq\x00"
LONG = text("x" * 1_000_000) + b"q\x00"


def repeated_stream() -> bytes:
    inner = old_stream(b"\x80\x02" + b"N0" * 500_000 + b"N.")
    made = b"B" + struct.pack("<I", len(inner)) + inner
    return repeated(made, b"ctorch.storage\n_load_from_bytes\n")


def repeated_names() -> bytes:
    return b"\x80\x04" + LONG + text("name") + b"q\x01" + b"00" + b"h\x00h\x01\x930" * 100_000 + b"N."


def views_of_one_storage() -> bytes:
    """Ten thousand tensors that all span the same two megabytes."""
    storage = torch.zeros(500_000)
    views = {f"synthesis.b4.x{n}": storage[n : 480_000 + n : 479_999] for n in range(10_000)}
    return archived(torch_tensors(generators.stylegan2()) | views)


def shared_tables() -> bytes:
    """A thousand modules that share a table of a thousand tensors."""
    shared = OrderedDict((f"p{n}", torch.zeros(1)) for n in range(1000))
    root = Plain()
    for n in range(1000):
        root._modules[f"m{n}"] = Plain(_parameters=shared)
    return archived({"G_ema": root})


def doubled_modules() -> bytes:
    inner = Plain()
    for _ in range(60):
        outer = Plain()
        outer._modules.update(a=inner, b=inner)
        inner = outer
    return pickled({"G_ema": inner})


def module_within_itself() -> bytes:
    network = module(generators.stylegan2(), kind=Plain)
    network._modules["synthesis"]._modules["again"] = network
    return pickled({"G_ema": network})


def lying_archive(**fields: int) -> bytes:
    """An archive whose directory says something else than its contents."""
    raw = bytearray(in_archive(pickle.dumps({}, 2)))
    entry = raw.rfind(b"PK\x01\x02")
    end = raw.rfind(b"PK\x05\x06")
    places = {"packed": (entry + 20, "<I"), "size": (entry + 24, "<I"), "offset": (entry + 42, "<I")}
    places |= {"directory_bytes": (end + 12, "<I"), "directory_at": (end + 16, "<I"), "flags": (entry + 8, "<H")}
    for name, value in fields.items():
        place, form = places[name]
        struct.pack_into(form, raw, place, value)
    return bytes(raw)


def overlapping_archive() -> bytes:
    """A thousand members that are all the same megabyte."""
    raw = in_archive(bytes(1 << 20))
    entry, end = raw.rfind(b"PK\x01\x02"), raw.rfind(b"PK\x05\x06")
    one = raw[entry:end]
    return raw[:entry] + one * 1000 + raw[end : end + 12] + struct.pack("<IIH", len(one) * 1000, entry, 0)


def big_storage() -> bytes:
    pid = (
        b"("
        + text("storage")
        + b"ctorch\nFloatStorage\n"
        + text("0")
        + text("cpu")
        + b"\x8a\x06"
        + bytes(5)
        + b"\x40tQ"
    )
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + pid + b"K\x00\x8a\x06" + bytes(5) + b"\x40\x85K\x01\x85\x89}tR"
    return b"\x80\x02}" + text("synthesis.b4.const") + tensor + b"s."


def saved_arrays() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.zeros(3))
    return file.getvalue()


def stylegan_t() -> bytes:
    return pickled(module({"synthesis.b8.convs1.0.weight": np.zeros(3, np.float32)}, kind=Plain))


def stylegan1() -> bytes:
    return pickled((None, None, Network({"version": 3, "static_kwargs": {}, "components": {}, "variables": []})))


def strange_state(**changed) -> bytes:
    return pickled(torch_tensors(generators.stylegan2()) | changed)


def safetensors(header: dict | bytes, size: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if size is None else size) + raw


GARBAGE = np.random.default_rng(0).bytes(20_000)
