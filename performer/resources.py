"""Where the program's own files lie: shaders, setlists, checkpoints and music; and where it keeps what it has found.

In a checkout they are folders beside the package; in a wheel they are inside it, under `performer/bundled`.

Thread: any.
"""

import os
from pathlib import Path

import platformdirs

_PACKAGE = Path(__file__).resolve().parent
_BUNDLED = _PACKAGE / "bundled"
ROOT = _BUNDLED if _BUNDLED.is_dir() else _PACKAGE.parent

SHADERS = ROOT / "shaders"
TRANSITIONS = SHADERS / "transitions"
SETLISTS = ROOT / "setlists"
MAPPINGS = SETLISTS / "mappings"
CHECKPOINTS = ROOT / "checkpoints"


def cache_folder() -> Path:
    """The user's cache folder of this program; `PERFORMER_CACHE` moves it."""
    return Path(os.environ.get("PERFORMER_CACHE") or platformdirs.user_cache_dir("performer", appauthor=False))


def is_installed(path: Path) -> bool:
    """Whether a file belongs to an installed package: it is not the user's to change."""
    return ROOT == _BUNDLED and ROOT in path.resolve().parents


def find(name: str, *, beside: Path, bundled: Path, suffix: str) -> Path | None:
    """The file that a setlist means by `name`: a path, one beside the setlist, or one of our own.

    `suffix` is added where the name has none. None where there is no such file.
    """
    if not name.strip("./\\ "):
        return None
    given = Path(name).expanduser()
    names = [given, given.with_name(given.name + suffix)]
    for folder in (beside, bundled):
        for candidate in names:
            path = candidate if candidate.is_absolute() else folder / candidate
            if path.is_file():
                return path
    return None
