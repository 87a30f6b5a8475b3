"""From a command line to a running show: everything that can be refused is refused here, before doors open.

Thread: main.
"""

import logging
import os
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from performer import setlist as setlists
from performer.audio.ears import Ears
from performer.audio.source import SourceSpec
from performer.cast import Cast, Ended, made
from performer.clock import SystemClock
from performer.control.hands import Hands
from performer.engines.host import AUTO
from performer.notices import Notices
from performer.reading import Asked
from performer.refusal import Refused
from performer.reloading import Seen
from performer.show import Show, wanted_fps
from performer.stage.compositor import Stage
from performer.stage.outputs.headless import Headless
from performer.stage.outputs.output import Display, NoDisplay, Output
from performer.stage.outputs.still import StillWriter, write_png
from performer.triggers import presses_of

log = logging.getLogger("performer")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayOptions:
    """What the command line may ask of a show."""

    setlist: str = setlists.DEMO
    species: str = ""  # instead of the setlist's own
    partner: str = ""  # the same
    audio: SourceSpec | None = None  # instead of the setlist's own
    headless: bool = False
    size_px: tuple[int, int] = (1280, 720)
    fullscreen: bool = False
    monitor: str = ""
    fps: float | None = None
    engine: str = AUTO
    memory_mb: float | None = None  # that engines may take; None: half of what is free
    cue: str = ""
    osc_host: str = "0.0.0.0"
    osc_port: int = 9000  # 0: no OSC
    osc_prefix: str = "/perf"
    http_port: int = 0  # 0: no OSCQuery
    reload: bool = True  # whether the setlist's files are watched, and what is edited in them is taken
    lan: bool = False
    hud: bool = False
    frames: Path | None = None
    snapshot: Path | None = None
    seconds: float | None = None


def prepare(options: PlayOptions, *, announce: Callable[[str], None], ended: threading.Event | None = None) -> Show:
    """Open everything that a show needs. Raises Refused; Ended where `ended` is set, or the window closed, meanwhile.

    What takes long runs side by side: the audio and control processes start while the window opens; the engines are made
    on a thread of their own while the window says what is done.
    """
    clock = SystemClock(epoch_s=_process_start_s())
    notices = Notices()
    path = setlists.locate(options.setlist)
    asked = Asked(path=path, audio=options.audio, species=options.species, partner=options.partner)
    setlist = setlists.load(path, audio=asked.audio, species_name=asked.species, partner_name=asked.partner)
    seen = Seen.of(setlist)
    first_cue = 0
    if options.cue:
        wanted = [i for i, cue in enumerate(setlist.cues) if options.cue in (cue.id, cue.name)]
        if not wanted:
            known = ", ".join(cue.id for cue in setlist.cues)
            raise Refused(f"{path}: no cue {options.cue!r}; expected one of: {known}")
        first_cue = wanted[0]
    _check_folders(options)
    budget_bytes = None if options.memory_mb is None else int(options.memory_mb * 1e6)
    cast = Cast(setlist, clock=clock, notices=notices, choice=options.engine, budget_bytes=budget_bytes)
    opened: list[Callable[[], None]] = [cast.close]
    try:
        ears = Ears(
            source=setlist.audio,
            voices=setlist.voices,
            bands=setlist.bands,
            beat_voice=setlist.beat_voice,
            epoch_s=clock.epoch_s,
        )
        ears.start()
        opened.append(ears.close)
        token = secrets.token_urlsafe(9) if options.lan else ""
        hands = Hands(
            table=setlist.table,
            host=options.osc_host,
            port=options.osc_port,
            prefix=options.osc_prefix,
            binds=setlist.binds,
            triggers=presses_of(setlist.cues),
            setlist=None if setlist.parts else setlist.path,  # what is learnt is of a part, and which one is not known
            live=setlist.live,
            silence_s=setlist.silence_s,
            epoch_s=clock.epoch_s,
            features=ears.shared_features,
            feature_names=ears.feature_names(),
            voices=[voice.name for voice in setlist.voices],
            cues=[(cue.id, cue.name) for cue in setlist.cues],
            cue_notes=[cue.notes for cue in setlist.cues],
            cue_values=np.stack([cue.values for cue in setlist.cues]),
            routes=setlist.routes,
            sources=setlist.sources,
            presets=setlist.presets,
            name=f"performer: {setlist.name}",
            http_port=options.http_port,
            http_host="0.0.0.0" if options.lan else "127.0.0.1",
            token=token,
        )
        hands.start()
        opened.append(hands.close)
        display = _display(options, announce)
        opened.append(display.close)
        fps = wanted_fps(display, options.fps)
        cues = setlist.cues
        made(
            cast,
            display,
            fps=fps,
            clock=clock,
            announce=announce,
            ended=ended or threading.Event(),
            first=[cues[index].creature for index in (*range(first_cue, len(cues)), *range(first_cue))],
        )
        outputs: list[Output] = [StillWriter(options.frames)] if options.frames else []
        if hands.pictures is not None:
            from performer.stage.outputs.preview import Preview

            outputs.append(Preview(hands.pictures, watched_s=hands.watched_s))
        show = Show(
            setlist,
            display=display,
            cast=cast,
            ears=ears,
            hands=hands,
            clock=clock,
            notices=notices,
            outputs=outputs,
            fps=options.fps,
            first_cue=first_cue,
        )
    except BaseException:
        for close in reversed(opened):
            close()
        raise
    show.follow(asked, seen=seen, watches=options.reload)
    show.is_hud_shown = options.hud
    announce(f"setlist  {setlist.name} ({len(setlist.cues)} cues) · {path}")
    _announce_cast(setlist, cast, announce=announce)
    announce(f"sound    {setlist.audio.name()}")
    announce(f"display  {display.description}, {display.size_px[0]}x{display.size_px[1]}, {show.fps:g} frames a second")
    if options.osc_port:
        announce(f"osc      port {hands.port}, addresses under {options.osc_prefix}")
    if options.http_port:
        _announce_panel(hands, is_open=options.lan, announce=announce)
    return show


