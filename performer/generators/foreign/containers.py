"""The containers that checkpoints come in: a plain pickle, torch's zip archive, its older stream, safetensors.

Which one a file is shows in its first bytes; the extension says nothing (.pkl may be an archive, .pt a pickle).

Thread: whoever reads.
"""

import io
import re
import struct
from typing import Any, BinaryIO, NamedTuple

import msgspec

from performer.generators.foreign.arrays import BFLOAT16, Source, Storage, Tensor, checked_sizes, item_bytes
from performer.generators.foreign.errors import Unreadable, quoted
from performer.generators.foreign.names import Names
from performer.generators.foreign.scan import NotPickle, Work
from performer.generators.foreign.unpickler import Entries, TypeCode, load_pickle

ZIP = b"PK\x03\x04"
PICKLE = b"\x80"  # from protocol 2 on; the older ones begin with any instruction
EMPTY_ZIP = b"PK\x05\x06"
TORCH_MAGIC = 0x1950A86A20F9469CFC6C
TORCH_MAGIC_PICKLED = b"\x8a\x0a" + TORCH_MAGIC.to_bytes(10, "little")
TORCH_PROTOCOL = 1001
HEAD_BYTES = 512
MAX_DIRECTORY_BYTES = 4 << 20  # of a zip archive; an entry takes about a hundred, a large network has some thousand
MAX_HEADER_BYTES = 8 << 20  # of a safetensors file
ZIP64 = 0xFFFFFFFF

STRANGE_HEADS = {  # what people open by mistake
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"\x1f\x8b": "gzip-compressed; unpack it first",
    b"BZh": "bzip2-compressed; unpack it first",
    b"\xfd7zXZ": "xz-compressed; unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"\x89HDF": "an HDF5 file, such as Keras writes",
    b"\x93NUMPY": "a numpy array",
    b"%PDF": "a PDF document",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; download the file",
}
SAFETENSORS_CODES = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "BF16": BFLOAT16,
    "BOOL": "?",
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U8": "u1",
}


class Content(NamedTuple):
    """What lay in a file. Tensors within are read later: keep the file open."""

    top: Any
    container: str  # for people
    names: Names


def open_container(file: BinaryIO, *, size_bytes: int) -> Content:
    """Load what lies in `file`, of whatever container.

    Raises:
        Unreadable: it is none of these, is cut short, or would do harm.
    """
    names, work = Names(), Work(file_bytes=size_bytes)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    for start, what in STRANGE_HEADS.items():
        if head.startswith(start):
            raise Unreadable(f"is {what}; expected a checkpoint of a generator")
    if head.lstrip()[:1] == b"<" and b"html" in head.lower():
        raise Unreadable("is a web page, as servers send it instead of a file; download the checkpoint again")
    if head[257:262] == b"ustar":
        raise Unreadable("is a tar archive; unpack it, or save it again with a newer PyTorch")
    if head.startswith((ZIP, EMPTY_ZIP)):
        return Content(_load_archive(file, size_bytes=size_bytes, names=names, work=work), "PyTorch archive", names)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < MAX_HEADER_BYTES:
        return Content(_load_safetensors(file, size_bytes=size_bytes), "safetensors", names)
    if TORCH_MAGIC_PICKLED in head[:32]:
        top = _load_stream(file, size_bytes=size_bytes, names=names, work=work, inner=False)
        return Content(top, "PyTorch file in the form before 1.6", names)
    try:
        top = load_pickle(file, end=size_bytes, names=names, work=work, inner_stream=_inner_stream(names, work))
    except NotPickle:
        if head[:1] == PICKLE:
            raise
        raise Unreadable(
            f"is no checkpoint: it begins with {quoted(head[:12])}; expected a pickle, a PyTorch file or safetensors"
        ) from None
    return Content(top, "pickle", names)


def _inner_stream(names: Names, work: Work) -> Any:
    def load(raw: bytes) -> Storage:
        loaded = _load_stream(io.BytesIO(raw), size_bytes=len(raw), names=names, work=work, inner=True)
        if not isinstance(loaded, Storage):
            raise Unreadable("a tensor's own stream holds something else than numbers")
        return loaded

    return load


