"""Files made to do harm, and files that are damaged or something else: each is refused, and none does anything."""

import json
import os
import pickle
import struct
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from performer.generators.foreign import ForeignError, read
from tests.foreign import generators
from tests.foreign.conftest import assert_same
from tests.foreign.crafted import (
    GARBAGE,
    LONG,
    MANY,
    Call,
    array_of,
    big_storage,
    doubled,
    doubled_modules,
    from_bytes,
    getattr_chain,
    in_archive,
    lying_archive,
    module_within_itself,
    old_stream,
    overlapping_archive,
    rebuilt,
    repeated,
    repeated_names,
    repeated_stream,
    safetensors,
    saved_arrays,
    shared_tables,
    shell,
    stack_global,
    strange_state,
    stylegan1,
    stylegan_t,
    system,
    text,
    touch,
    views_of_one_storage,
    with_discriminator,
)
from tests.foreign.writers import (
    WRITERS,
    EasyDict,
    Persistent,
    Stranger,
    _reconstruct_persistent_obj,
    archived,
    module,
    pickled,
)

PATIENCE_S = 20.0  # a bomb that goes off takes minutes or all memory; a refusal takes milliseconds


DANGEROUS = {  # the name that the message must give, and the file
    **{f"system, protocol {n}": ("system", lambda c, n=n: system(c, n)) for n in range(6)},
    "python 2": ("posix.system", lambda c: b"cposix\nsystem\n(S'" + shell(c).replace("'", "\\'").encode() + b"'\ntR."),
    "nt": ("nt.system", lambda c: b"cnt\nsystem\n(S'dir'\ntR."),
    "inst": ("os.system", lambda c: b"(" + text(shell(c)) + b"ios\nsystem\n."),
    "obj": ("os.system", lambda c: b"\x80\x02(cos\nsystem\n" + text(shell(c)) + b"o."),
    "eval": ("builtins.eval", lambda c: pickle.dumps(Call(eval, touch(c)), 4)),
    "python 2 eval": ("__builtin__.eval", lambda c: b"c__builtin__\neval\n(" + text(touch(c)) + b"tR."),
    "exec": ("builtins.exec", lambda c: pickle.dumps(Call(exec, touch(c)), 3)),
    "open": ("io.open", lambda c: pickle.dumps(Call(open, str(c), "w"), 4)),
    "getattr chain": ("builtins.getattr", getattr_chain),
    "Popen": ("subprocess.Popen", lambda c: pickle.dumps(Call(subprocess.Popen, shell(c).split()), 4)),
    "dotted": ("torch.serialization.os.system", lambda c: stack_global("torch.serialization", "os.system", shell(c))),
    "dunder": (
        "collections.OrderedDict.__init__.__globals__",
        lambda c: stack_global("collections", "OrderedDict.__init__.__globals__", "x"),
    ),
    "runpy": ("runpy.run_path", lambda c: stack_global("runpy", "run_path", str(c))),
    "importlib": ("importlib.import_module", lambda c: stack_global("importlib", "import_module", "antigravity")),
    "webbrowser": ("webbrowser.open", lambda c: stack_global("webbrowser", "open", "http://example.invalid")),
    "ctypes": ("ctypes.CDLL", lambda c: stack_global("ctypes", "CDLL", "libc.so.6")),
    "pickle": ("pickle.loads", lambda c: stack_global("pickle", "loads", "x")),
    "torch.load": ("torch.load", lambda c: stack_global("torch", "load", str(c))),
    "numpy runstring": (
        "numpy.testing._private.utils.runstring",
        lambda c: stack_global("numpy.testing._private.utils", "runstring", touch(c)),
    ),
    "in the discriminator": ("system", lambda c: with_discriminator(Call(os.system, shell(c)))),
    "in an argument": ("system", lambda c: pickled(module(generators.stylegan2(), attributes={"": {"x": os.system}}))),
    "inner stream": ("system", lambda c: from_bytes(old_stream(system(c, 2)))),
    "inner stream without head": ("system", lambda c: from_bytes(system(c, 2))),
    "archive": ("system", lambda c: in_archive(system(c, 2))),
    "before 1.6": ("system", lambda c: old_stream(system(c, 2))),
    "by torch.save": ("system", lambda c: archived({"g_ema": Call(os.system, shell(c))})),
    "several": ("os.system, subprocess.call", lambda c: b"\x80\x02cos\nsystem\n0csubprocess\ncall\n0N."),
    "dill": ("dill.loads", lambda c: stack_global("dill", "loads", "x")),
}