def _announce_cast(setlist: setlists.Setlist, cast: Cast, *, announce: Callable[[str], None]) -> None:
    """Who plays, by which engines, and what leads from one to the other."""
    for number, (creature, role) in enumerate(zip(setlist.creatures, cast.roles, strict=True)):
        if number == 1 and setlist.stranger:
            continue  # said as the partner
        trained = "" if creature.checkpoint.provenance.trained else ", untrained stand-in"
        sizes = creature.checkpoint.sizes
        later = ", made ready when its cue draws near" if number in cast.absent else ""
        announce(f"species  {creature.name} ({sizes.width_px}x{sizes.height_px} px{trained}{later})")
        if not number and setlist.partners:
            announce(f"partner  {how_they_meet(setlist)}")
        elif creature.siblings:
            announce(f"         becomes {', then '.join(each.provenance.name for each in creature.siblings)}")
        if not number or not later:
            announce(f"engine   {role.host.name}: {role.host.why}")
        if role.small is not None:
            small = role.small.checkpoint.sizes
            announce(f"         ready besides, where the machine tires: {small.width_px}x{small.height_px} px")
    if cast.card_fault:
        announce(f"         pictures go through the host to the display: {cast.card_fault}")
    for (first, second), bridge in setlist.bridges.items():
        if first < second:
            names = f"{setlist.creatures[first].name} and {setlist.creatures[second].name}"
            announce(f"bridge   between {names}, {len(bridge)} pairs")
    for remark in setlist.remarks:
        announce(f"note     {remark}")


def _announce_panel(hands: Hands, *, is_open: bool, announce: Callable[[str], None]) -> None:
    """Where the panel is, and for a phone a picture of that."""
    from performer.control.discovery import own_addresses, pictured

    query = f"?token={hands.token}" if hands.token else ""
    urls = [f"http://{address}:{hands.http_port}/{query}" for address in own_addresses() if is_open]
    for url in urls or [f"http://127.0.0.1:{hands.http_port}/{query}"]:
        announce(f"panel    {url}")
    if urls:
        for line in pictured(urls[0]):
            announce(line)


