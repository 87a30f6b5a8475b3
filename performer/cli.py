"""The command line: verbs, each a few lines that call a room.

Thread: main. Heavy imports wait until their verb is called.
"""

import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.logging import RichHandler

from performer.refusal import Refused

REFUSED = 2  # exit status: nothing was played, and the message says why
INTERRUPTED = 130  # exit status: somebody pressed Ctrl-C, and it can go on from there
LEAST_PX, MOST_PX = 16, 16384  # of a side: what OpenGL implementations make at most

_console = Console(stderr=True, soft_wrap=True, highlight=False)


def _announce(text: str) -> None:
    _console.print(text, markup=False)


def _within(option: str, value: float | None, low: float, high: float, unit: str) -> None:
    """Refuse a number outside its range; NaN lies outside every range."""
    if value is not None and not low <= value <= high:
        span = f"{low:g} to {high:g}" if high < float("inf") else f"{low:g} or more"
        raise Refused(f"{option} {value:g}: expected {span} {unit}")


@dataclass(kw_only=True)
class Play:
    """Play a show in a window, or headless where there is no display.

    Keys: space next cue, left the cue before, F freeze, B blackout, P panic, T tap, F1 figures, F11 full screen,
    Esc held for a second to leave.
    """

    setlist: Annotated[str, tyro.conf.Positional] = "metamorphosis"
    """A setlist (.toml), or the name of a bundled one."""
    species: str = ""
    """Play this species (.safetensors) instead of the setlist's and its partners."""
    partner: str = ""
    """Let it become this species (.safetensors), as far as the blend parameters say."""
    input: bool = False
    """Listen to the default input instead of the setlist's source."""
    device: str = ""
    """Listen to this input device: its name or a part of it."""
    host_api: str = ""
    """Where two devices share a name: the host API, such as ALSA, Core Audio, Windows WASAPI."""
    file: Path | None = None
    """Play this sound file instead of the setlist's source."""
    headless: bool = False
    """No window: draw with EGL."""
    size: str = "1280x720"
    """Size of the window or of the headless frame."""
    fullscreen: bool = False
    """Cover the monitor."""
    monitor: str = ""
    """Cover the monitor of this name, or a part of it."""
    fps: float | None = None
    """Frames a second; by default what the display or the machine can hold."""
    engine: str = "auto"
    """An engine by name; auto is the fastest that draws the species right, measure finds that out once more."""
    memory: float | None = None
    """Megabytes that the engines of all species may take; by default half of what is free."""
    cue: str = ""
    """Begin with the cue of this id or name."""
    osc_port: int = 9000
    """UDP port for OSC; 0 for none."""
    osc_host: str = "0.0.0.0"
    """Address that OSC listens on; 127.0.0.1 keeps it to this machine."""
    osc_prefix: str = "/perf"
    """What the OSC addresses of the parameters begin with."""
    http_port: int = 0
    """TCP port for the panel in a browser, and for OSCQuery; 0 for none."""
    lan: bool = False
    """Let other machines reach the HTTP port too; to move anything then takes the token that is printed."""
    reload: bool = True
    """Take what is edited in the setlist while it plays."""
    hud: bool = False
    """Show the figures from the start (F1)."""
    frames: Path | None = None
    """Write every frame into this folder as PNG."""
    snapshot: Path | None = None
    """Write the last frame to this PNG."""
    seconds: float | None = None
    """End after so many seconds."""

    def run(self) -> None:
        from performer.audio.source import SourceSpec
        from performer.play import PlayOptions, play

        width, _, height = self.size.partition("x")
        sides = [int(side) if side.isdecimal() else 0 for side in (width, height)]
        if not all(MOST_PX >= side >= LEAST_PX for side in sides):
            raise Refused(
                f"--size {self.size}: expected WIDTHxHEIGHT, {LEAST_PX} to {MOST_PX} pixels each, such as 1280x720"
            )
        _within("--fps", self.fps, 1, 1000, "frames a second")
        _within("--seconds", self.seconds, 0, float("inf"), "seconds")
        _within("--memory", self.memory, 1, float("inf"), "megabytes")
        _within("--osc-port", self.osc_port, 0, 65535, "(0 for no OSC)")
        _within("--http-port", self.http_port, 0, 65535, "(0 for no panel)")
        if self.lan and not self.http_port:
            raise Refused("--lan without --http-port: expected the port that other machines shall reach, such as 9080")
        if not re.fullmatch(r"(/[A-Za-z0-9_.-]+)+", self.osc_prefix):
            raise Refused(f"--osc-prefix {self.osc_prefix!r}: expected names with a slash before each, such as /perf")
        if self.file is not None and (self.input or self.device or self.host_api):
            raise Refused("--file and --input, --device or --host-api: expected one source of sound; leave one out")
        audio = None
        if self.file is not None:
            audio = SourceSpec(kind="file", path=str(self.file))
        elif self.input or self.device or self.host_api:
            audio = SourceSpec(kind="device", device=self.device, host_api=self.host_api)
        options = PlayOptions(
            setlist=self.setlist,
            species=self.species,
            partner=self.partner,
            audio=audio,
            headless=self.headless,
            size_px=(sides[0], sides[1]),
            fullscreen=self.fullscreen,
            monitor=self.monitor,
            fps=self.fps,
            engine=self.engine,
            memory_mb=self.memory,
            cue=self.cue,
            osc_host=self.osc_host,
            osc_port=self.osc_port,
            osc_prefix=self.osc_prefix,
            reload=self.reload,
            http_port=self.http_port,
            lan=self.lan,
            hud=self.hud,
            frames=self.frames,
            snapshot=self.snapshot,
            seconds=self.seconds,
        )
        play(options, announce=_announce)


