"""What `performer listen` does: prepares a track, lets the live ear hear it too, and shows both.

It prints tempo, bars, sections and drops, and how far the two agree; it draws them into one picture; and it writes a
setlist with a cue for every section, where one is asked for.

Thread: main, before any show.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as Pillow
from rich.console import Console
from rich.table import Table

from performer.audio import prepared as tracks
from performer.audio.agreement import Agreement, Live
from performer.audio.analyser import analyse
from performer.audio.form import Section
from performer.audio.prepared import Prepared
from performer.audio.source import SourceError, decode
from performer.files import write_whole
from performer.listening import picture
from performer.listening.picture import Subject, clock
from performer.refusal import Refused

LIVE_SPEED = 15  # how much faster than the music the live ear is on a slow machine
BPM_LOW, BPM_HIGH = 20.0, 300.0  # of transport.bpm
FADE_S, FADE_SHARE = 4.0, 0.25  # a cue comes in so slowly, but in this part of its length at most ...
DROP_FADE_S = 0.1  # ... and so where a drop begins it
DROP_BESIDE_S = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """What the command line may say of listening."""

    file: Path
    out: Path | None = None  # a folder or a .png; by default the file's name and -listening.png, in the current folder
    cues: Path | None = None  # the setlist to write
    again: bool = False  # find everything anew, whatever is known
    begin_s: float = 0.0  # of the stretch that is drawn
    end_s: float | None = None  # the end of the track


def listen(options: ListenOptions, *, announce: Callable[[str], None], console: Console) -> Path:
    """Prepare the track, hear it live, print what was found to `console`, and draw it; the path of the picture.

    Raises:
        Refused: no such file, none that can be heard or too long; `out` is there and no picture of ours; `cues` is there.
    """
    out = _picture_path(options)
    if options.cues is not None:
        _refuse_old_cues(options.cues)
    try:
        sound = decode(str(options.file))
        length_s = len(sound.samples) / sound.rate_hz
        prepared = tracks.prepare(options.file, again=options.again, sound=sound, announce=announce)
    except SourceError as error:
        raise Refused(str(error).removeprefix("audio.path: ")) from None
    if not options.begin_s < min(options.end_s or length_s, length_s):
        raise Refused(
            f"--from {options.begin_s:g}: lies at or beyond the end ({options.end_s or length_s:.1f} s); make it smaller"
        )
    announce(f"hearing it as in a show: {length_s:.0f} s, about {max(1, round(length_s / LIVE_SPEED))} s of work")
    analysis = analyse(sound.samples, sound.rate_hz)
    live = Live.of(analysis)
    agreement = Agreement.of(live, prepared)
    announce("drawing")
    drawn = picture.draw(
        Subject(
            sound=sound,
            prepared=prepared,
            analysis=analysis,
            live=live,
            agreement=agreement,
            begin_s=options.begin_s,
            end_s=options.end_s,
        )
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, picture.png(drawn))
    except OSError as error:
        raise Refused(f"--out {out}: cannot be written ({error.strerror or error})") from None
    for line in told(prepared, agreement):
        console.print(line, markup=False, soft_wrap=True)
    console.print(table(prepared))
    announce(f"picture  {out}")
    if options.cues is not None:
        _write_cues(options.cues, options.file, prepared)
        announce(f"setlist  {options.cues}: performer play {options.cues}")
    return out


# What is printed.


def told(prepared: Prepared, agreement: Agreement) -> list[str]:
    """Lines for people, each with its key in front."""
    lines = [f"track    {prepared.name}, {clock(prepared.duration_s)}, {prepared.rate_hz} Hz"]
    if prepared.bpm:
        kind = "an even grid" if prepared.even else "it gives way"
        lines.append(f"tempo    {prepared.bpm:.2f} beats per minute, {kind}; {len(prepared.beats_s)} beats")
        downbeats_s = prepared.downbeats_s
        first = f"; the first begins at {downbeats_s[0]:.3f} s" if downbeats_s else ""
        lines.append(f"bars     of {prepared.beats_per_bar} beats{first}")
    else:
        lines.append("tempo    none: nothing pulses clearly")
    drops = ", ".join(f"{clock(drop.at_s, tenths=True)} ({drop.strength:.1f})" for drop in prepared.drops)
    lines.append(f"drops    {drops or 'none'}")
    onsets, beats = agreement.onsets, agreement.beats
    lines.append(
        f"onsets   live {len(onsets.found)}, offline {len(onsets.true)}: F {onsets.f:.2f} (precision "
        f"{onsets.precision:.2f}, recall {onsets.recall:.2f}) within 50 ms, median {onsets.off_ms:+.1f} ms"
    )
    if not prepared.bpm:
        return lines
    lines.append(
        f"beats    live {len(beats.found)}, offline {len(beats.true)}: F {beats.f:.2f} (precision "
        f"{beats.precision:.2f}, recall {beats.recall:.2f}) within 70 ms, median {beats.off_ms:+.1f} ms"
    )
    level = f", {agreement.level} the offline tempo" if agreement.level else ""
    if agreement.between:
        level = ", halfway between the offline beats: one of the two takes the off-beat for the beat"
    lock = (
        "it never held the beat" if agreement.locked_s is None else f"it held the beat from {agreement.locked_s:.1f} s"
    )
    lines.append(f"live     {agreement.bpm:.2f} beats per minute{level}; {lock}")
    return lines


def table(prepared: Prepared) -> Table:
    """The sections, one a row."""
    rows = Table(box=None, pad_edge=False)
    for name in ("section", "from", "to", "bars", "loudness", "energy"):
        rows.add_column(name, justify="left" if name == "section" else "right")
    for section in prepared.sections:
        first, _ = prepared.beat_at(section.start_s)
        last, _ = prepared.beat_at(section.end_s)
        bars = (last - first) / prepared.beats_per_bar
        rows.add_row(
            section.label,
            clock(section.start_s, tenths=True),
            clock(section.end_s, tenths=True),
            f"{bars:.0f}" if prepared.bpm else "",
            f"{section.loudness_db:.1f} dB",
            f"{section.energy:.2f}",
        )
    return rows


def _picture_path(options: ListenOptions) -> Path:
    """Where to draw. Raises Refused where something else lies there."""
    name = f"{options.file.stem}-listening.png"
    out = options.out or Path(name)
    if out.is_dir() or out.suffix.lower() != ".png":
        if out.exists() and not out.is_dir():
            raise Refused(f"--out {out}: is a file; expected a folder, or a name that ends in .png")
        out = out / name
    if out.exists() and not _is_ours(out):
        raise Refused(
            f"--out {out}: is there already and no picture of `performer listen`; choose another name with --out"
        )
    return out


def _is_ours(path: Path) -> bool:
    try:
        with Pillow.open(path) as image:
            return image.info.get("Software") == picture.SOFTWARE
    except (OSError, SyntaxError, ValueError):  # a damaged PNG is a syntax error
        return False


# Cues.


def cues(prepared: Prepared, *, audio_file: str) -> str:
    """A setlist, as text: a cue for each section, exactly as long, following one another.

    audio_file: what the setlist shall name, as a path or beside itself.
    """
    beats = (
        "no beats were found" if not prepared.bpm else f"{len(prepared.beats_s)} beats at {prepared.bpm:.2f} per minute"
    )
    drops = ", ".join(f"{clock(drop.at_s, tenths=True)} (strength {drop.strength:.1f})" for drop in prepared.drops)
    lines = [
        f"# Cues of {_comment(prepared.name)}, made by `performer listen`. Make them yours.",
        "# docs/setlists.md explains every key.",
        f"# {beats}. Drops: {drops or 'none'}.",
        "",
        "schema = 1",
        f"name = {_quoted(Path(prepared.name).stem)}",
        'species = "imago"',
        "",
        "[audio]",
        'source = "file"',
        f"file = {_quoted(audio_file)}",
        "",
        "[params]",
    ]
    if prepared.bpm:
        lines.append(f"transport.bpm = {min(max(prepared.bpm, BPM_LOW), BPM_HIGH):.4f}")
    lines += [
        "feedback.amount = 0.4",
        "",
        "# Routes of every cue: the animal swells with the bass, and its pattern answers the highs.",
        *_route("kick", "mix.bass.hit", "latent.coarse", amount=0.7, attack=0.02, release=0.4),
        *_route("melody", "mix.mid.level", "latent.middle", amount=0.8, attack=0.08, release=0.5),
        *_route("shiver", "mix.high.hit", "latent.fine", amount=0.9, attack=0.01, release=0.25),
    ]
    names: dict[str, int] = {}
    for number, section in enumerate(prepared.sections, 1):
        names[section.label] = names.get(section.label, 0) + 1
        again = f" {names[section.label]}" if names[section.label] > 1 else ""
        lines += [
            "[[cue]]",
            f'id = "{number}"',
            f'name = "{section.label}{again}"',
            f'notes = "{_notes(prepared, section)}"',
            f"fade = {_fade_s(prepared, section):.3f}",
            f"duration = {section.end_s - section.start_s:.6f}",
            f'next = "{"follow" if number < len(prepared.sections) else "loop"}"',
            "[cue.params]",
            f"walk.speed = {0.08 + 0.24 * section.energy:.3f}",
            "",
        ]
    return "\n".join(lines)


def _route(name: str, source: str, target: str, *, amount: float, attack: float, release: float) -> list[str]:
    return [
        "[[route]]",
        f'name = "{name}"',
        f'from = "{source}"',
        f'to = "{target}"',
        f"amount = {amount}",
        f"attack = {attack}",
        f"release = {release}",
        "",
    ]


def _notes(prepared: Prepared, section: Section) -> str:
    begins = f"From {clock(section.start_s, tenths=True)}"
    beats = ""
    if prepared.bpm:
        length = prepared.beat_at(section.end_s)[0] - prepared.beat_at(section.start_s)[0]
        beats = f", {length:.0f} beats"
    inside = [drop for drop in prepared.drops if section.start_s <= drop.at_s < section.end_s]
    drops = "; drop at " + ", ".join(clock(drop.at_s, tenths=True) for drop in inside) if inside else ""
    return f"{begins}{beats}, {section.loudness_db:.0f} dB{drops}."


def _fade_s(prepared: Prepared, section: Section) -> float:
    if any(abs(drop.at_s - section.start_s) < DROP_BESIDE_S for drop in prepared.drops):
        return DROP_FADE_S
    return min(FADE_S, FADE_SHARE * (section.end_s - section.start_s))


def _quoted(text: str) -> str:
    """A TOML string: it knows JSON's escapes, and wants one more."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(text: str) -> str:
    """Text that may stand in a comment: without what ends the line or is no text."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _refuse_old_cues(path: Path) -> None:
    if path.suffix != ".toml":
        raise Refused(f"--cues {path}: expected a name that ends in .toml")
    if path.exists():
        raise Refused(
            f"--cues {path}: is there already, and no setlist is overwritten; choose another name with --cues"
        )


def _write_cues(path: Path, file: Path, prepared: Prepared) -> None:
    """Write the setlist. Raises Refused."""
    _refuse_old_cues(path)  # once more: the listening took a while
    beside = file.resolve().parent == path.resolve().parent
    try:
        content = cues(prepared, audio_file=file.name if beside else str(file.resolve())).encode()
    except UnicodeEncodeError:
        raise Refused(f"--cues {path}: the name of {file!s} is no text that a setlist can hold; rename it") from None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise Refused(f"--cues {path}: cannot be written ({error.strerror or error})") from None
