"""Numbers in a foreign file: numpy arrays and torch tensors that stay where they are until somebody wants them.

Everything a file says about shapes, offsets, strides and types is checked before a byte is touched.

Thread: whoever reads.
"""

import re
from math import prod
from typing import BinaryIO

import numpy as np
from numpy.lib.stride_tricks import as_strided

from performer.flow import F32
from performer.generators.foreign.errors import Unreadable, quoted
from performer.generators.foreign.names import Sealed

MAX_DIMENSIONS = 16
SPARE_BYTES = 16 << 20  # what tensors may take beyond a multiple of the file, for views that repeat a value
UNFOLDING = 4  # the most that honest conversion enlarges: bytes to float32

MAX_CODE_CHARS = 16  # of a dtype

BFLOAT16 = "bf16"
STORAGES = {  # torch's storage classes and dtypes by name, as numpy type codes
    **dict.fromkeys(("FloatStorage", "float32", "float"), "f4"),
    **dict.fromkeys(("DoubleStorage", "float64", "double"), "f8"),
    **dict.fromkeys(("HalfStorage", "float16", "half"), "f2"),
    **dict.fromkeys(("BFloat16Storage", "bfloat16"), BFLOAT16),
    **dict.fromkeys(("LongStorage", "int64", "long"), "i8"),
    **dict.fromkeys(("IntStorage", "int32", "int"), "i4"),
    **dict.fromkeys(("ShortStorage", "int16", "short"), "i2"),
    **dict.fromkeys(("CharStorage", "int8"), "i1"),
    **dict.fromkeys(("ByteStorage", "uint8", "UntypedStorage"), "u1"),
    **dict.fromkeys(("BoolStorage", "bool"), "?"),
}
_NUMPY_CODE = re.compile(r"[biuf](1|2|4|8)|\?")
_BYTE_ORDERS = {"<": "<", "=": "<", ">": ">", "|": "|"}


def item_bytes(code: str) -> int:
    """The size of one element of type `code`."""
    return 2 if code == BFLOAT16 else np.dtype(code).itemsize


def checked_sizes(value: object, *, what: str) -> tuple[int, ...]:
    """A shape or strides as a tuple of integers from 0.

    Raises:
        Unreadable: it is none.
    """
    if not isinstance(value, tuple | list) or len(value) > MAX_DIMENSIONS:
        raise Unreadable(f"the {what} of an array is not a list of at most {MAX_DIMENSIONS} integers")
    for number in value:
        if type(number) is not int or not 0 <= number < 1 << 62:
            raise Unreadable(f"the {what} of an array holds {quoted(number)}; expected integers from 0")
    return tuple(value)


class DType(Sealed):
    """A numpy dtype as a pickle builds it: a code, then a state that says the byte order."""

    __slots__ = ("_built", "code", "order")

    def __init__(self, code: object, *_: object) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else code
        if not isinstance(text, str) or len(text) > MAX_CODE_CHARS:
            text = "unknown"
        self.order = "<"
        if text[:1] in _BYTE_ORDERS:
            self.order, text = _BYTE_ORDERS[text[0]], text[1:]
        self.code = "?" if text in ("b1", "bool") else text
        self._built = False
        if self.code.startswith("O"):
            raise Unreadable("it holds an array of Python objects; expected arrays of numbers")

    def __setstate__(self, state: object) -> None:
        if self._built or not isinstance(state, tuple) or len(state) < 5:
            raise Unreadable("the type of an array is damaged")
        self._built = True
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if not isinstance(order, str) or order not in _BYTE_ORDERS:
            raise Unreadable(f"the byte order of an array is {quoted(order)}; expected one of < > | =")
        self.order = _BYTE_ORDERS[order]
        if any(part is not None for part in state[2:5]):
            self.code = "structure"

    def numpy(self) -> np.dtype:
        """The real dtype; raises Unreadable where it is not one of plain numbers."""
        if not _NUMPY_CODE.fullmatch(self.code) or self.code in ("b2", "b4", "b8", "f1"):
            raise Unreadable(f"an array has type {quoted(self.code)}; expected integers or floats up to 64 bits")
        return np.dtype(self.order + self.code)


class Array(Sealed):
    """A numpy array as a pickle builds it."""

    __slots__ = ("_dtype", "_fortran", "_raw", "shape")

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self._dtype: DType | None = None
        self._fortran = False
        self._raw: bytes | bytearray | str = b""

    def __setstate__(self, state: object) -> None:
        if self._dtype is not None or not isinstance(state, tuple) or len(state) not in (4, 5):
            raise Unreadable("the state of an array is damaged")
        shape, dtype, fortran, raw = state[-4:]
        self.fill(shape=shape, dtype=dtype, fortran=bool(fortran), raw=raw)

    def fill(self, *, shape: object, dtype: object, fortran: bool, raw: object) -> None:
        """Set what the file says; `raw` may be text of Python 2, one byte a character."""
        if not isinstance(dtype, DType):
            raise Unreadable("the type of an array is missing")
        if not isinstance(raw, bytes | bytearray | str):
            raise Unreadable("an array holds Python objects; expected numbers")
        self.shape = checked_sizes(shape, what="shape")
        self._dtype, self._fortran, self._raw = dtype, fortran, raw

    def cost_bytes(self) -> int:
        """What it takes to read."""
        return max(4 * prod(self.shape), len(self._raw))

    def native(self) -> np.ndarray:
        """The array as stored, a view of the file's bytes."""
        if self._dtype is None:
            raise Unreadable("an array was announced but never given")
        dtype = self._dtype.numpy()
        raw = self._raw.encode("latin1") if isinstance(self._raw, str) else self._raw
        expected = prod(self.shape) * dtype.itemsize
        if len(raw) != expected:
            raise Unreadable(f"an array of shape {list(self.shape)} has {len(raw):,} bytes; expected {expected:,}")
        return np.frombuffer(raw, dtype).reshape(self.shape, order="F" if self._fortran else "C")

    def numbers(self) -> F32:
        """The array as float32, C order, of its own memory."""
        with np.errstate(over="ignore"):  # too large a double becomes infinite, and is refused as such
            return np.array(self.native(), np.float32, order="C")


