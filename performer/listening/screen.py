"""What `performer listen` shows while it hears: meters, lights and figures, for a terminal and for a plain line.

It is read from two metres by somebody whose hands are on faders: long bars, one scale for all of them, and nothing that
only a colour tells. A terminal of 80 columns and 24 lines holds two voices in full; where there are more, each gets two
lines. A terminal that knows no Unicode gets the same in ASCII.

Thread: any; values only.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions
from rich.text import Text

from performer.audio.ears import EarsStatus
from performer.audio.tone import NOTES

METER_LOW_DB = -60.0
TICKS_DB = (-60, -48, -36, -24, -18, -12, -6, 0)
WARM_DB, HOT_DB = -18.0, -6.0  # from here on the meter is yellow, and red
LEAST_WIDTH = 60  # columns
LABEL, VALUE = 9, 18  # columns before a meter, and after it
BAND_LABEL, BAND_VALUE = 9, 10
SIDE = 36  # columns of the lights and figures beside the bands
MOST_TALL = 3  # lines of a peak meter
PITCH_SURE = 0.5  # below this confidence no note is named
EIGHTHS = " ▏▎▍▌▋▊▉█"
HEIGHTS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What bars and lights are made of."""

    parts: str  # of a cell of a bar, from empty to full
    low: str  # the same of a bar that leaves a gap above it, so that bars in lines below each other stay apart
    heights: str  # of one cell, from empty to full
    light: str  # from dark to bright
    held: str
    tick: str
    line: str


UNICODE = Glyphs(EIGHTHS, " ▆", HEIGHTS, "·░▒▓█", "┃", "·", "─")
ASCII = Glyphs(" #", " =", " .:-=+*#@", ".-=*#", "|", ".", "-")


@dataclass(frozen=True, slots=True)
class BandView:
    """One band of a voice."""

    name: str
    level: float  # 0..1, beside its recent loudest
    db: float


@dataclass(frozen=True, slots=True)
class HitView:
    """One kind of hit of a voice."""

    name: str
    light: float  # 1 at the hit, 0 when it has faded
    per_minute: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceView:
    """One voice, as it is shown."""

    name: str
    knobs: str  # those that are not at rest, for people
    peak_db: float
    held_db: float  # highest of the last seconds
    most_db: float  # highest since the beginning
    clips: bool
    lufs: float
    bands: tuple[BandView, ...]
    hits: tuple[HitView, ...]
    pitch_hz: float
    pitch_confidence: float
    centroid_hz: float
    is_silent: bool
    gate: str  # "open", "shut", or empty where there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that is shown at one moment."""

    voices: tuple[VoiceView, ...]
    bpm: float  # 0 while unknown
    beat: float  # beats by now
    downbeat: int
    confidence: float
    status: EarsStatus

    @property
    def place(self) -> tuple[int, float]:
        """(which beat of the bar, 0..3; how far into it, 0..1)."""
        whole = math.floor(self.beat)
        return (whole - self.downbeat) % 4, self.beat - whole


def note(pitch_hz: float) -> tuple[str, int]:
    """(name and octave, cents off it) of a pitch: 440 Hz is ("A4", 0)."""
    semitones = 69 + 12 * math.log2(pitch_hz / 440.0)
    nearest = round(semitones)
    return f"{NOTES[nearest % 12].capitalize()}{nearest // 12 - 1}", round(100 * (semitones - nearest))


# Bars and lights.


def _share(db: float) -> float:
    return min(max((db - METER_LOW_DB) / -METER_LOW_DB, 0.0), 1.0)


def bar(share: float, width: int, parts: str) -> str:
    """A bar of `width` columns, `share` of it full."""
    steps = len(parts) - 1
    full, part = divmod(round(min(max(share, 0.0), 1.0) * width * steps), steps)
    return (parts[-1] * full + (parts[part] if part else "")).ljust(width)


def meter(db: float, width: int, glyphs: Glyphs, *, parts: str, held_db: float = -math.inf) -> Text:
    """A bar on the scale of `TICKS_DB`, with a mark at `held_db`."""
    cells = list(bar(_share(db), width, parts))
    for tick in TICKS_DB[1:-1]:
        at = round(_share(tick) * width)
        if cells[at] == " ":
            cells[at] = glyphs.tick
    if held_db > METER_LOW_DB:
        at = min(int(_share(held_db) * width), width - 1)
        if cells[at] in (" ", glyphs.tick):
            cells[at] = glyphs.held
    text = Text()
    for at, cell in enumerate(cells):
        here_db = METER_LOW_DB * (1.0 - at / width)
        style = "green" if here_db < WARM_DB else "yellow" if here_db < HOT_DB else "red"
        text.append(cell, style="dim" if cell == glyphs.tick else style)
    return text