@pytest.mark.parametrize("case", DANGEROUS)
def test_dangerous_names_are_given_and_nothing_is_run(tmp_path, case):
    expected, make = DANGEROUS[case]
    canary = tmp_path / "canary"
    path = tmp_path / "hostile.pkl"
    path.write_bytes(make(canary))
    with pytest.raises(ForeignError) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}: its pickle names ")
    assert expected in str(refused.value)
    assert not canary.exists()


def test_the_source_text_of_a_network_is_never_run(tmp_path):
    canary = tmp_path / "canary"
    tensors = generators.stylegan2()
    network = module(tensors)

    class Sourced(Persistent):
        def __reduce__(self):
            meta = EasyDict(
                type="class", version=6, module_src=touch(canary), class_name="Evil", state=network.__dict__
            )
            return _reconstruct_persistent_obj, (meta,)

    path = tmp_path / "network.pkl"
    path.write_bytes(pickled({"G_ema": Sourced()}))
    assert_same(read(path).tensors, tensors)
    assert not canary.exists()


BROKEN = {  # a part of the message, and the file
    "tensor beyond its storage": ("reaches element", lambda: rebuilt(size=(10_000,))),
    "tensor beyond by its offset": ("reaches element", lambda: rebuilt(offset=1)),
    "tensor beyond by its strides": ("reaches element", lambda: rebuilt(size=(2, 2), stride=(100, 1))),
    "negative stride": ("expected integers from 0", lambda: rebuilt(stride=(-1,))),
    "negative size": ("expected integers from 0", lambda: rebuilt(size=(-4,))),
    "negative offset": ("offset and strides", lambda: rebuilt(offset=-1)),
    "strides of another rank": ("offset and strides", lambda: rebuilt(size=(2, 2), stride=(1,))),
    "size that is a float": ("expected integers", lambda: rebuilt(size=(4.0,))),
    "size that is text": ("not a list", lambda: rebuilt(size="4")),
    "size beyond 64 bits": ("expected integers", lambda: rebuilt(size=(1 << 70,), stride=(0,))),
    "too many axes": ("at most 16", lambda: rebuilt(size=(1,) * 40, stride=(1,) * 40)),
    "value repeated without end": ("unfold to", lambda: rebuilt(size=(1 << 40,), stride=(0,))),
    "tensor that is overwritten": (
        "overwrite the state of a tensor",
        lambda: rebuilt(state=(None, {"shape": (1 << 40,)})),
    ),
    "constructor that is overwritten": (
        "overwrite the state of a known",
        lambda: b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}" + text("_call") + b"Ns\x86b.",
    ),
    "class that is overwritten": (
        "damaged",
        lambda: b"\x80\x02ccollections\nOrderedDict\nN}" + text("update") + b"Ns\x86b.",
    ),
    "placeholder's class that is overwritten": (
        "damaged",
        lambda: b"\x80\x02ctimm\nA\nN}" + text("state") + b"Ns\x86b.",
    ),
    "array of objects": ("Python objects", lambda: pickled({"mapping.w_avg": np.array([{}, None], object)})),
    "array of objects by its state": ("Python objects", lambda: array_of(b"f4", b"K\x01\x85", b"](K\x01e")),
    "array far larger than its bytes": (
        "unfold to 4,398,046,511,104",
        lambda: array_of(b"f4", b"\x8a\x06" + bytes(5) + b"\x01\x85", b"C\x04abcd"),
    ),
    "array larger than its bytes": (
        r"tensor synthesis\.b4\.const: .*has 4 bytes; expected 8",
        lambda: array_of(b"f4", b"K\x02\x85", b"C\x04abcd"),
    ),
    "array of text": ("no generator|has type", lambda: array_of(b"U4", b"K\x01\x85", b"C\x10" + bytes(16))),
    "storage larger than the file": ("unfold|missing|larger", lambda: in_archive(big_storage())),
    "storage in no file": ("not in the file", big_storage),
    "memo index": ("memo absurdly", lambda: b"\x80\x02Nr\xff\xff\xff\x7f."),
    "memo index as text": ("no checkpoint", lambda: b"Np99999999999\n."),
    "memo that is empty": ("not there", lambda: b"\x80\x02h\x05."),
    "lists doubled": ("no generator", lambda: doubled(b"]", b"](@@e", 200) + b"."),
    "tuples doubled as a key": ("for ever", lambda: doubled(b")", b"@@\x86", 60) + b"}h\x3cNs."),
    "tuples doubled in a set": ("for ever", lambda: b"\x80\x04\x8f(" + doubled(b")", b"@@\x86", 60)[2:] + b"\x90."),
    "tuples doubled in a set of protocol 2": (
        "no generator",
        lambda: doubled(b")", b"@@\x86", 60) + b"cbuiltins\nset\n](h\x3ce\x85R.",
    ),
    "tuples doubled as an ordered key": (
        "no generator",
        lambda: doubled(b")", b"@@\x86", 60) + b"ccollections\nOrderedDict\n](h\x3cN\x86e\x85R.",
    ),
    "tuples doubled as a byte order": (
        "byte order",
        lambda: doubled(b")", b"@@\x86", 60) + b"cnumpy\ndtype\n(" + text("f4") + b"tR(K\x03h\x3cNNNKKKKKKtb.",
    ),
    "tuples doubled as a size": (
        "holds a tuple",
        lambda: doubled(b")", b"@@\x86", 60) + b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00h\x3c)tR.",
    ),
    "list handed on and on": ("for ever", lambda: repeated(MANY, b"cbuiltins\nset\n")),
    "list that grows after it was handed": (
        "for ever",
        lambda: repeated(b"]q\x00", b"cbuiltins\nset\n", grow=b"h\x00(" + b"K\x01" * 100_000 + b"e0"),
    ),
    "dictionary handed on and on": (
        "for ever",
        lambda: repeated(
            b"}(" + b"".join(b"J%bN" % struct.pack("<i", n) for n in range(50_000)) + b"u", b"cx\nEasyDict\n"
        ),
    ),
    "text handed on and on": ("for ever", lambda: repeated(LONG, b"c_codecs\nencode\n")),
    "stream handed on and on": ("for ever|instructions", repeated_stream),
    "names handed on and on": ("for ever", repeated_names),
    "views of one storage": ("unfold to", views_of_one_storage),
    "tables that are shared": ("more than 100,000 tensors", shared_tables),
    "modules doubled": ("without end", doubled_modules),
    "module within itself": ("without end", module_within_itself),
    "lists nested": ("deep", lambda: b"\x80\x02" + b"](" * 500_000 + b"e" * 500_000 + b"."),
    "tuples nested": ("deep", lambda: b"\x80\x02)" + b"\x85" * 1_000_000 + b"."),
    "tuples nested as a key": ("deep", lambda: b"\x80\x02})" + b"\x85" * 1_000_000 + b"Ns."),
    "dictionaries nested": ("deep", lambda: b"\x80\x02" + b"}K\x01" * 100_000 + b"N" + b"s" * 100_000 + b"."),
    "length of 2^60": ("bytes are expected", lambda: b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60)),
    "text of 2^31": ("bytes are expected", lambda: b"\x80\x02X\xff\xff\xff\x7fabc."),
    "array of bytes of 2^62": ("bytes are expected", lambda: b"\x80\x05\x96" + struct.pack("<Q", 1 << 62)),
    "frame of 2^60": ("block of", lambda: b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N."),
    "integer of a megabyte": (
        "integer of",
        lambda: b"\x80\x02\x8b" + struct.pack("<I", 1 << 20) + bytes(1 << 20) + b".",
    ),
    "millions of values": ("instructions", lambda: b"\x80\x02" + b"N" * 3_100_000 + b"."),
    "ten thousand classes": (
        "classes",
        lambda: b"\x80\x02" + b"".join(b"cx\nC%d\n0" % n for n in range(10_000)) + b"N.",
    ),
    "extension registry": ("outside the file", lambda: b"\x80\x02\x82\x01."),
    "foreign buffer": ("outside the file", lambda: b"\x80\x05\x97."),
    "persistent id without a container": ("not in the file", lambda: b"\x80\x02" + text("x") + b"Q."),
    "stream within a stream within": ("within a tensor stream", lambda: from_bytes(old_stream(from_bytes(b"x")))),
    "inner stream of something else": ("something else", lambda: from_bytes(old_stream(pickle.dumps([1], 2)))),
    "inner stream of nothing": ("cut short", lambda: from_bytes(b"")),
    "no stack": ("without a value", lambda: b"\x80\x02."),
    "unknown instruction": ("no instruction", lambda: b"\x80\x02\xff."),
    "zip bomb": ("compressed", lambda: in_archive(bytes(50 << 20), method=zipfile.ZIP_DEFLATED)),
    "zip bomb in a storage": (
        "compressed",
        lambda: in_archive(big_storage(), method=zipfile.ZIP_DEFLATED, data__0=bytes(50 << 20)),
    ),
    "members that overlap": ("overlap", overlapping_archive),
    "archive that is encrypted": ("encrypted", lambda: lying_archive(flags=1)),
    "member larger than the file": ("cut short", lambda: lying_archive(packed=1 << 30, size=1 << 30)),
    "member outside the file": ("cut short", lambda: lying_archive(offset=1 << 30)),
    "directory larger than the file": ("cut short", lambda: lying_archive(directory_bytes=1 << 20)),
    "directory of gigabytes": ("list of contents", lambda: lying_archive(directory_bytes=1 << 31)),
    "directory elsewhere": ("damaged", lambda: lying_archive(directory_at=4)),
    "numpy archive": ("not PyTorch's", saved_arrays),
    "empty archive": ("not PyTorch's", lambda: b"PK\x05\x06" + bytes(18)),
    "TorchScript": (
        "TorchScript",
        lambda: in_archive(pickle.dumps({}, 2), **{"constants.pkl": b"", "code__forward.py": b"def forward(x): ..."}),
    ),
    "StyleGAN1": ("StyleGAN1", stylegan1),
    "StyleGAN-T": ("StyleGAN-T", stylegan_t),
    "wrong shape": (r"w_avg' has shape|w_avg has shape", lambda: strange_state(**{"mapping.w_avg": torch.zeros(3, 3)})),
    "NaN": ("fc0.bias holds NaN", lambda: strange_state(**{"mapping.fc0.bias": torch.full((6,), torch.nan)})),
    "double beyond float": (
        "fc0.bias holds NaN or infinity",
        lambda: strange_state(**{"mapping.fc0.bias": torch.full((6,), 1e200, dtype=torch.float64)}),
    ),
    "complex weights": (
        "unknown kind",
        lambda: strange_state(**{"mapping.fc0.bias": torch.zeros(6, dtype=torch.complex64)}),
    ),
    "no mapping": ("fc0.weight is missing", lambda: pickled({"synthesis.b4.const": torch.zeros(2, 4, 4)})),
    "network without state": ("has no state", lambda: pickled({"G_ema": Call(_reconstruct_persistent_obj, {})})),
    "G_ema that is a number": ("no generator", lambda: pickled({"G_ema": 3})),
    "top that is a placeholder": ("no generator", lambda: pickled(Stranger())),
    "garbage": ("no checkpoint", lambda: GARBAGE),
    "garbage behind a pickle's head": ("pickle|cut short", lambda: b"\x80\x04" + GARBAGE),
    "garbage behind a zip's head": ("cut short", lambda: b"PK\x03\x04" + GARBAGE),
    "zeros": ("no checkpoint", lambda: bytes(100_000)),
    "empty": (r"empty \(0 bytes\)", lambda: b""),
    "text": ("no checkpoint", lambda: b"hello, this is no network\n" * 100),
    "list as text": ("no checkpoint", lambda: b"license: none\n" * 100),
    "web page": ("web page", lambda: b"\n<!DOCTYPE html><html><title>Quota exceeded</title></html>"),
    "LFS pointer": ("LFS", lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"),
    "PNG": ("PNG", lambda: b"\x89PNG\r\n\x1a\n" + GARBAGE),
    "gzip": ("gzip", lambda: b"\x1f\x8b" + GARBAGE),
    "safetensors beyond the file": (
        "cut short",
        lambda: safetensors({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}),
    ),
    "safetensors backwards": (
        "not known",
        lambda: safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [8, 4]}}),
    ),
    "safetensors with a broken header": ("header is damaged", lambda: safetensors(b"{nonsense")),
    "safetensors nested": ("header is damaged", lambda: safetensors(b'{"a":' + b"[" * 1_000_000)),
    "safetensors cut in the header": ("cut short", lambda: safetensors(b"{", size=1000)),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_refused(tmp_path, case):
    expected, make = BROKEN[case]
    path = tmp_path / "broken.pkl"
    path.write_bytes(make())
    began = time.monotonic()
    with pytest.raises(ForeignError, match=expected) as refused:
        read(path)
    assert time.monotonic() - began < PATIENCE_S
    assert str(refused.value).startswith(f"{path}: ")
    assert len(str(refused.value)) < 1000 + len(str(path))
    assert "not foreseen" not in str(refused.value)


