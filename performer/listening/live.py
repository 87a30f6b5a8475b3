"""What `performer listen` does without a file: it shows what is heard on a device, so that levels can be set.

The same ears as in a show hear it, with the voices, bands and knobs of a setlist where one is named. On a terminal the
picture is drawn anew twenty times a second; into a pipe goes a line a second; `--once` ends with a summary.

Thread: main. Owns: the ears while it runs. Ctrl-C ends it quietly.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from rich.console import Console
from rich.live import Live

from performer import setlist as setlists
from performer.audio.analyser import Tuning
from performer.audio.ears import Ears
from performer.audio.knobs import Knobs
from performer.audio.source import DEFAULT_VOICES, BandSpec, SourceError, SourceSpec, VoiceSpec, check_source
from performer.clock import SystemClock
from performer.listening import clicks as clicking
from performer.listening.screen import Screen, View, told
from performer.listening.tally import Tally
from performer.refusal import Refused

POLL_S = 1 / 60  # peaks fall by 20 dB a second: looking more seldom would read them low
POLLS_PER_DRAW = 3
ONCE_S = 5.0  # that `--once` listens where nobody says for how long


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """What the command line may say of listening to a device."""

    setlist: str = ""
    device: str = ""  # name or part of it; empty for the setlist's source, or the default input
    host_api: str = ""
    seconds: float | None = None
    once: bool = False  # listen for a while, print a summary, and end
    clicks: int | None = None  # play so many, and measure when they are heard


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """What is listened to, and how."""

    source: SourceSpec = field(default_factory=SourceSpec)
    voices: tuple[VoiceSpec, ...] = DEFAULT_VOICES
    bands: tuple[BandSpec, ...] = ()
    beat_voice: int = 0
    tuning: Tuning = field(default_factory=Tuning)


def listen_live(options: LiveOptions, *, announce: Callable[[str], None], console: Console) -> bool:
    """Listen until Ctrl-C, or for as long as asked; False where clicks were played and none was heard.

    Raises:
        Refused: the setlist, the device or the output cannot be used.
    """
    try:
        hearing = _hearing(options)
        if options.clicks is not None:
            return _click(hearing, options.clicks, announce=announce, console=console)
        clock = SystemClock()
        with _quiet_log(), _ears(hearing, clock) as ears:
            ears.tune(hearing.tuning)
            tally = Tally(voices=hearing.voices, bands=hearing.bands, tuning=hearing.tuning)
            if options.once:
                _run(ears, tally, clock, seconds=options.seconds or ONCE_S)
                for line in tally.summary(ears.status()):
                    console.print(line, markup=False, soft_wrap=True)
            elif console.is_terminal and not console.is_dumb_terminal:
                with Live(console=console, screen=True, auto_refresh=False) as live:
                    _run(
                        ears,
                        tally,
                        clock,
                        seconds=options.seconds,
                        every_s=POLLS_PER_DRAW * POLL_S,
                        show=lambda view: live.update(Screen(view), refresh=True),
                    )
            else:
                _run(
                    ears,
                    tally,
                    clock,
                    seconds=options.seconds,
                    every_s=1.0,
                    show=lambda view: console.print(
                        told(view, counts=tally.taken_counts()), markup=False, soft_wrap=True
                    ),
                )
    except KeyboardInterrupt:
        pass
    return True


def _hearing(options: LiveOptions) -> Hearing:
    """What to listen to. Raises Refused."""
    asked = None
    if options.device or options.host_api:
        asked = SourceSpec(kind="device", device=options.device, host_api=options.host_api)
    if not options.setlist:
        hearing = Hearing(source=asked or SourceSpec())
        try:
            check_source(hearing.source, hearing.voices)
        except SourceError as error:
            raise Refused(str(error)) from None
        return hearing
    path = setlists.locate(options.setlist)
    setlist = setlists.load(path, audio=asked)
    if options.clicks is not None and setlist.audio.kind != "device":
        raise Refused(
            f"--clicks: {path} hears {setlist.audio.name()}, which no click can reach; "
            "name an input with --device, or leave --setlist out"
        )
    knobs = Knobs(setlist.table, [voice.name for voice in setlist.voices])
    return Hearing(
        source=setlist.audio,
        voices=setlist.voices,
        bands=setlist.bands,
        beat_voice=setlist.beat_voice,
        tuning=knobs.tuning(setlist.cues[0].values, (), tapped_bpm=None),
    )


def _ears(hearing: Hearing, clock: SystemClock) -> Ears:
    return Ears(
        source=hearing.source,
        voices=hearing.voices,
        bands=hearing.bands,
        beat_voice=hearing.beat_voice,
        epoch_s=clock.epoch_s,
    )


@contextmanager
def _quiet_log() -> Iterator[None]:
    """The picture says how hearing fares; a log would be written across it."""
    log = logging.getLogger("performer.audio")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _run(
    ears: Ears,
    tally: Tally,
    clock: SystemClock,
    *,
    seconds: float | None,
    every_s: float = math.inf,
    show: Callable[[View], None] = lambda _: None,
) -> None:
    """Look at the ears until the time is up, and show what was seen every so often."""
    until_s = math.inf if seconds is None else clock.now_s() + seconds
    show_s = clock.now_s() + every_s
    while (now_s := clock.now_s()) < until_s:
        tally.look(ears.latest(), ears.drain(), clipped=ears.status().clipped, at_s=now_s)
        if now_s >= show_s:
            show_s = max(show_s + every_s, now_s)
            show(tally.view(ears.status(), at_s=clock.now_s()))
        time.sleep(POLL_S)


def _click(hearing: Hearing, count: int, *, announce: Callable[[str], None], console: Console) -> bool:
    """Play clicks, and tell when they were heard."""
    clock = SystemClock()
    with _quiet_log(), _ears(hearing, clock) as ears:
        # The delays of a setlist are left out: what is to be written there is what is measured.
        ears.tune(replace(hearing.tuning, delay_s=()))
        result = clicking.measure(ears, clock, count=count, announce=announce)
    for line in result.told():
        console.print(line, markup=False, soft_wrap=True)
    return any(each.heard for each in result.voices)