class Source:
    """Where the storages of one torch stream lie in a file: key to (offset, bytes)."""

    def __init__(self, file: BinaryIO, *, big_endian: bool = False) -> None:
        self._file = file
        self.order = ">" if big_endian else "<"
        self.places: dict[str, tuple[int, int]] = {}

    def fetch(self, key: str, *, first: int, size: int) -> bytes:
        """`size` bytes of a storage from byte `first` on."""
        if key not in self.places:
            raise Unreadable(f"the numbers of storage {quoted(key)} are missing; copy or download the file again")
        offset, there = self.places[key]
        if there < first + size:
            raise Unreadable(f"storage {quoted(key)} has {there:,} bytes; expected {first + size:,}")
        offset += first
        self._file.seek(offset)
        raw = self._file.read(size)
        if len(raw) != size:
            raise Unreadable(
                f"cut short: storage {quoted(key)} needs {size:,} bytes at byte {offset:,}, {len(raw):,} are there"
            )
        return raw


class Storage(Sealed):
    """A run of numbers in a torch file."""

    __slots__ = ("_first", "_key", "_source", "code", "count")

    def __init__(self, source: Source, *, key: str, code: str, count: int, first: int = 0) -> None:
        self._source, self._key, self._first = source, key, first
        self.code = code
        self.count = count  # elements

    def elements(self, *, first: int, count: int) -> np.ndarray:
        """`count` elements from `first` on, flat, in the stored type; bfloat16 as u16."""
        code = "u2" if self.code == BFLOAT16 else self.code
        dtype = np.dtype(self._source.order + code)
        start = (self._first + first) * dtype.itemsize
        return np.frombuffer(self._source.fetch(self._key, first=start, size=count * dtype.itemsize), dtype)

    def part(self, *, first: int, count: int) -> "Storage":
        """A storage within this one, as the oldest files have them."""
        if first < 0 or count < 0 or first + count > self.count:
            raise Unreadable("a view reaches beyond its storage")
        return Storage(self._source, key=self._key, code=self.code, count=count, first=self._first + first)

    def retyped(self, code: str) -> "Storage":
        """The same bytes as elements of another type; for storages that have none of their own."""
        count = self.count * item_bytes(self.code) // item_bytes(code)
        return Storage(self._source, key=self._key, code=code, count=count)


class Tensor(Sealed):
    """A torch tensor: a strided view of a storage, known to lie inside it."""

    __slots__ = ("_offset", "_span", "_storage", "_strides", "shape")

    def __init__(self, storage: Storage, *, offset: object, shape: object, strides: object) -> None:
        self.shape = checked_sizes(shape, what="shape")
        self._strides = checked_sizes(strides, what="strides")
        if type(offset) is not int or offset < 0 or len(self._strides) != len(self.shape):
            raise Unreadable("a tensor's offset and strides do not fit its shape")
        if not isinstance(storage, Storage):
            raise Unreadable("a tensor has no storage")
        self._storage, self._offset = storage, offset
        self._span = 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self._strides, strict=True))
        last = offset + self._span - 1
        if 0 not in self.shape and last >= storage.count:
            raise Unreadable(
                f"a tensor of shape {list(self.shape)} reaches element {last:,} of a storage of {storage.count:,}"
            )

    def cost_bytes(self) -> int:
        """What it takes to read: the part of the file that it spans, or what it unfolds to."""
        return max(4 * prod(self.shape), self._span * item_bytes(self._storage.code))

    def numbers(self) -> F32:
        """The tensor as float32, C order, of its own memory."""
        if 0 in self.shape:
            return np.zeros(self.shape, np.float32)
        flat = self._storage.elements(first=self._offset, count=self._span)
        strides = [stride * flat.itemsize for stride in self._strides]
        view = as_strided(flat, self.shape, strides, writeable=False)
        if self._storage.code == BFLOAT16:  # the upper half of a float32
            wide = np.array(view, np.uint32, order="C")
            wide <<= 16
            return wide.view(np.float32)
        with np.errstate(over="ignore"):
            return np.array(view, np.float32, order="C")


Lazy = Tensor | Array


def numbers_of(lazies: dict[str, Lazy], *, file_bytes: int) -> dict[str, F32]:
    """Read all of `lazies`.

    Raises:
        Unreadable: a tensor is damaged, holds NaN or infinity, or all together are far larger than the file.
    """
    total = sum(lazy.cost_bytes() for lazy in lazies.values())
    if total > UNFOLDING * file_bytes + SPARE_BYTES:
        raise Unreadable(f"its tensors would unfold to {total:,} bytes, but the file has only {file_bytes:,}")
    read = {}
    for key, lazy in lazies.items():
        try:
            read[key] = lazy.numbers()
        except Unreadable as error:
            raise Unreadable(f"tensor {quoted(key)}: {error}") from None
    refuse_broken_numbers(read)
    return read


def refuse_broken_numbers(tensors: dict[str, F32]) -> None:
    """Raises Unreadable where a tensor holds NaN or infinity."""
    for key, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise Unreadable(f"{quoted(key)} holds NaN or infinity; expected finite weights; the training had diverged")
