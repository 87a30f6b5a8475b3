"""Rehearsal: a setlist played against a recording, without a window, faster than real time.

Time is the frames' own: the same setlist, sound and rate give the same latents bit for bit. Played once to learn when each
cue comes, and once more, drawn only where a picture is wanted, with the frames before it that trails need.

Thread: main.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table

from performer import setlist as setlists
from performer.audio.analyser import Analysis, analyse
from performer.audio.features import rest, table_with
from performer.audio.source import Sound, SourceError, decode
from performer.cast import Cast
from performer.choreography.memory import Memory
from performer.choreography.score import Cue
from performer.choreography.transport import Transport
from performer.clock import SystemClock
from performer.engines.host import AUTO
from performer.flow import (
    U8,
    AudioEvent,
    AudioFeatures,
    ControlEvent,
    Image,
    LatentFrame,
    Music,
    Params,
    Tick,
    frozen_array,
)
from performer.notices import Notices
from performer.params import Controls, reduce
from performer.refusal import Refused
from performer.role import Role, turn_of
from performer.setlist import Setlist
from performer.stage.compositor import Stage
from performer.stage.outputs.headless import Headless
from performer.stage.outputs.output import NoDisplay
from performer.stage.outputs.still import write_png

IN_FADE = (0.25, 0.5, 0.75)  # of a fade, at which it is pictured
IN_CUE = (0.05, 0.5, 0.95)  # of what follows it
TRAIL_S = 1.0  # drawn before each picture, for what effects remember
SIZE_PX, TILE_PX = (960, 540), (288, 162)
LABEL_PX, GAP_PX = 150, 3
PATIENCE_S = 60.0  # for one picture of an engine
NONE = Path("-")
WHOLE = 1 << 62  # bytes: every species is kept, since nobody waits


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsalOptions:
    """What the command line may ask of a rehearsal."""

    setlist: str
    file: Path | None = None  # instead of the setlist's own sound
    hold_s: float = 8.0  # after its fade, a cue that waits for a hand gets its GO
    most_s: float = 600.0
    fps: float = 30.0
    sheet: Path | None = None  # None: beside, by the setlist's name; NONE: no pictures


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame of a rehearsal."""

    memory: Memory
    params: Params
    latent: LatentFrame
    tick: Tick
    heard: AudioFeatures


@dataclass(slots=True)
class Entry:
    """A cue as it came. Show times in seconds."""

    index: int
    began_s: float
    beat: float
    settled_s: float  # when its fade was over
    ended_s: float


class Recording:
    """The sound of a rehearsal, as it is heard from show time 0 on; None is silence. offset_s: where it begins."""

    def __init__(self, setlist: Setlist, sound: Sound | None, *, loops: bool, offset_s: float = 0.0) -> None:
        silent = np.tile(rest(table_with(setlist.bands)), (len(setlist.voices), 1))
        self._silent = AudioFeatures(frozen_array(silent), 0.0)
        self._analysis: Analysis | None = None
        self.length_s = 0.0
        self._turn_s = math.inf  # after which it begins again
        self._begun_s = 0.0  # show time at which its first sample would have sounded
        if sound is not None:
            first = round(offset_s * sound.rate_hz)
            samples = sound.samples[first:]
            if first and loops:
                samples = np.concatenate([samples, sound.samples[:first]])
            self._begun_s = -first / sound.rate_hz
            self._analysis = analyse(samples, sound.rate_hz, setlist.voices, bands=setlist.bands)
            self.length_s = len(samples) / sound.rate_hz
            if loops:
                self._turn_s = self.length_s

    def at(self, at_s: float, *, since_s: float) -> tuple[AudioFeatures, list[AudioEvent]]:
        """(the features at `at_s`, the hits that were told after `since_s`)."""
        analysis = self._analysis
        if analysis is None:
            return self._silent, []
        before, now = (max(math.floor(each / self._turn_s), 0) for each in (since_s, at_s))
        hits: list[AudioEvent] = []
        for number in range(before, now + 1):  # more than one where a round ends in between
            gone_s = number * self._turn_s if number else 0.0
            first, last = np.searchsorted(analysis.heard_s, (since_s - gone_s, at_s - gone_s), side="right")
            hits += [replace(event, at_s=event.at_s + gone_s) for event in analysis.events[first:last]]
        gone_s = now * self._turn_s if now else 0.0
        heard = analysis.at(at_s - gone_s)
        music = Music(begun_s=self._begun_s, length_s=self._turn_s)
        return replace(heard, centre_s=heard.centre_s + gone_s, music=music), hits