def scale(width: int) -> str:
    """The numbers above the meters, each over its tick."""
    cells = [" "] * (width + 4)
    for tick in TICKS_DB:
        label = str(tick)
        at = min(max(round(_share(tick) * width) - len(label) // 2, 0), width - 1)
        cells[at : at + len(label)] = label
    return "".join(cells[: width + 1])


def lamp(light: float, glyphs: Glyphs) -> str:
    """One letter that says how bright a light is."""
    return glyphs.light[min(math.ceil(max(light, 0.0) * (len(glyphs.light) - 1)), len(glyphs.light) - 1)]


def _lit(light: float) -> str:
    return "bold bright_white" if light > 0.5 else "white" if light > 0 else "dim"


# The screen.


class Screen:
    """A view as rich draws it: as many lines as there are, each as wide as the terminal."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        glyphs = ASCII if options.ascii_only else UNICODE
        yield from lines(self._view, width=options.max_width, height=options.height or console.height, glyphs=glyphs)


def lines(view: View, *, width: int, height: int, glyphs: Glyphs) -> list[Text]:
    """The picture, line by line; at most `height` of them."""
    width = max(width, LEAST_WIDTH)
    foot = [_rule("", width, glyphs), _beat(view, width, glyphs), *_foot(view, width)]
    head = Text(" " * LABEL + scale(width - LABEL - VALUE), style="dim")
    room = height - 1 - len(foot)
    bands = max(max((len(voice.bands) for voice in view.voices), default=0), 5)
    tall = min(room // max(len(view.voices), 1) - bands - 2, MOST_TALL)
    body: list[Text] = []
    for voice in view.voices:
        body += _in_full(voice, width, tall, glyphs) if tall >= 1 else _in_brief(voice, width, glyphs)
    shown = [head, *body[: max(room, 0)], *foot][:height]
    for line in shown:
        line.no_wrap, line.overflow = True, "crop"
        line.truncate(width)
    return shown


def _rule(title: str, width: int, glyphs: Glyphs) -> Text:
    text = Text()
    if title:
        text.append(f"{glyphs.line * 2} ", style="dim")
        text.append(title, style="bold")
        text.append(" ")
    return text.append(glyphs.line * max(width - len(text), 0), style="dim")


def _title(voice: VoiceView, width: int, glyphs: Glyphs) -> Text:
    parts = [voice.name, voice.knobs]
    if voice.gate:
        parts.append(f"gate {voice.gate.upper() if voice.gate == 'shut' else voice.gate}")
    return _rule("  ".join(part for part in parts if part), width, glyphs)


def _peak_meter(voice: VoiceView, width: int, glyphs: Glyphs) -> Text:
    return meter(voice.peak_db, width - LABEL - VALUE, glyphs, parts=glyphs.parts, held_db=voice.held_db)


def _peak(voice: VoiceView, width: int, glyphs: Glyphs, *, label: str) -> Text:
    text = Text(f"{label[: LABEL - 1]:<{LABEL}}")
    text.append_text(_peak_meter(voice, width, glyphs))
    text.append(f" {voice.held_db:6.1f} dBFS ", style="bold")
    return text.append(" CLIP ", style="bold white on red") if voice.clips else text


def _in_full(voice: VoiceView, width: int, tall: int, glyphs: Glyphs) -> list[Text]:
    peak = [_peak(voice, width, glyphs, label="peak")]
    peak += [Text(" " * LABEL).append_text(_peak_meter(voice, width, glyphs)) for _ in range(tall - 1)]
    if voice.clips and len(peak) > 1:  # a light as tall as the meter
        peak[1] = peak[1].append(" " * 13).append(" CLIP ", style="bold white on red")
    loud = Text(f"{'loudness':<{LABEL}}")
    loud.append_text(meter(voice.lufs, width - LABEL - VALUE, glyphs, parts=glyphs.low))
    loud.append(f" {voice.lufs:6.1f} LUFS", style="bold")
    beside = _beside(voice, glyphs)
    rows = []
    for row, band in enumerate(voice.bands):
        text = Text(f"{band.name[: BAND_LABEL - 1]:<{BAND_LABEL}}")
        text.append(bar(band.level, width - BAND_LABEL - BAND_VALUE - SIDE, glyphs.low), style="cyan")
        text.append(f"{band.db:6.1f} dB ")
        rows.append(text.append_text(beside[row]) if row < len(beside) else text)
    return [_title(voice, width, glyphs), *peak, loud, *rows]


def _beside(voice: VoiceView, glyphs: Glyphs) -> list[Text]:
    """The five lines to the right of the bands."""
    lights, rates = Text(), Text()
    for hit in voice.hits:
        lights.append(f"{lamp(hit.light, glyphs) * 2} {hit.name:<6}", style=_lit(hit.light))
        rates.append(f"{hit.per_minute:4.0f}/min ", style="dim")
    pitch = Text("pitch    ")
    if voice.pitch_confidence >= PITCH_SURE and voice.pitch_hz > 0:
        name, cents = note(voice.pitch_hz)
        pitch.append(f"{name:<4}", style="bold").append(f"{cents:+4d} ct  ")
    else:
        pitch.append(f"{'none':<4}         ", style="dim")
    pitch.append(bar(voice.pitch_confidence, 8, glyphs.low), style="magenta").append(f" {voice.pitch_confidence:.2f}")
    bright = Text(f"centroid {voice.centroid_hz:5.0f} Hz   ")
    bright.append("SILENCE" if voice.is_silent else "sounding", style="bold reverse" if voice.is_silent else "dim")
    return [lights, rates, pitch, bright, Text(f"loudest  {voice.most_db:5.1f} dBFS so far", style="dim")]


def _in_brief(voice: VoiceView, width: int, glyphs: Glyphs) -> list[Text]:
    text = Text(" " * LABEL)
    top = len(glyphs.heights) - 1
    for band in voice.bands:
        text.append(glyphs.heights[round(min(max(band.level, 0.0), 1.0) * top)], style="cyan")
    text.append("  ")
    for hit in voice.hits:
        text.append(f"{lamp(hit.light, glyphs)} {hit.name}  ", style=_lit(hit.light))
    text.append(f"{voice.lufs:6.1f} LUFS ")
    if voice.pitch_confidence >= PITCH_SURE and voice.pitch_hz > 0:
        text.append(f" {note(voice.pitch_hz)[0]}", style="bold")
    if voice.gate == "shut":
        text.append("  gate SHUT", style="bold")
    if voice.is_silent:
        text.append("  SILENCE", style="bold reverse")
    return [_peak(voice, width, glyphs, label=voice.name), text]


def _beat(view: View, width: int, glyphs: Glyphs) -> Text:
    text = Text(f"{'beat':<{LABEL}}")
    place, phase = view.place
    for number in range(4):
        light = max(1.0 - phase, 0.25) if view.bpm > 0 and number == place else 0.0
        side = lamp(light, glyphs) * 2
        # The number of the first beat is bracketed, so that the bar is seen without counting.
        middle = "[1]" if number == 0 else f" {number + 1} "
        text.append(f"{side}{middle}{side} ", style=_lit(light))
    text.append(f" {view.bpm:5.1f} bpm" if view.bpm > 0 else "  no beat ", style="bold")
    latency = f" {view.confidence:.2f}  latency {1e3 * view.status.latency_s:.1f} ms"
    room = min(max(width - len(text) - len(latency) - 1, 0), 12)
    return text.append(" ").append(bar(view.confidence, room, glyphs.low), style="magenta").append(latency)


def _foot(view: View, width: int) -> list[Text]:
    """Counters, and what is heard or lost."""
    text = Text()
    for name, count in counters(view.status):
        text.append(f"{name} {count}  ", style="bold yellow" if count else "dim")
    if view.status.is_learning:
        text.append("LEARNING", style="bold reverse")
    says = Text(said(view.status))
    if view.status.state != "hearing":
        says.pad_right(max(width - len(says), 0))
        says.stylize("bold white on red" if view.status.state == "lost" else "bold")
    return [text, says]


def counters(status: EarsStatus) -> Sequence[tuple[str, int]]:
    """What should stay at 0, by name."""
    return (
        ("overruns", status.overruns),
        ("overflows", status.overflows),
        ("clipped", status.clipped),
        ("restarts", status.restarts),
        ("dropped", status.dropped_events),
    )


def said(status: EarsStatus) -> str:
    """How hearing fares, in a sentence."""
    if status.state == "hearing":
        return status.detail
    return f"{status.state}: {status.detail}"


# Plain lines.


def told(view: View, *, counts: Sequence[Sequence[int]]) -> str:
    """One line. counts: of each voice and kind of hit, since the line before."""
    if view.status.state != "hearing":
        return said(view.status)
    parts = []
    for voice, hits in zip(view.voices, counts, strict=True):
        words = [f"{voice.name} {voice.held_db:.1f} dBFS {voice.lufs:.1f} LUFS"]
        words += [flag for flag, holds in (("CLIP", voice.clips), ("gate shut", voice.gate == "shut")) if holds]
        words += ["silence"] if voice.is_silent else []
        words.append(" ".join(f"{band.name} {band.level:.2f}" for band in voice.bands))
        words.append(" ".join(f"{hit.name} {count}" for hit, count in zip(voice.hits, hits, strict=True)))
        if voice.pitch_confidence >= PITCH_SURE and voice.pitch_hz > 0:
            name, cents = note(voice.pitch_hz)
            words.append(f"{name} {cents:+d} ct")
        parts.append(", ".join(words))
    parts.append(f"{view.bpm:.1f} bpm, {view.confidence:.2f} sure" if view.bpm > 0 else "no beat")
    parts += [f"{name} {count}" for name, count in counters(view.status) if count]
    return "; ".join(parts)