@dataclass(kw_only=True)
class Check:
    """Check a setlist and everything that it names; exit status 2 where something is wrong."""

    setlist: Annotated[str, tyro.conf.Positional] = "metamorphosis"
    """A setlist (.toml), or the name of a bundled one."""

    def run(self) -> None:
        from performer import setlist as setlists
        from performer.play import compile_shaders, how_they_meet

        path = setlists.locate(self.setlist)
        show = setlists.load(path)
        compiled = compile_shaders(show)
        partner = f"partner {how_they_meet(show)}, " if show.partners else ""
        _announce(
            f"{path}: good: {len(show.cues)} cues, species {show.checkpoint.provenance.name}, {partner}"
            f"{show.audio.name()}, {compiled}"
        )


@dataclass(kw_only=True)
class New:
    """Write a setlist to begin with, explained in itself."""

    file: Annotated[Path, tyro.conf.Positional]
    """The file to write, such as berlin.toml."""
    species: str = "larva"
    """A species (.safetensors), or the name of a bundled one."""

    def run(self) -> None:
        from performer import setlist as setlists
        from performer.running_order import write_new

        path = write_new(self.file, species=self.species)
        try:
            setlists.load(path, check_devices=False)
        except Refused:
            path.unlink()
            raise
        _announce(f"{path}: written; edit it, then: performer play {path}")


@dataclass(kw_only=True)
class Order:
    """Print a setlist as a running order."""

    setlist: Annotated[str, tyro.conf.Positional] = "metamorphosis"
    """A setlist (.toml), or the name of a bundled one."""

    def run(self) -> None:
        from performer import setlist as setlists
        from performer.running_order import print_order

        path = setlists.locate(self.setlist)
        print_order(setlists.load(path, check_devices=False), console=_console)


@dataclass(kw_only=True)
class SetlistVerb:
    """Begin a setlist, or print one."""

    verb: Annotated[
        Annotated[New, tyro.conf.subcommand("new", prefix_name=False)]
        | Annotated[Order, tyro.conf.subcommand("show", prefix_name=False)],
        tyro.conf.arg(name=""),
    ]

    def run(self) -> None:
        self.verb.run()


@dataclass(kw_only=True)
class Rehearse:
    """Play a setlist without anybody there, faster than real time: when each cue comes, and pictures of all."""

    setlist: Annotated[str, tyro.conf.Positional] = "metamorphosis"
    """A setlist (.toml), or the name of a bundled one."""
    file: Path | None = None
    """The sound of the concert; by default the setlist's own file, or silence."""
    hold: float = 8.0
    """Seconds after its fade at which GO is pressed in a cue that waits for a hand."""
    seconds: float = 600.0
    """The longest that is rehearsed."""
    fps: float = 30.0
    """Frames a second."""
    sheet: Path | None = None
    """The picture to write; by default the setlist's name in this folder. - for none: times alone."""

    def run(self) -> None:
        from performer.rehearsal import RehearsalOptions, rehearse

        _within("--hold", self.hold, 0.1, 3600, "seconds")
        _within("--seconds", self.seconds, 1, 36000, "seconds")
        _within("--fps", self.fps, 1, 240, "frames a second")
        options = RehearsalOptions(
            setlist=self.setlist,
            file=self.file,
            hold_s=self.hold,
            most_s=self.seconds,
            fps=self.fps,
            sheet=self.sheet,
        )
        rehearse(options, console=_console, announce=_announce)


