"""The names in a pickle: which are dangerous, and the inert placeholders that stand for all that are not known.

A placeholder takes any arguments, state and items, can be called, and does nothing. Honest files need this: the
discriminators, hooks and training arguments beside a generator name classes of a dozen libraries.

A name from `DANGEROUS_*` is never looked up either, but no network needs one: the file is refused for it.

Thread: whoever reads; one `Names` a file.
"""

from typing import Any

from performer.generators.foreign.errors import Unreadable, quoted

MAX_STRANGERS = 5_000  # each placeholder is a class of its own, about a kilobyte


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


DANGEROUS_MODULES = _words(  # by the first part of the module's name
    "os posix nt subprocess sys importlib imp runpy socket shutil ctypes _ctypes cffi pickle _pickle cPickle",
    "cloudpickle marshal shelve webbrowser pty code codeop commands popen2 multiprocessing threading _thread asyncio",
    "concurrent socketserver http urllib urllib2 urllib3 requests httpx aiohttp ftplib smtplib telnetlib ssl xmlrpc",
    "paramiko pip ensurepip venv setuptools distutils pkgutil pkg_resources zipimport site sched timeit cProfile",
    "profile pdb bdb trace doctest pydoc lib2to3 idlelib tempfile glob signal resource fcntl mmap winreg _winapi",
    "msvcrt atexit faulthandler linecache fileinput sqlite3 dbm tkinter antigravity platform getpass crypt joblib",
)
DANGEROUS_NAMES = {  # by the whole name of the module; the last part of the name there
    "builtins": _words(
        "eval exec compile getattr setattr delattr __import__ open input breakpoint globals locals vars execfile",
        "apply reload file help exit quit __build_class__",
    ),
    "io": frozenset({"open", "open_code", "FileIO"}),
    "_io": frozenset({"open", "open_code", "FileIO"}),
    "codecs": frozenset({"open"}),
    "operator": frozenset({"attrgetter", "methodcaller"}),
    "_operator": frozenset({"attrgetter", "methodcaller"}),
    "dill": frozenset({"load", "loads", "load_module", "load_session"}),
    "numpy": frozenset({"load", "loads", "loadtxt", "fromfile", "memmap", "save", "savetxt"}),
    "torch": frozenset({"load", "save", "compile"}),
    "torch.serialization": frozenset({"load", "save"}),
    "pandas": frozenset({"read_pickle", "eval"}),
    "types": frozenset({"CodeType"}),
}
DANGEROUS_PREFIXES = (  # modules that run or build code
    *("numpy.testing", "numpy.f2py", "numpy.distutils", "numpy.ctypeslib", "torch.hub", "torch.jit", "torch.ops"),
    *("torch.classes", "torch.utils.cpp_extension", "torch.utils.bottleneck", "torch._dynamo", "torch._inductor"),
)
PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class Sealed:
    """A base for objects that a pickle may hold but not alter: BUILD is refused."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise Unreadable(f"its pickle tries to overwrite the state of a {type(self).__name__.lower()}")


class Inert:
    """Stands for an object of an unknown class. Every class has its own subclass, so that the pickle may make new ones."""

    __slots__ = ("appended", "args", "entries", "state")
    known_as = ""  # module and name, as the file has it

    def __new__(cls, *args: Any, **_: Any) -> "Inert":
        made = object.__new__(cls)
        made.args = args
        made.state = None
        made.entries = {}
        made.appended = []
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.entries[key] = value

    def append(self, value: Any) -> None:
        self.appended.append(value)

    def extend(self, values: Any) -> None:
        self.appended.extend(values)

    add = append

    def __call__(self, *_: Any, **__: Any) -> "Inert":
        return self


class Names:
    """The names that a file uses and that this program does not: strangers, and the dangerous among them."""

    def __init__(self) -> None:
        self._placeholders: dict[tuple[str, str], type[Inert]] = {}
        self._made = 0
        self.dangerous: dict[str, None] = {}  # full names, safe to print, in the order of appearance

    def placeholder(self, module: str, name: str) -> type[Inert]:
        """The inert class for an unknown name, always the same for one name."""
        known = self._placeholders.get((module, name))
        if known is None:
            known = self._placeholders[module, name] = self.anonymous(f"{module}.{name}")
        return known

    def note_danger(self, module: str, name: str) -> None:
        """Remember a name that no honest file has."""
        self.dangerous[f"{quoted(module)}.{quoted(name)}"] = None

    def anonymous(self, known_as: str) -> type[Inert]:
        """A fresh inert class.

        Raises:
            Unreadable: the file has asked for absurdly many.
        """
        self._made += 1
        if self._made > MAX_STRANGERS:
            raise Unreadable(f"its pickle names more than {MAX_STRANGERS:,} classes; no checkpoint has so many")
        return type("Inert", (Inert,), {"__slots__": (), "known_as": known_as})

    def strangers(self) -> list[str]:
        """The full names of all placeholders, sorted, plain torch and Python left out."""
        shown = {
            f"{module}.{name}"
            for module, name in self._placeholders
            if module.partition(".")[0] not in ("builtins", "__builtin__", "torch", "collections", "numpy")
        }
        return sorted(quoted(name) for name in shown)


def is_dangerous(module: str, name: str) -> bool:
    """Whether a name leads to running code, to files or to the network."""
    module = PYTHON_2.get(module, module)
    *owners, last = name.split(".")
    if module.partition(".")[0] in DANGEROUS_MODULES or any(owner in DANGEROUS_MODULES for owner in owners):
        return True
    path = ".".join([module, *owners])
    if any(path == prefix or path.startswith(prefix + ".") for prefix in DANGEROUS_PREFIXES):
        return True
    return last in DANGEROUS_NAMES.get(path, ()) or (last.startswith("__") and bool(owners))
