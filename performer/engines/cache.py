"""Compiled engines on disk: keyed by content, written atomically, verified when read.

A file that is cut short, altered or of another key is not trusted: `fetch` returns None and the caller builds again.

Thread: any one at a time a key; two programs that build the same engine write the same bytes and the last rename wins.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from performer.generators.checkpoint import Checkpoint
from performer.resources import cache_folder

log = logging.getLogger(__name__)


def folder() -> Path:
    """Where compiled engines live; `PERFORMER_CACHE` moves it."""
    return cache_folder()


def key_of(checkpoint: Checkpoint, *parts: str, siblings: Sequence[Checkpoint] = ()) -> str:
    """A name for what a species, or a chain of siblings, compiles to.

    It changes with the weights, with our own code and with `parts`.
    """
    digest = hashlib.sha256(checkpoint.content_hash.encode())
    for package in ("performer.generators", "performer.engines"):
        for file in sorted(resources.files(package).iterdir(), key=lambda entry: entry.name):
            if file.name.endswith(".py"):
                digest.update(file.read_bytes())
    for part in ("\n".join(sibling.content_hash for sibling in siblings), *parts):
        digest.update(b"\0" + part.encode())
    return digest.hexdigest()[:32]


def fetch(engine: str, key: str) -> bytes | None:
    """The stored bytes, or None where there are none that can be trusted."""
    path = folder() / engine / key
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(stored[32:]).digest() != stored[:32]:
        log.warning("%s: the cached engine is damaged; building it again", path)
        return None
    return stored[32:]


def store(engine: str, key: str, compiled: bytes) -> None:
    """Keep `compiled`. A disk that is full or read-only costs the next start its speed, not this show."""
    path = folder() / engine / key
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(hashlib.sha256(compiled).digest() + compiled)
        os.replace(file.name, path)
    except OSError as error:
        log.warning("%s: the compiled engine could not be kept (%s); the next start will build it again", path, error)
