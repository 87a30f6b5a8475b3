"""The reader of foreign checkpoints: `read`, what it returns, and the one exception that it raises.

Thread: any. Reads the file and, for lucidrains' checkpoints, `.config.json` beside it; writes nothing, runs nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from performer.flow import F32
from performer.generators.foreign.arrays import refuse_broken_numbers
from performer.generators.foreign.containers import open_container
from performer.generators.foreign.draft import Draft
from performer.generators.foreign.errors import Unreadable, quoted
from performer.generators.foreign.layouts import read_layout
from performer.refusal import Refused

MAX_FILE_BYTES = 16 << 30
SHOWN_STRANGERS = 6


class ForeignError(Refused):
    """A foreign checkpoint that cannot be read. The message names the file, what is wrong and what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """The generator of a foreign checkpoint, in memory."""

    family: str  # stylegan2 | stylegan3 | fastgan | projected | lightweight | lucidrains
    tensors: dict[str, F32]  # canonical keys; C order, finite
    options: dict[str, Any]  # as JSON has them; what the tensors do not say, see the package's docstring
    source: str  # for people: which program wrote which container
    notes: tuple[str, ...]  # for people: what was estimated, moved or left aside


def _silent(text: str) -> None:
    pass


def read(path: Path, *, progress: Callable[[str], None] = _silent) -> Foreign:
    """Read the generator of the checkpoint at `path`; `progress` is told what happens.

    Needs about twice the file's size in memory. Nothing in the file is run, whatever it names.

    Raises:
        ForeignError: the file is missing, cut short, damaged, dangerous, or holds no generator that can be played.
    """
    try:
        return _read(path, progress)
    except Unreadable as error:
        raise ForeignError(f"{path}: {error}") from None
    except MemoryError:
        raise ForeignError(
            f"{path}: needs more memory than there is; expected about twice the file's size: close other programs"
        ) from None
    except OSError as error:
        raise ForeignError(
            f"{path}: cannot be read ({error.strerror or error}); check the file and its rights"
        ) from None
    except Exception as error:  # a crafted file may upset any line here; the show's other files must still load
        raise ForeignError(
            f"{path}: is damaged in a way that was not foreseen ({type(error).__name__}: {quoted(error)}); "
            "copy or download it again"
        ) from error


def _read(path: Path, progress: Callable[[str], None]) -> Foreign:
    if path.is_dir():
        raise Unreadable("is a folder; expected a checkpoint file")
    if not path.is_file():
        raise Unreadable("no such file; expected a checkpoint")
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise Unreadable("is empty (0 bytes); copy or download it again")
    if size_bytes > MAX_FILE_BYTES:
        raise Unreadable(f"has {size_bytes:,} bytes; no checkpoint of a generator is larger than {MAX_FILE_BYTES:,}")
    with path.open("rb") as file:
        progress(f"reading {path.name} ({size_bytes / 1e6:,.1f} MB)")
        content = open_container(file, size_bytes=size_bytes)
        progress(f"looking for the generator in a {content.container}")
        draft = read_layout(content, path=path, file_bytes=size_bytes)
    progress(f"found {draft.source}: checking {len(draft.tensors):,} tensors")
    refuse_broken_numbers(draft.tensors)
    return Foreign(
        family=draft.family,
        tensors={key: np.asarray(tensor, np.float32, order="C") for key, tensor in draft.tensors.items()},
        options=draft.options,
        source=draft.source,
        notes=(*draft.notes, *_strangers(draft, content.names.strangers())),
    )


def _strangers(draft: Draft, names: list[str]) -> list[str]:
    """A note on the classes that were named but not used."""
    if not names:
        return []
    more = f" and {len(names) - SHOWN_STRANGERS:,} more" if len(names) > SHOWN_STRANGERS else ""
    return [f"inert: {', '.join(names[:SHOWN_STRANGERS])}{more}"]