def played(setlist: Setlist, recording: Recording, *, fps: float, hold_s: float, most_s: float) -> Iterator[Moment]:
    """Every frame of the show, until nothing more would come, or all begins again."""
    plan, table = setlist.plan(), setlist.table
    bpm_row, ear_row = table.row("transport.bpm"), table.row("transport.ear")
    values, controls, led = plan.cues[0].values, Controls.none(table), list[ControlEvent]()
    transport, memory = Transport.at_bpm(float(values[bpm_row])), plan.enter(0, at_s=0.0, beat=0.0)
    before_s, settled_s, seen = -1.0, math.inf, {0}
    is_random = any(cue.next.startswith("random") for cue in plan.cues)
    for frame in range(math.ceil(most_s * fps)):
        at_s = frame / fps
        heard, hits = recording.at(at_s, since_s=before_s)
        pressed = []
        to_come = at_s < recording.length_s and any(map(_waits_for_sound, plan.cues))
        if plan.cues[memory.current.index].next == "hold" and at_s - settled_s >= hold_s:
            standby = plan.score.standby(memory.place)
            if standby is None and not to_come:
                return
            if standby is not None and not (to_come and _waits_for_sound(plan.cues[standby])):
                pressed = [ControlEvent("cue.go", 1.0, at_s, source="rehearsal")]
        controls = reduce(controls, [*led, *pressed], table=table)
        asked_bpm, was = float(values[bpm_row]), transport
        follow = bool(values[ear_row] > 0)
        transport = transport.step(controls.presses, bpm=asked_bpm, at_s=at_s, heard=heard, follow=follow)
        told = transport.told_since(was, asked_bpm=asked_bpm)
        led = [] if told is None else [ControlEvent("transport.bpm", told, at_s, source="tempo")]
        tick = Tick(frame, at_s, 1.0 / fps, transport.line.at(at_s), at_s, transport.downbeat)
        count = memory.place.count
        memory, params, latent = plan.step(memory, heard, hits, controls, tick)
        if memory.place.count != count:
            if memory.current.index in seen and not (is_random or to_come):
                return  # all begins again
            seen.add(memory.current.index)
            settled_s = math.inf
        settled_s = math.inf if memory.previous is not None else min(settled_s, at_s)
        values, before_s = params.values, at_s
        yield Moment(memory, params, latent, tick, heard)


def _waits_for_sound(cue: Cue) -> bool:
    """Whether a cue begins by what is heard, so that nobody has to press GO for it."""
    return cue.armed and any(trigger.kind in ("position", "silence") for trigger in cue.triggers)


def order_of(moments: Iterator[Moment]) -> list[Entry]:
    """When each cue came, settled and ended."""
    entries: list[Entry] = []
    count = -1
    for moment in moments:
        state, at_s = moment.memory.current, moment.tick.photon_s
        if moment.memory.place.count != count:
            count = moment.memory.place.count
            entries.append(Entry(state.index, state.started_s, state.started_beat, math.inf, at_s))
        entries[-1].ended_s = at_s
        if moment.memory.previous is None:
            entries[-1].settled_s = min(entries[-1].settled_s, at_s)
    for entry in entries:
        entry.settled_s = min(entry.settled_s, entry.ended_s)
    return entries