def how_they_meet(setlist: setlists.Setlist) -> str:
    """What a species becomes, and how, in words."""
    first, *rest = [each.provenance.name for each in setlist.partners]
    if setlist.stranger:
        return f"{first}: no sibling ({setlist.stranger}), so pictures fade over and nothing is crossbred"
    if not rest:
        return f"{first}: a sibling, crossbred layer by layer"
    chain = ", then ".join((first, *rest))
    return f"{setlist.checkpoint.provenance.name} becomes {chain}: siblings, crossbred layer by layer"


def play(options: PlayOptions, *, announce: Callable[[str], None]) -> None:
    """Play until the window closes, the time is up, or a signal asks for the end."""
    ended = threading.Event()
    shows: list[Show] = []

    def end(signum: int, _frame: object) -> None:
        ended.set()
        for each in shows:
            each.is_ending = True
        signal.signal(signum, signal.SIG_DFL)  # a second one means it

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    try:
        show = prepare(options, announce=announce, ended=ended)
    except Ended:
        return
    shows.append(show)
    show.is_ending |= ended.is_set()
    try:
        while not show.has_light and not show.is_ending:
            if show.host.refused is not None:
                raise show.host.refused
            show.frame()
        announce(f"first light after {show.clock.now_s():.1f} s")
        show.run(seconds=options.seconds)
        if options.snapshot is not None:
            _snapshot(show, options.snapshot, announce)
    finally:
        show.close()
    announce(
        f"played   {show.meter.frames} frames, {show.images} images, {show.missed} missed, "
        f"frame p99 {show.meter.p99_ms:.1f} ms"
    )


def compile_shaders(setlist: setlists.Setlist) -> str:
    """Compile every effect of `setlist` in a context of its own: a sentence about it. Raises Refused."""
    try:
        display = Headless(size_px=(64, 64))
    except NoDisplay as error:
        return f"shaders not compiled ({error})"
    try:
        stage = Stage(display, table=setlist.table, effects=setlist.shaders, mixes=setlist.mixes)
        faults = stage.warnings
        stage.close()
    finally:
        display.close()
    if faults:
        raise Refused("\n".join(f"{setlist.path}: shaders: {fault}; mend it, or take it out" for fault in faults))
    return f"{len(setlist.shaders)} shaders"


def _check_folders(options: PlayOptions) -> None:
    """Refuse pictures that could not be written. Raises Refused."""
    for option, folder in (("--frames", options.frames), ("--snapshot", options.snapshot and options.snapshot.parent)):
        if folder is None:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise Refused(
                f"{option} {folder}: cannot be written ({error.strerror}); expected a folder of yours on a disk with room"
            ) from None
    if options.snapshot is not None and options.snapshot.is_dir():
        raise Refused(f"--snapshot {options.snapshot}: is a folder; expected the name of a picture, such as last.png")


def _snapshot(show: Show, path: Path, announce: Callable[[str], None]) -> None:
    try:
        write_png(path, show.stage.read_pixels())
    except OSError as error:  # the disk was good before doors; the show has been played all the same
        announce(f"snapshot {path} cannot be written ({error.strerror})")
    else:
        announce(f"snapshot {path}")


def _display(options: PlayOptions, announce: Callable[[str], None]) -> Display:
    if not options.headless:
        try:
            from performer.stage.outputs.window import Window

            return Window(
                size_px=options.size_px,
                fullscreen=options.fullscreen or bool(options.monitor),
                monitor=options.monitor or None,
            )
        except NoDisplay as error:
            announce(f"no display ({error}): playing headless")
        except ValueError as error:  # no such monitor
            raise Refused(str(error)) from error
    try:
        return Headless(size_px=options.size_px)
    except NoDisplay as error:
        raise Refused(str(error)) from error


def _process_start_s() -> float:
    """`time.monotonic` when this process began, so that first light counts the interpreter's start too."""
    return time.monotonic() - min(max(_age_s(), 0.0), 30.0)


def _age_s() -> float:
    """Seconds since this process began."""
    try:
        # Linux tells ticks since it booted; psutil adds the time of the boot, which it knows to a second only.
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return time.time() - psutil.Process(os.getpid()).create_time()