@dataclass(kw_only=True)
class Import:
    """Make a species of somebody's checkpoint (StyleGAN2 and 3, and relatives). Nothing in the file is run."""

    file: Annotated[Path, tyro.conf.Positional]
    """The checkpoint: .pkl, .pt, .pth, whatever trainer wrote it."""
    out: Path | None = None
    """The species to write; by default the file's name, in this folder."""
    name: str = ""
    """What to call it; by default the file's name."""
    licence: str = ""
    """Under which terms it may be shown and shared."""
    origin: str = ""
    """Who trained it, and on what."""
    preview: bool = True
    """Draw a picture to know it by; takes long for large pictures without a GPU."""

    def run(self) -> None:
        from performer.importing import UNKNOWN_LICENCE, ImportOptions, import_species

        options = ImportOptions(
            file=self.file,
            out=self.out,
            name=self.name,
            licence=self.licence or UNKNOWN_LICENCE,
            origin=self.origin,
            preview=self.preview,
        )
        import_species(options, announce=_announce)


@dataclass(kw_only=True)
class Train:
    """Train a species on a prepared set. Ctrl-C saves and ends; the same command goes on."""

    set: Annotated[Path, tyro.conf.Positional]
    """The set: a folder that `performer dataset` has made."""
    out: Path | None = None
    """The folder of the run; by default the set's name and -run, in this folder."""
    name: str = ""
    """What to call the species; by default as the set."""
    source: Annotated[str, tyro.conf.arg(name="from")] = ""
    """A species (.safetensors, or a bundled one's name) to go on from: needs fewer pictures, and makes siblings."""
    family: str = "light"
    """light plays on any machine; stylegan2 wants a graphics card."""
    size: int | None = None
    """Side of its pictures in pixels: 32 to 1024, a power of two; by default the set's."""
    width: float = 1.0
    """How wide its layers are: 0.5 for half, 2 for twice."""
    kimg: float = 1000
    """End after so many thousand pictures."""
    critic: str = ""
    """projected sees with a network that has learnt to see; plain looks at pixels, and takes ten times as long."""
    batch: int | None = None
    """Pictures a step, of all processes together; by default 16, on a graphics card 64."""
    rate: float = 0.002
    """How fast it learns."""
    shown: float | None = None
    """How many thousand pictures it is shown before the critic is asked; by default 40, from another species 10."""
    gamma: float | None = None
    """Weight of the plain critic's penalty; more where it collapses."""
    mirror: bool = True
    """Pictures may be mirrored, left to right."""
    precision: str = ""
    """single or bfloat16; by default what the machine is fast in."""
    torch_device: Annotated[str, tyro.conf.arg(name="device")] = ""
    """cpu or cuda; by default a graphics card where there is one."""
    threads: int | None = None
    """Processor cores to use; by default all."""
    seed: int = 0
    """Another seed gives another species."""
    sheet_every: float = 20
    """Draw a sheet of pictures every so many thousand."""
    licence: str = ""
    """Under which terms the species may be shown and shared; by default the set's."""
    origin: str = ""
    """Where its pictures come from; by default what the set says."""

    def run(self) -> None:
        from performer.training.loop import Interrupted, TrainOptions, train

        _within("--kimg", self.kimg, 0.001, 1_000_000, "thousand pictures")
        _within("--width", self.width, 0.25, 4, "times")
        _within("--rate", self.rate, 1e-6, 0.1, "")
        _within("--batch", self.batch, 8, 4096, "pictures")
        _within("--shown", self.shown, 0, 1_000_000, "thousand pictures")
        _within("--gamma", self.gamma, 0, 1000, "")
        _within("--threads", self.threads, 1, 1024, "cores")
        _within("--sheet-every", self.sheet_every, 0.001, 1_000_000, "thousand pictures")
        for option, value, known in (
            ("--critic", self.critic, ("projected", "plain")),
            ("--precision", self.precision, ("single", "bfloat16")),
        ):
            if value and value not in known:
                raise Refused(f"{option} {value}: expected {' or '.join(known)}")
        options = TrainOptions(
            set=self.set,
            out=self.out,
            name=self.name,
            source=self.source,
            family=self.family,
            size_px=self.size,
            width=self.width,
            images=int(self.kimg * 1000),
            critic=self.critic,
            batch=self.batch,
            rate=self.rate,
            shown=None if self.shown is None else int(self.shown * 1000),
            gamma=self.gamma,
            mirror=self.mirror,
            precision=self.precision,
            device=self.torch_device,
            threads=self.threads,
            seed=self.seed,
            sheet_images=int(self.sheet_every * 1000),
            licence=self.licence,
            origin=self.origin,
        )
        try:
            train(options, announce=_announce)
        except Interrupted:
            _announce("interrupted; the same command goes on from here")
            sys.exit(INTERRUPTED)


