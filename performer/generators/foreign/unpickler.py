"""Loading a pickle without importing or calling anything that it names.

`find_class` is a table: the few constructors that checkpoints need are written here and in `arrays`; every other name
becomes an inert placeholder (`names`).

Thread: whoever reads.
"""

import pickle
from collections.abc import Callable
from typing import Any, BinaryIO

from performer.generators.foreign.arrays import STORAGES, Array, DType, Storage, Tensor
from performer.generators.foreign.errors import Unreadable, quoted
from performer.generators.foreign.names import PYTHON_2, Inert, Names, Sealed, is_dangerous
from performer.generators.foreign.scan import Work, scan

_PLAIN_KEYS = (str, bytes, int, float)  # hashed in no time; the scan sees only keys that the stream itself sets


class Entries(dict):
    """Any dictionary with manners of its own: OrderedDict, defaultdict, EasyDict. Attributes on it are forgotten."""

    __slots__ = ()

    def __init__(self, *args: Any) -> None:
        super().__init__()
        given = args[0] if args else None
        if isinstance(given, dict):
            self.update(given)
        elif isinstance(given, list):  # pairs, as Python 2 wrote them
            pairs = (pair for pair in given if isinstance(pair, list | tuple) and len(pair) == 2)
            self.update((key, value) for key, value in pairs if isinstance(key, _PLAIN_KEYS))

    def __setstate__(self, state: Any) -> None:
        pass


class Known(Sealed):
    """A constructor that the file may call. An object rather than a function, so that the file cannot alter it."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)


class TypeCode(Sealed):
    """Stands for a storage class or dtype of torch."""

    __slots__ = ("code",)

    def __init__(self, code: str) -> None:
        self.code = code


class Module(Inert):
    """A network or one of its layers, as NVIDIA's persistence writes it: `state` is its attributes."""

    __slots__ = ()


def _persistent_module(meta: Any = None, *_: Any) -> Inert:
    if not isinstance(meta, dict) or "state" not in meta:
        raise Unreadable("a network in it has no state")
    made = Module()
    made.state = meta["state"]
    return made


