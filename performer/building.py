"""Builds the engines of a creature into the cache, beside a show that plays: `python -m performer.building`.

Arguments: the choice of engine, frames a second, the species' file, and those of its siblings. It gives way to everything
else on the machine.
"""

import sys
from functools import partial
from pathlib import Path

import psutil

from performer.clock import SystemClock
from performer.creatures import Creature
from performer.engines.host import EngineHost
from performer.generators import checkpoint as species
from performer.notices import Notices
from performer.role import Role


def main(choice: str, fps: str, *paths: str) -> None:
    """Build, try and let go. Raises what the engines raise."""
    own = psutil.Process()
    own.nice(psutil.IDLE_PRIORITY_CLASS if sys.platform == "win32" else 19)
    first, *siblings = (species.load(Path(path)) for path in paths)
    host = partial(EngineHost, clock=SystemClock(), notices=Notices())
    role = Role.of(Creature(checkpoint=first, siblings=tuple(siblings)), host=host, choice=choice)
    try:
        role.make(fps=float(fps), host=host, progress=lambda _: None)
    finally:
        role.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