def rehearse(options: RehearsalOptions, *, console: Console, announce: Callable[[str], None]) -> None:
    """Play a setlist, print when each cue came, and write a contact sheet. Raises Refused."""
    path = setlists.locate(options.setlist)
    setlist = setlists.load(path, check_devices=False)
    sheet = options.sheet or Path(f"{path.stem}-rehearsal.png")
    if sheet != NONE and not sheet.parent.is_dir():
        raise Refused(
            f"--sheet {sheet}: there is no folder {sheet.parent}; expected one that is there, or - for no picture"
        )
    recording, said = _recorded(setlist, options)
    announce(f"sound    {said}")

    def again() -> Iterator[Moment]:
        return played(setlist, recording, fps=options.fps, hold_s=options.hold_s, most_s=options.most_s)

    began_s = time.monotonic()
    entries = order_of(again())
    spent_s = time.monotonic() - began_s
    _print(entries, setlist, console=console)
    lasted_s = entries[-1].ended_s
    announce(f"played   {_clock(lasted_s)} in {spent_s:.1f} s")
    if lasted_s >= options.most_s - 1.0 / options.fps - 1e-6:
        announce(f"         it was cut there; --seconds {2 * options.most_s:g} plays more")
    unseen = [cue.id for index, cue in enumerate(setlist.cues) if index not in {entry.index for entry in entries}]
    if unseen:
        announce(f"         never came: {', '.join(unseen)}")
    if sheet == NONE:
        return
    pictures = _pictures(setlist, again(), entries, fps=options.fps, announce=announce)
    try:
        write_png(sheet, np.asarray(_sheet(setlist, entries, pictures)))
    except OSError as error:
        raise Refused(f"--sheet {sheet}: cannot be written ({error.strerror}); expected a folder of yours") from None
    announce(f"sheet    {sheet}: of each cue its fade in, then itself")


def _recorded(setlist: Setlist, options: RehearsalOptions) -> tuple[Recording, str]:
    """(the sound, what it is in words)."""
    file = str(options.file) if options.file is not None else setlist.audio.path
    if not file:
        return Recording(setlist, None, loops=False), "silence; --file plays a recording of the concert"
    try:
        sound = decode(file)
    except SourceError as error:
        raise Refused(f"--file {file}: {error}") from None
    if options.file is not None:  # a recording of the concert, from where that began
        return Recording(setlist, sound, loops=False), Path(file).name
    own = setlist.audio
    return Recording(setlist, sound, loops=own.loop, offset_s=own.offset_s), Path(file).name


def _print(entries: Sequence[Entry], setlist: Setlist, *, console: Console) -> None:
    table = Table(pad_edge=False)
    for head in ("begins", "beat", "id", "cue", "faded in after", "lasted"):
        table.add_column(head)
    for entry in entries:
        cue = setlist.cues[entry.index]
        table.add_row(
            _clock(entry.began_s),
            f"{entry.beat:.1f}",
            cue.id,
            cue.name,
            f"{entry.settled_s - entry.began_s:.1f} s",
            f"{entry.ended_s - entry.began_s:.1f} s",
        )
    console.print(table, markup=False)


def _clock(at_s: float) -> str:
    """`1:02:03.4`, without the hour where there is none."""
    hours, rest_s = divmod(at_s, 3600.0)
    minutes, seconds = divmod(rest_s, 60.0)
    return (f"{hours:.0f}:{minutes:02.0f}:" if hours else f"{minutes:.0f}:") + f"{seconds:04.1f}"


# Pictures


def _wanted(entries: Sequence[Entry], *, fps: float) -> dict[int, tuple[int, int]]:
    """By frame: which tile of the sheet (row, column)."""
    wanted = {}
    for row, entry in enumerate(entries):
        fade_s, rest_s = entry.settled_s - entry.began_s, entry.ended_s - entry.settled_s
        fading = [entry.began_s + part * fade_s for part in IN_FADE] if fade_s > 0.0 else []
        places = [*fading, *(entry.settled_s + part * rest_s for part in IN_CUE)]
        for column, at_s in enumerate(places, start=len(IN_FADE) - len(fading)):
            frame = round(at_s * fps)
            while frame in wanted:  # a short cue has fewer frames than pictures
                frame += 1
            wanted[frame] = (row, column)
    return wanted