@dataclass(kw_only=True)
class Traits:
    """Find the directions along which a species changes most, and keep them in it as trait.1, trait.2 …"""

    species: Annotated[Path, tyro.conf.Positional]
    """A species (.safetensors); it is written anew, with its traits."""
    count: int = 6
    """How many to find by each of two methods."""

    def run(self) -> None:
        from performer.importing import find_traits

        _within("--count", self.count, 1, 32, "traits")
        find_traits(self.species, count=self.count, announce=_announce)


@dataclass(kw_only=True)
class Export:
    """Write a species as an ONNX graph, for other programs: its latents go in, a picture in bytes comes out."""

    species: Annotated[Path, tyro.conf.Positional]
    """A species (.safetensors)."""
    out: Path | None = None
    """The graph to write; by default the species' name, in this folder."""
    partner: Path | None = None
    """A sibling: the graph then has a blend for each layer."""
    half: bool = False
    """In half precision, for graphics cards."""

    def run(self) -> None:
        from performer.importing import export_species

        export_species(self.species, out=self.out, partner=self.partner, half=self.half, announce=_announce)


@dataclass(kw_only=True)
class Dataset:
    """Make a set to train on of a folder of pictures: squares of one size, without broken ones and doubles.

    Run it again when pictures have come: it goes on from where it was. What you delete from the set stays deleted.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """A folder of pictures; those in folders within it count too."""
    out: Path | None = None
    """The set to write; by default the folder's name and -set, in this folder."""
    size: int = 256
    """Side of the squares in pixels: 32, 64, 128, 256, 512 or 1024."""
    square: Literal["pad", "crop"] = "pad"
    """How a picture becomes a square: pad shows it whole on a background, crop takes its middle."""
    background: str = "auto"
    """What pads it and lies under transparent parts: auto (its border's colour), keep (its edges go on), or #rrggbb."""
    alpha: Literal["lay", "ignore"] = "lay"
    """Transparent pictures are laid on the background, or their transparency is ignored."""
    least: int | None = None
    """Leave out pictures whose shorter side has fewer pixels; by default half of the size."""
    alike: int = 4
    """In how many of 64 bits two pictures may differ and still be the same; 0 for the same file only."""
    held_out: float = 0.1
    """The part of the pictures that training never sees, so that it can be measured by them; 0 for none."""
    licence: str = ""
    """Under which terms the pictures may be used."""
    origin: str = ""
    """Whose pictures they are, and where they come from."""
    name: str = ""
    """What to call the set; by default the folder's name."""
    restore: bool = False
    """Bring back what was deleted from the set."""

    def run(self) -> None:
        from performer.training.dataset import DatasetOptions, prepare

        options = DatasetOptions(
            folder=self.folder,
            out=self.out,
            size_px=self.size,
            square=self.square,
            background=self.background,
            alpha=self.alpha,
            least_px=self.least,
            alike_bits=self.alike,
            held_out=self.held_out,
            licence=self.licence,
            origin=self.origin,
            name=self.name,
            restore=self.restore,
        )
        try:
            prepare(options, announce=_announce, console=_console)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)