def _encoded(text: Any, encoding: Any = "latin1", *_: Any) -> bytes:
    """Bytes, which protocol 2 writes as text."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Unreadable("bytes in it are not written as latin1 text")
    return text.encode("latin1")


def _reconstructed(cls: Any, base: Any = None, state: Any = None, *_: Any) -> Any:
    if cls is Entries:
        return Entries(state)
    return _new(cls)


def _new(cls: Any, *args: Any) -> Any:
    if not isinstance(cls, type) or not issubclass(cls, Inert | Entries):
        raise Unreadable("its pickle makes an object of something that is no class")
    return cls(*args)


def _array(*_: Any) -> Array:
    return Array()


def _array_of_buffer(raw: Any, dtype: Any, shape: Any, order: Any = "C", *_: Any) -> Array:
    made = Array()
    made.fill(shape=shape, dtype=dtype, fortran=order == "F", raw=raw)
    return made


def _scalar(dtype: Any, raw: Any = b"", *_: Any) -> int | float | bool:
    made = Array()
    made.fill(shape=(), dtype=dtype, fortran=False, raw=raw)
    return made.native().item()


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    return Tensor(storage, offset=offset, shape=shape, strides=strides)


def _tensor_typed(
    storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
) -> Tensor:
    if not isinstance(storage, Storage) or not isinstance(dtype, TypeCode):
        raise Unreadable("a tensor has no type that is known here")
    return Tensor(storage.retyped(dtype.code), offset=offset, shape=shape, strides=strides)


_REBUILT, _REBUILT_TYPED = Known(_tensor), Known(_tensor_typed)


def _first(value: Any, *_: Any) -> Any:
    return value


def _tensor_subclass(call: Any, cls: Any, args: Any, *_: Any) -> Any:
    if call not in (_REBUILT, _REBUILT_TYPED) or not isinstance(args, tuple):
        raise Unreadable("a tensor is made by something that is not known here")
    return call(*args)


def _set(items: Any = (), *_: Any) -> frozenset:
    """A set, of which only the plain items are kept: nobody here looks into sets."""
    if not isinstance(items, list | tuple):
        raise Unreadable("a set in it is not written as a list")
    return frozenset(item for item in items if isinstance(item, _PLAIN_KEYS))


def _inner_storage(raw: Any, inner_stream: Callable[[bytes], Storage] | None) -> Storage:
    if inner_stream is None or not isinstance(raw, bytes | bytearray):
        raise Unreadable("it holds a tensor stream within a tensor stream")
    return inner_stream(bytes(raw))


_TABLE: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): Entries,
    ("collections", "defaultdict"): Entries,
    ("builtins", "set"): Known(_set),
    ("builtins", "frozenset"): Known(_set),
    ("_codecs", "encode"): Known(_encoded),
    ("copyreg", "_reconstructor"): Known(_reconstructed),
    ("copyreg", "__newobj__"): Known(_new),
    ("numpy", "dtype"): Known(DType),
    ("numpy.core.multiarray", "_reconstruct"): Known(_array),
    ("numpy.core.multiarray", "scalar"): Known(_scalar),
    ("numpy.core.numeric", "_frombuffer"): Known(_array_of_buffer),
    ("torch._utils", "_rebuild_parameter"): Known(_first),
    ("torch._utils", "_rebuild_parameter_with_state"): Known(_first),
    ("torch._utils", "_rebuild_tensor"): _REBUILT,
    ("torch._utils", "_rebuild_tensor_v2"): _REBUILT,
    ("torch._utils", "_rebuild_tensor_v3"): _REBUILT_TYPED,
    ("torch._tensor", "_rebuild_from_type_v2"): Known(_tensor_subclass),
    ("torch", "Size"): Known(_first),
    **{("torch", name): TypeCode(code) for name, code in STORAGES.items()},
    ("torch.storage", "UntypedStorage"): TypeCode(STORAGES["UntypedStorage"]),
}
_BY_NAME = {"_reconstruct_persistent_obj": Known(_persistent_module), "EasyDict": Entries}  # vendored under many paths


class SafeUnpickler(pickle.Unpickler):
    """The unpickler: a table of names, and storages by number."""

    def __init__(
        self,
        file: BinaryIO,
        *,
        names: Names,
        storage: Callable[[Any], Any] | None,
        inner_stream: Callable[[bytes], Storage] | None,
    ) -> None:
        super().__init__(file, fix_imports=False, encoding="latin1")  # latin1: arrays of Python 2 arrive as text
        self._names = names
        self._storage = storage
        self._resolved: dict[tuple[str, str], Any] = {}
        self._from_bytes = Known(lambda raw, *_: _inner_storage(raw, inner_stream))  # no cycle through `self`

    def find_class(self, module: str, name: str) -> Any:
        known = self._resolved.get((module, name))
        if known is None:
            known = self._resolved[module, name] = self._resolve(module, name)
        return known

    def _resolve(self, module: str, name: str) -> Any:
        if is_dangerous(module, name):
            self._names.note_danger(module, name)
        module = PYTHON_2.get(module, module).replace("numpy._core.", "numpy.core.", 1)
        if (module, name) in _TABLE:
            return _TABLE[module, name]
        if name in _BY_NAME:
            return _BY_NAME[name]
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return self._from_bytes
        if module.startswith("dill") and name in ("_create_type", "_load_type"):
            names = self._names
            return Known(lambda *_: names.anonymous(f"{module}.{name}"))  # objects of the class will follow
        return self._names.placeholder(module, name)

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, tuple) and len(pid) >= 2 and pid[0] in ("module", b"module"):
            return pid[1]  # a class, which the oldest torch files store with its source text
        if self._storage is None:
            raise Unreadable("its pickle refers to data that is not in the file")
        return self._storage(pid)


def load_pickle(
    file: BinaryIO,
    *,
    end: int,
    names: Names,
    work: Work,
    storage: Callable[[Any], Any] | None = None,
    inner_stream: Callable[[bytes], Storage] | None = None,
) -> Any:
    """Load the pickle at the file's position, which lies before byte `end`, and leave the file after it.

    `storage` resolves persistent ids; `inner_stream` reads a torch stream that is kept in a bytes object.

    Raises:
        Unreadable: it is damaged, or names what no network needs.
    """
    start = file.tell()
    after = scan(file, end=end, work=work)
    file.seek(start)
    try:
        loaded = SafeUnpickler(file, names=names, storage=storage, inner_stream=inner_stream).load()
    except (Unreadable, MemoryError):
        refuse_dangerous(names)
        raise
    except Exception as error:  # the unpickler raises nearly anything for a damaged stream
        refuse_dangerous(names)
        raise Unreadable(f"its pickle is damaged ({type(error).__name__}: {quoted(error)})") from None
    refuse_dangerous(names)
    file.seek(after)
    return loaded


def refuse_dangerous(names: Names) -> None:
    """Raises Unreadable where the file named what could run code."""
    if names.dangerous:
        raise Unreadable(
            f"its pickle names {', '.join(list(names.dangerous)[:12])}, which no network needs: it was made to run code "
            "on your machine. Nothing was run. Do not open it with other programs either"
        )