def _pictures(
    setlist: Setlist,
    moments: Iterator[Moment],
    entries: Sequence[Entry],
    *,
    fps: float,
    announce: Callable[[str], None],
) -> dict[tuple[int, int], U8]:
    """The tiles of the sheet: u8 [H, W, 3] each. Raises Refused."""
    wanted = _wanted(entries, fps=fps)
    trail = math.ceil(TRAIL_S * fps)
    needed = {frame - back for frame in wanted for back in range(trail)}
    clock = SystemClock()
    cast = Cast(setlist, clock=clock, notices=Notices(), choice=AUTO, budget_bytes=WHOLE)
    try:
        display = Headless(size_px=SIZE_PX)
    except NoDisplay as error:
        raise Refused(f"no pictures can be drawn: {error}; --sheet - rehearses without") from None
    tiles = {}
    try:
        cast.make(fps=fps, progress=announce)
        stage = Stage(display, table=setlist.table, effects=setlist.shaders, mixes=setlist.mixes)
        for moment in moments:
            if moment.tick.frame not in needed:
                continue
            drawn(moment, cast=cast, stage=stage, clock=clock)
            place = wanted.get(moment.tick.frame)
            if place is not None:
                tiles[place] = np.asarray(Pillow.fromarray(stage.read_pixels()[..., :3]).resize(TILE_PX))
        stage.close()
    finally:
        cast.close()
        display.close()
    return tiles


def drawn(moment: Moment, *, cast: Cast, stage: Stage, clock: SystemClock) -> None:
    """Draw one frame on the stage, with the very pictures of its latents. Raises Refused where none come."""
    latent, partner = moment.latent, moment.latent.partner
    part = latent.part if partner is not None else 0.0
    image = _image(cast.roles[latent.creature], latent, clock, frame=moment.tick.frame) if part < 1.0 else None
    over, who = None, (latent.creature, latent.creature)
    if partner is not None:
        over = _image(cast.roles[partner.creature], partner, clock, frame=moment.tick.frame)
        who = latent.creature, partner.creature
    stage.show(image, moment.params, moment.tick, over=over, part=part, who=who, sound=moment.heard)


def _image(role: Role, latent: LatentFrame, clock: SystemClock, *, frame: int) -> Image:
    """The picture of this very latent. Raises Refused where none comes."""
    asked_s = clock.now_s()
    host = role.host
    host.submit(turn_of(latent, frame))
    while clock.now_s() - asked_s < PATIENCE_S:
        image = host.latest()
        if image is not None and image.submitted_s >= asked_s:
            return image
        time.sleep(0.0005)
    raise Refused(f"engine {host.name} draws nothing; `performer doctor` looks for the reason")


def _sheet(setlist: Setlist, entries: Sequence[Entry], tiles: dict[tuple[int, int], U8]) -> Pillow.Image:
    """A row for each cue: its name and time, its fade in, and itself."""
    columns = len(IN_FADE) + len(IN_CUE)
    width, height = TILE_PX[0] + GAP_PX, TILE_PX[1] + GAP_PX
    canvas = Pillow.new("RGB", (LABEL_PX + columns * width, len(entries) * height), (24, 24, 26))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)
    for row, entry in enumerate(entries):
        cue = setlist.cues[entry.index]
        lines = [cue.id, cue.name, _clock(entry.began_s), *cue.tags]
        pen.multiline_text((8, row * height + 8), "\n".join(line[:18] for line in lines if line), (233, 230, 221), font)
    for (row, column), tile in tiles.items():
        canvas.paste(Pillow.fromarray(tile), (LABEL_PX + column * width, row * height))
    return canvas