@dataclass(kw_only=True)
class Measure:
    """Measure a species against the pictures that it was trained on: how near, how varied, how steady, no copies.

    Takes some minutes. Writes report.json and contact sheets, and prints what is good and bad.
    """

    species: Annotated[Path, tyro.conf.Positional]
    """A species (.safetensors)."""
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="set", metavar="SET")]
    """The set that it was trained on, as `performer dataset` made it."""
    out: Path | None = None
    """The folder to write; by default the species' name and -measures, in this folder."""
    pictures: int = 1000
    """How many to draw: more take longer and tell more."""
    frames: int = 120
    """How many frames of each of three slow walks to look at."""
    seed: int = 0
    """Another seed draws other animals; only the figures of one seed are the same every time."""

    def run(self) -> None:
        from performer.training.measuring import LEAST_FRAMES, LEAST_PICTURES, MeasureOptions, measure

        _within("--pictures", self.pictures, LEAST_PICTURES, 100_000, "pictures")
        _within("--frames", self.frames, LEAST_FRAMES, 10_000, "frames")
        _within("--seed", self.seed, 0, 2**63, "")
        options = MeasureOptions(
            species=self.species,
            folder=self.folder,
            out=self.out,
            pictures=self.pictures,
            frames=self.frames,
            seed=self.seed,
        )
        measure(options, announce=_announce, console=Console(highlight=False))


@dataclass(kw_only=True)
class Bridge:
    """Find where two species look most alike, so that a morph can cross from one to the other there.

    Writes a bridge and a contact sheet of its pairs. Ctrl-C keeps what was done; the same command goes on.
    """

    first: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="A")]
    """A species (.safetensors), or a bundled one's name."""
    second: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="B")]
    """Another, of whatever family and size."""
    out: Path | None = None
    """The bridge to write (.bridge.safetensors); by default both names with -- between, in this folder."""
    pairs: int = 12
    """How many pairs of look-alikes."""
    samples: int = 2000
    """How many pictures of each species to look at: more take longer and find more."""
    truncation: tuple[float, float] = (0.8, 1.0)
    """The lowest and the highest truncation that they are drawn with."""
    descriptor: str = "figure"
    """What alike means: figure (shape, colours and lines), lite0 (to a trained eye; needs the extra train), both, or a file
    with the weights of DINOv2 (.safetensors)."""
    steps: int = 60
    """Steps of refinement, which brings the pairs nearer still; 0 for none."""
    seed: int = 0
    """Another seed looks at other animals."""
    torch_device: Annotated[str, tyro.conf.arg(name="device")] = ""
    """cpu or cuda; by default a graphics card where there is one."""

    def run(self) -> None:
        try:
            from performer.bridging.making import LEAST_SAMPLES, MOST_SAMPLES, BridgeOptions, make
        except KeyboardInterrupt:  # loading takes as long as a change of mind
            sys.exit(INTERRUPTED)
        _within("--pairs", self.pairs, 1, MOST_SAMPLES, "pairs")
        _within("--samples", self.samples, LEAST_SAMPLES, MOST_SAMPLES, "pictures of each")
        _within("--steps", self.steps, 0, 10_000, "steps")
        _within("--seed", self.seed, 0, 2**63, "")
        options = BridgeOptions(
            first=self.first,
            second=self.second,
            out=self.out,
            pairs=self.pairs,
            samples=self.samples,
            truncation=self.truncation,
            descriptor=self.descriptor,
            steps=self.steps,
            seed=self.seed,
            device=self.torch_device,
        )
        try:
            make(options, announce=_announce)
        except KeyboardInterrupt:
            _announce("interrupted; the same command goes on from here")
            sys.exit(INTERRUPTED)


