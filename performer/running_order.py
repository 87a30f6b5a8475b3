"""Setlists as people handle them: one to begin with, and the running order of one on paper.

Thread: main.
"""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from performer.choreography.score import Cue, Length
from performer.files import write_whole
from performer.refusal import Refused
from performer.routes import BEATS
from performer.setlist import Setlist

NEW = """# {name}: a show to begin with. Every key is explained in docs/setlists.md; `performer check {file}` finds slips.

schema = 1
name = "{name}"
species = "{species}"
seed = 1                     # another number, other animals

[audio]
source = "device"            # the sound card; or "file", with file = "song.wav" beside it

[params]                     # where all cues start from
latent.truncation = 0.8      # 0 the average animal, 1 as trained, above is wild
cue.quantize = 4             # GO waits for the next bar; 0 for at once

[[route]]                    # what the music moves, in all cues
name = "kick"
from = "mix.kick"
to = "latent.coarse"
amount = 0.7
attack = 0.02
release = 0.4

[[cue]]
id = "1"
name = "Waiting"
notes = "Before they begin: it breathes."
fade = 8.0
[cue.params]
walk.speed = 0.05
breathe.depth = 0.3

[[cue]]
id = "2"
name = "The song"
notes = "GO on the first beat."
fade = "4 beats"
[cue.params]
walk.speed = 0.2

[[cue.route]]                # in this cue alone
name = "melody"
from = "mix.harmonic.level"
to = "latent.middle"
amount = 0.8
attack = 0.08
release = 0.5

[[cue]]
id = "3"
name = "The end"
notes = "It goes back to where it came from."
seed = 1
fade = "8 bars"
[cue.params]
walk.speed = 0.03
latent.truncation = 0.4
out.dimmer = 0.6
"""


def write_new(path: Path, *, species: str) -> Path:
    """A setlist to begin with, explained in itself: the file. Raises Refused where it cannot be written."""
    path = path if path.suffix == ".toml" else path.with_name(path.name + ".toml")
    if path.exists():
        raise Refused(f"{path}: is there already; expected a new name, or take the old one away first")
    name = path.stem.replace("-", " ").replace("_", " ").strip().capitalize() or "Show"
    if '"' in name or "\\" in name or not name.isprintable():
        raise Refused(f"{path}: a quotation mark or a backslash cannot be in the name; expected letters and digits")
    try:
        write_whole(path, NEW.format(name=name, species=species, file=path.name).encode())
    except OSError as error:
        raise Refused(f"{path}: cannot be written ({error.strerror}); expected a folder of yours") from None
    return path


def in_words(length: Length) -> str:
    """A length as a setlist has it: `4 s`, `2 bars`, `3 beats`; nothing for none."""
    if length.amount <= 0.0:
        return ""
    if not length.in_beats:
        return f"{length.amount:g} s"
    bars = length.amount / BEATS["bar"]
    if bars == int(bars):
        return f"{bars:g} bar{'s' if bars != 1 else ''}"
    return f"{length.amount:g} beat{'s' if length.amount != 1 else ''}"


def print_order(setlist: Setlist, *, console: Console) -> None:
    """The running order: a line for each cue, to be pinned to the desk."""
    chain = ", then ".join(each.provenance.name for each in (setlist.checkpoint, *setlist.partners))
    console.print(f"{setlist.name}", style="bold", markup=False)
    voices = ", ".join(voice.name for voice in setlist.voices)
    console.print(f"{chain} · {setlist.audio.name()} · voices {voices}", markup=False, highlight=False)
    table = Table(show_lines=False, pad_edge=False)
    for head in ("id", "cue", "wait", "fade", "lasts", "then", "own routes", "notes"):
        table.add_column(head, overflow="fold")
    shared = sum(cue == "" for cue, _ in setlist.routes)
    for cue in setlist.cues:
        table.add_row(
            cue.id if cue.armed else f"({cue.id})",
            " ".join([cue.name, *(f"#{tag}" for tag in cue.tags)]).strip(),
            _before(cue),
            in_words(cue.fade) or "cut",
            "" if cue.duration is None else in_words(cue.duration),
            _after(cue),
            ", ".join(route.name for route in cue.routes[shared:]),
            cue.notes,
        )
    console.print(table, markup=False)
    named = ", ".join(route.name for cue, route in setlist.routes if not cue)
    if named:
        console.print(f"routes of all cues: {named}", markup=False, highlight=False)


def _before(cue: Cue) -> str:
    """What a cue waits for, and what triggers it."""
    grid = (
        "" if cue.quantize is None else "at once" if cue.quantize == 0 else f"on {in_words(Length(cue.quantize, True))}"
    )
    triggers = (trigger.in_words() for trigger in cue.triggers)
    return ", ".join(part for part in (in_words(cue.pre_wait), grid, *triggers) if part)


def _after(cue: Cue) -> str:
    """What comes by itself."""
    wait = in_words(cue.post_wait)
    return "GO" if cue.next == "hold" else f"{cue.next} after {wait}" if wait else cue.next