def test_folders_and_missing_files(tmp_path):
    with pytest.raises(ForeignError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(ForeignError, match="no such file"):
        read(tmp_path / "nothing.pkl")


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_files_cut_short(tmp_path, writer):
    raw = writer({"G_ema": module(generators.stylegan2())})
    path = tmp_path / "cut.pkl"
    for kept in (1, 3, 40, len(raw) // 10, len(raw) // 2, len(raw) * 9 // 10, len(raw) - 30, len(raw) - 1):
        path.write_bytes(raw[:kept])
        with pytest.raises(ForeignError, match=r"cut\.pkl: (cut short: .*\d.* (are )?there|is no checkpoint)"):
            read(path)


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_bytes_that_were_flipped_are_survived(tmp_path, writer):
    """Whatever a flipped byte does, the only exception is ForeignError."""
    raw = bytearray(writer({"G_ema": module(generators.stylegan2())}))
    path = tmp_path / "flipped.pkl"
    rng = np.random.default_rng(1)
    for _ in range(60):
        flipped = bytearray(raw)
        for at in rng.integers(len(raw), size=rng.integers(1, 4)):
            flipped[at] = rng.integers(256)
        path.write_bytes(flipped)
        try:
            read(path)
        except ForeignError as refused:
            assert "not foreseen" not in str(refused)  # most flips hit a weight and go unnoticed


def test_a_good_file_is_read_after_all_the_others(tmp_path):
    """Nothing that a file says stays in the reader."""
    tensors = generators.stylegan2()
    path = tmp_path / "file.pkl"
    for case in ("constructor that is overwritten", "class that is overwritten", "tensor that is overwritten"):
        path.write_bytes(BROKEN[case][1]())
        with pytest.raises(ForeignError):
            read(path)
    path.write_bytes(pickled({"G_ema": module(tensors)}))
    assert_same(read(path).tensors, tensors)


ALONE = """
    import json, sys
    from pathlib import Path

    class Refuser:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("torch", "torch_utils", "dnnlib", "timm", "pg_modules", "antigravity", "x"):
                raise AssertionError(f"{name} was imported")

    sys.meta_path.insert(0, Refuser())
    from performer.generators.foreign import ForeignError, read

    good, bad, *hostile = sorted(Path(sys.argv[1]).iterdir())
    read(good)
    try:
        read(bad)
    except ForeignError:
        pass  # whatever the reader itself imports late, such as a text codec, is imported now
    events = []
    watching = True
    def watch(event, arguments):
        if not watching:
            return
        if event == "open" and not (arguments[1] or "r").startswith("r"):
            events.append([event, repr(arguments)])
        elif event.partition(".")[0] in ("import", "exec", "compile", "os", "subprocess", "socket", "shutil", "ctypes"):
            if event not in ("os.scandir", "os.listdir"):
                events.append([event, repr(arguments)[:200]])
    sys.addaudithook(watch)
    before = set(sys.modules)
    refused = 0
    for path in hostile:
        try:
            read(path)
        except ForeignError:
            refused += 1
    watching = False
    print(json.dumps({"events": events, "imported": sorted(set(sys.modules) - before), "refused": refused}))
"""


def test_alone_without_torch_nothing_is_imported_or_run(tmp_path):
    """In a process that cannot import torch, every import, call of the system and opened file is watched."""
    files = tmp_path / "files"
    files.mkdir()
    canary = tmp_path / "canary"
    (files / "000 good").write_bytes(pickled({"G_ema": module(generators.with_filters(generators.stylegan2()))}))
    (files / "001 bad").write_bytes(b"text")
    for number, (_, make) in enumerate(DANGEROUS.values()):
        (files / f"1{number:02}").write_bytes(make(canary))
    tensors, attributes = generators.stylegan3()
    others = [writer({"G_ema": module(tensors, attributes=attributes), "D": Stranger()}) for writer in WRITERS.values()]
    for number, raw in enumerate(others):
        (files / f"2{number:02}").write_bytes(raw)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ALONE), str(files)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"events": [], "imported": [], "refused": len(DANGEROUS)}
    assert not canary.exists()