def _load_stream(file: BinaryIO, *, size_bytes: int, names: Names, work: Work, inner: bool) -> Any:
    """The stream of torch.save before 1.6, and of every tensor in a plain pickle: five pickles, then the numbers."""

    def part(expected: type | int, what: str) -> Any:
        value = load_pickle(file, end=size_bytes, names=names, work=work)
        if value != expected if isinstance(expected, int) else not isinstance(value, expected):
            raise Unreadable(f"the {what} of a torch stream is damaged")
        return value

    part(TORCH_MAGIC, "magic number")
    part(TORCH_PROTOCOL, "protocol number")
    system = part(dict, "system description")
    source = Source(file, big_endian=system.get("little_endian", True) is False)
    known: dict[str, Storage] = {}

    def storage(pid: Any) -> Storage:
        kind, code, key, _, count, *views = _checked_pid(pid)
        if kind != "storage" or len(views) > 1:
            raise Unreadable("a torch stream refers to data of an unknown kind")
        root = known.setdefault(key, Storage(source, key=key, code=code, count=count))
        if (root.code, root.count) != (code, count):
            raise Unreadable(f"storage {quoted(key)} is described in two ways")
        if views and views[0] is not None:
            if not isinstance(views[0], tuple) or len(views[0]) != 3:
                raise Unreadable("a view of a storage is damaged")
            return root.part(first=_checked_count(views[0][1]), count=_checked_count(views[0][2]))
        return root

    top = load_pickle(
        file,
        end=size_bytes,
        names=names,
        work=work,
        storage=storage,
        inner_stream=None if inner else _inner_stream(names, work),
    )
    for key in part(list, "list of storages"):
        if not isinstance(key, str) or key not in known:
            raise Unreadable("the list of storages of a torch stream is damaged")
        where = file.tell()
        needed = 8 + known[key].count * item_bytes(known[key].code)
        if needed > size_bytes - where:
            raise Unreadable(
                f"cut short: storage {quoted(key)} needs {needed:,} bytes at byte {where:,}, "
                f"{size_bytes - where:,} are there; copy or download the file again"
            )
        (count,) = struct.unpack("<q", file.read(8))
        if count != known[key].count:
            raise Unreadable(f"storage {quoted(key)} has {count:,} elements; expected {known[key].count:,}")
        source.places[key] = (where + 8, needed - 8)
        file.seek(where + needed)
    return top


def _checked_pid(pid: Any) -> tuple:
    """A persistent id of torch: kind, type code, key, location, element count, and perhaps a view."""
    if not isinstance(pid, tuple) or not 5 <= len(pid) <= 6 or not isinstance(pid[1], TypeCode):
        raise Unreadable("a tensor lies in a storage of an unknown kind")
    kind, dtype, key, location, count, *rest = pid
    if not isinstance(key, str) or len(key) > 64:
        raise Unreadable("the key of a storage is damaged")
    return kind, dtype.code, key, location, _checked_count(count), *rest


def _checked_count(count: Any) -> int:
    if type(count) is not int or not 0 <= count < 1 << 48:
        raise Unreadable(f"a storage has {quoted(count)} elements")
    return count


def _load_archive(file: BinaryIO, *, size_bytes: int, names: Names, work: Work) -> Any:
    """torch.save since 1.6: a zip archive with one pickle, and one member for each storage."""
    members = _members(file, size_bytes=size_bytes)
    pickles = [name for name in members if name == "data.pkl" or re.fullmatch(r"[^/]+/data\.pkl", name)]
    if len(pickles) != 1:
        inside = [quoted(name) for name in list(members)[:4]]
        raise Unreadable(
            f"is a zip archive but not PyTorch's: it has no data.pkl ({', '.join(inside) or 'nothing'} within); "
            "unpack it and open what is inside"
        )
    prefix = pickles[0].removesuffix("data.pkl")
    if prefix + "constants.pkl" in members or any(name.startswith(prefix + "code/") for name in members):
        raise Unreadable(
            "is a TorchScript archive, a program rather than weights; expected a checkpoint: "
            "ask its maker for the training checkpoint"
        )

    def place(name: str) -> tuple[int, int]:
        offset, size = members[name]
        if size < 0:
            raise Unreadable(f"{quoted(name)} in it is compressed or encrypted; save it again with torch.save")
        return offset, size

    def content(name: str) -> bytes:
        offset, size = place(name)
        file.seek(offset)
        return file.read(size)

    order = content(prefix + "byteorder") if prefix + "byteorder" in members else b"little"
    source = Source(file, big_endian=order[:16] == b"big")

    def storage(pid: Any) -> Storage:
        kind, code, key, _, count, *_rest = _checked_pid(pid)
        if kind != "storage":
            raise Unreadable("an archive refers to data of an unknown kind")
        if (name := f"{prefix}data/{key}") in members:
            source.places[key] = place(name)
        return Storage(source, key=key, code=code, count=count)

    data = content(pickles[0])
    return load_pickle(
        io.BytesIO(data),
        end=len(data),
        names=names,
        work=work,
        storage=storage,
        inner_stream=_inner_stream(names, work),
    )