@dataclass(kw_only=True)
class Listen:
    """Show what is heard on a device, live, to set levels by; or listen to a track beforehand.

    Of a track: tempo, beats, bars, sections and drops, and how well the live ear hears it, all in one picture. What was
    found is kept: the second time only the live ear listens.
    """

    file: Annotated[Path | None, tyro.conf.Positional] = None
    """A sound or video file to listen to beforehand; without one, a device is listened to."""
    device: str = ""
    """Listen to this input device: its name or a part of it; by default the setlist's source, or the default input."""
    host_api: str = ""
    """Where two devices share a name: the host API, such as ALSA, Core Audio, Windows WASAPI."""
    setlist: str = ""
    """Hear with the voices, bands, source and knobs of this setlist (.toml)."""
    seconds: float | None = None
    """Listen to the device for so many seconds; by default until Ctrl-C, with --once for 5."""
    once: bool = False
    """Print one summary of what was heard on the device, and end."""
    clicks: Annotated[tuple[int, ...] | None, tyro.conf.arg(metavar="[COUNT]")] = None
    """Play so many clicks (10) through the default output, and measure when the device hears them."""
    out: Path | None = None
    """The picture (.png), or a folder for it; by default the file's name and -listening.png, in this folder."""
    cues: Path | None = None
    """Write a setlist (.toml) with a cue for every section."""
    begin: Annotated[float, tyro.conf.arg(name="from")] = 0.0
    """Draw from this second on."""
    end: Annotated[float | None, tyro.conf.arg(name="to")] = None
    """Draw to this second; by default to the end. Up to a minute fills one row."""
    again: bool = False
    """Find everything anew, whatever is kept."""

    def run(self) -> None:
        beforehand = {
            "--out": self.out is not None,
            "--cues": self.cues is not None,
            "--from": self.begin != 0.0,
            "--to": self.end is not None,
            "--again": self.again,
        }
        live = {
            "--device": bool(self.device),
            "--host-api": bool(self.host_api),
            "--setlist": bool(self.setlist),
            "--seconds": self.seconds is not None,
            "--once": self.once,
            "--clicks": self.clicks is not None,
        }
        if self.file is None:
            for option in (option for option, is_given in beforehand.items() if is_given):
                raise Refused(f"{option}: belongs to a track, and none is named; expected FILE, or no {option}")
            self._run_live()
            return
        for option in (option for option, is_given in live.items() if is_given):
            raise Refused(f"{option}: belongs to a device, and {self.file} is a file; leave one of them out")
        from performer.listening.track import ListenOptions, listen

        _within("--from", self.begin, 0, float("inf"), "seconds")
        _within("--to", self.end, 0.001, float("inf"), "seconds")
        options = ListenOptions(
            file=self.file,
            out=self.out,
            cues=self.cues,
            again=self.again,
            begin_s=self.begin,
            end_s=self.end,
        )
        listen(options, announce=_announce, console=Console(highlight=False))

    def _run_live(self) -> None:
        try:
            from performer.listening.live import LiveOptions, listen_live
        except KeyboardInterrupt:  # loading takes as long as a change of mind
            return
        _within("--seconds", self.seconds, 0.1, float("inf"), "seconds")
        clicks = None
        if self.clicks is not None:
            if len(self.clicks) > 1:
                raise Refused(f"--clicks {' '.join(map(str, self.clicks))}: expected one number, or none for 10")
            clicks = self.clicks[0] if self.clicks else 10
            _within("--clicks", clicks, 1, 1000, "clicks")
            if self.once or self.seconds is not None:
                raise Refused("--clicks ends by itself; leave --once and --seconds out")
        options = LiveOptions(
            setlist=self.setlist,
            device=self.device,
            host_api=self.host_api,
            seconds=self.seconds,
            once=self.once,
            clicks=clicks,
        )
        if not listen_live(options, announce=_announce, console=Console(highlight=False)):
            raise SystemExit(1)


@dataclass(kw_only=True)
class Doctor:
    """Look at this machine: what a show can use, what it lacks, and the remedy; exit status 1 where something fails."""

    osc_port: int = 9000
    """The OSC port to try."""

    def run(self) -> None:
        _within("--osc-port", self.osc_port, 1, 65535, "")
        from performer.doctor import examine, report

        findings = examine(osc_port=self.osc_port)
        report(findings, console=Console(soft_wrap=True, highlight=False))
        if any(finding.is_fault for finding in findings):
            raise SystemExit(1)


def main() -> None:
    """Entry point of `performer`."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=_console, show_path=False, show_time=False, markup=False)],
    )
    verb = tyro.extras.subcommand_cli_from_dict(
        {
            "play": Play,
            "import": Import,
            "traits": Traits,
            "export": Export,
            "dataset": Dataset,
            "measure": Measure,
            "train": Train,
            "bridge": Bridge,
            "setlist": SetlistVerb,
            "check": Check,
            "rehearse": Rehearse,
            "listen": Listen,
            "doctor": Doctor,
        },
        description="performer: a trained image generator, played live like an instrument.",
    )
    try:
        verb.run()
    except Refused as error:
        _console.print(f"performer: {error}", style="bold red", markup=False)
        sys.exit(REFUSED)