def _members(file: BinaryIO, *, size_bytes: int) -> dict[str, tuple[int, int]]:
    """The members of a zip archive: name to (offset, bytes); bytes is -1 where it is compressed or encrypted.

    Read by hand: torch's archives are stored uncompressed, so that a few checks exclude every bomb; their checksums
    may be unset, which the standard library would refuse.
    """
    tail_start = max(0, size_bytes - 65_557)  # the end record with the longest comment
    file.seek(tail_start)
    tail = file.read(size_bytes - tail_start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 22 > len(tail):
        raise Unreadable(
            f"cut short: it is a zip archive, as PyTorch writes, whose list of contents at the end is missing "
            f"({size_bytes:,} bytes are there); copy or download it again"
        )
    directory_bytes, directory_at = struct.unpack_from("<II", tail, at + 12)
    if at >= 20 and tail[at - 20 :].startswith(b"PK\x06\x07"):
        (end64_at,) = struct.unpack_from("<Q", tail, at - 20 + 8)
        end64 = _piece(file, offset=end64_at, size=56, size_bytes=size_bytes)
        directory_bytes, directory_at = struct.unpack_from("<QQ", end64, 40)
    if directory_bytes > MAX_DIRECTORY_BYTES:
        raise Unreadable(
            f"its zip archive has a list of contents of {directory_bytes:,} bytes; no checkpoint needs that"
        )
    directory = _piece(file, offset=directory_at, size=directory_bytes, size_bytes=size_bytes)
    members: dict[str, tuple[int, int]] = {}
    total = at = 0
    while at < len(directory):
        if len(directory) - at < 46 or directory[at : at + 4] != b"PK\x01\x02":
            raise Unreadable("the list of contents of its zip archive is damaged; copy or download it again")
        flags, method = struct.unpack_from("<HH", directory, at + 8)
        packed, size, name_bytes, extra_bytes, comment_bytes = struct.unpack_from("<IIHHH", directory, at + 20)
        (header_at,) = struct.unpack_from("<I", directory, at + 42)
        name = directory[at + 46 : at + 46 + name_bytes].decode("utf-8", "replace")
        extra = directory[at + 46 + name_bytes : at + 46 + name_bytes + extra_bytes]
        size, packed, header_at = _large_sizes(extra, size, packed, header_at)
        at += 46 + name_bytes + extra_bytes + comment_bytes
        header = _piece(file, offset=header_at, size=30, size_bytes=size_bytes)
        offset = header_at + 30 + sum(struct.unpack_from("<HH", header, 26))
        if header[:4] != ZIP or offset + packed > size_bytes:
            raise Unreadable(
                f"cut short: {quoted(name)} in its zip archive needs {packed:,} bytes at byte {offset:,}, "
                f"{max(0, size_bytes - offset):,} are there; copy or download it again"
            )
        total += packed
        members[name] = (offset, size if method == 0 and not flags & 1 and size == packed else -1)
    if total > size_bytes:
        raise Unreadable(
            f"the contents of its zip archive overlap ({total:,} bytes in a file of {size_bytes:,}): "
            "it is damaged or was made to do harm"
        )
    return members


def _large_sizes(extra: bytes, *values: int) -> tuple[int, ...]:
    """Sizes and offset of a zip entry, taken from its zip64 field where they do not fit 32 bits."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            large = iter(struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4))
            return tuple(next(large, value) if value == ZIP64 else value for value in values)
        at += 4 + length
    return values


def _piece(file: BinaryIO, *, offset: int, size: int, size_bytes: int) -> bytes:
    if offset + size > size_bytes:
        raise Unreadable(
            f"cut short: {size:,} bytes are expected at byte {offset:,} of its zip archive, the file has {size_bytes:,}; "
            "copy or download it again"
        )
    file.seek(offset)
    return file.read(size)


def _load_safetensors(file: BinaryIO, *, size_bytes: int) -> Entries:
    """A state dict of another program; the species of this one are not foreign."""
    header_bytes = int.from_bytes(file.read(8), "little")
    data_at = 8 + header_bytes
    if data_at > size_bytes:
        raise Unreadable(f"cut short: a header of {header_bytes:,} bytes is expected, the file has {size_bytes:,}")
    try:
        header = msgspec.json.decode(file.read(header_bytes), type=dict[str, dict])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"its safetensors header is damaged ({quoted(error)})") from None
    if "performer" in header.pop("__metadata__", {}):
        raise Unreadable("is a species of this program already; play it as it is")
    source = Source(file)
    tensors = Entries()
    for name, entry in header.items():
        code = SAFETENSORS_CODES.get(str(entry.get("dtype")))
        span = checked_sizes(entry.get("data_offsets"), what="data_offsets")
        shape = checked_sizes(entry.get("shape"), what="shape")
        if code is None or len(span) != 2 or span[1] < span[0]:
            raise Unreadable(f"tensor {quoted(name)} has a type or place that is not known here")
        if data_at + span[1] > size_bytes:
            raise Unreadable(
                f"cut short: tensor {quoted(name)} ends at byte {data_at + span[1]:,}, the file has {size_bytes:,}; "
                "copy or download it again"
            )
        source.places[name] = (data_at + span[0], span[1] - span[0])
        strides, step = [], 1
        for size in reversed(shape):
            strides.append(step)
            step *= size
        storage = Storage(source, key=name, code=code, count=(span[1] - span[0]) // item_bytes(code))
        tensors[name] = Tensor(storage, offset=0, shape=shape, strides=strides[::-1])
    return tensors
