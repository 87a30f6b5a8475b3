"""A folder of pictures becomes a set: squares of one size that training reads, each named by its source's content.

The order of work. Every file is looked at: what it is, its size, its sha256. Pictures that are new are made into
squares in `unfinished/`; each square carries in its PNG what is known of its source, so that after an interruption it
is not made again. Then it is decided which of them belong to the set, for only then are all known that may be alike.
Last they are moved into their places, and set.json is written. Whatever is interrupted, a file under its whole name is
whole, and a set that was finished stays as it was until the last step.

Thread: main, before any training; files are looked at and pictures made by threads of its own.
Owns: the folder of the set. The folder of the pictures is only read.
"""

import contextlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import Progress

from performer import __version__
from performer.files import write_whole
from performer.refusal import Refused
from performer.training import sheet as sheets
from performer.training.develop import Facts, Kind, Method, Source, Unusable, develop, label_of, look, patient_pillow
from performer.training.pictures import FEW, HELD_OUT, TRAINING

SCHEMA = 1
MANIFEST = "set.json"
UNFINISHED = "unfinished"  # a folder of a set, beside those that training knows
PLACES = (UNFINISHED, TRAINING, HELD_OUT)  # where a square stands in two, the first is the newer
SHEET, SHEET_MOST, SHEET_PX = "sheet.png", 100, 128
NAME_DIGITS = 12  # of the source's sha256, in the name of its square
UNKNOWN_LICENCE = "unknown: ask whoever made the pictures before you show or share what has learnt from them"
SEE = "see "  # the texts that lie with the pictures
TEXTS = re.compile(r"(sources|licen[cs]e|copying)(\.(md|txt))?", re.IGNORECASE)

SIZES_PX = (32, 64, 128, 256, 512, 1024)
MOST_ALIKE_BITS = 16
MOST_HELD_OUT = 0.5
FEWEST_HELD_OUT_OF = 20  # below, chance alone could hold out half of them, or none
NAMED = 5  # of many files, on the terminal
WORKERS = min(os.cpu_count() or 1, 8)

# Two pictures are the same where their hashes differ in few bits, and their colours agree too. The hash alone sees
# shapes in grey: among 2360 moths that all sit in the same pose, 900 pairs differ in 4 bits or fewer, and 11 of them
# are the same animal. Of those the colours differ by 3.0 levels at most, of others by 4.0 or more; pictures made
# smaller and saved as JPEG of quality 30 stay within 3.2. The second limit is for pale pictures, all of whose
# colours are near to each other: it is a part of the picture's own contrast.
COLOUR_LEVELS, COLOUR_SHARE = 3.5, 0.15

Result = TypeVar("Result")


class Picture(Facts, frozen=True, kw_only=True):
    """A square of the set, and its source."""

    file: str  # in the set: pictures/… or held-out/…
    source: str  # in the folder of the pictures


class LeftOut(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file of the folder that is not in the set, and why."""

    source: str
    kind: Kind
    why: str
    facts: Facts | None = None  # of a duplicate, so that it need not be read again


class Manifest(Method, frozen=True, kw_only=True):
    """set.json."""

    schema: int = SCHEMA
    finished: bool = False  # else it was interrupted, and pictures may be missing
    name: str
    least_px: int
    alike_bits: int
    held_out: float  # 0 to 1
    licence: str
    origin: str
    made_with: str
    texts: Sequence[str] = ()  # SOURCES.md and such, which lay with the pictures and have been copied
    files: int = 0  # that were looked at
    pictures: Sequence[Picture] = ()  # in the order of their sources
    left_out: Sequence[LeftOut] = ()
    deleted: Sequence[Picture] = ()  # from the set, by somebody: they stay out, and so does what is like them


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetOptions:
    """What the command line may say."""

    folder: Path
    out: Path | None = None  # the folder's name and -set, in the current folder
    size_px: int = 256  # a power of two
    square: Literal["crop", "pad"] = "pad"
    background: str = "auto"  # keep, auto or #rrggbb
    alpha: Literal["lay", "ignore"] = "lay"
    least_px: int | None = None  # half of the size
    alike_bits: int = 4  # 0: only files that are the same to the byte
    held_out: float = 0.1
    licence: str = ""  # as before, or unknown
    origin: str = ""  # as before
    name: str = ""  # as before, or the folder's
    restore: bool = False


def prepare(options: DatasetOptions, *, announce: Callable[[str], None], console: Console | None = None) -> Path:
    """Make a set of a folder of pictures, or bring one up to date; the folder of the set.

    A terminal in `console` gets a bar of progress. Interrupted, it leaves what it has made, and goes on from there the
    next time. Raises Refused where there is nothing to make a set of, or nowhere to write it.
    """
    folder = options.folder
    out = options.out or Path(f"{folder.resolve().name}-set")
    old = _checked(options, out=out)
    plan = _planned(options, old=old)
    making = _Making(plan=plan, folder=folder, out=out, old=old or plan, announce=announce, console=console)
    with patient_pillow():
        sources = making.sources()
        try:
            manifest = making.make(sources, restore=options.restore)
        except OSError as error:  # reading is guarded by itself, so this is writing
            megabytes = max(1, len(sources) * plan.size_px**2 * 2 // 1_000_000)
            raise Refused(
                f"--out {out}: {error.filename or 'the set'} cannot be written ({error.strerror or error}); expected a "
                f"folder of your own, with room for about {megabytes} MB; make room and run it again, and it goes on "
                "from there, or choose another with --out"
            ) from None
    _report(manifest, out, announce)
    return out


def load(folder: Path) -> Manifest:
    """The manifest of a set. Training asks it for names and terms; the pictures are those that lie in its folders.

    Raises Refused where the folder is no set, or one that a newer performer has made.
    """
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise Refused(f"{folder}: has no {MANIFEST}; expected a set that `performer dataset` has made") from None
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror or error})") from None
    except msgspec.DecodeError as error:
        raise Refused(f"{path}: is not the {MANIFEST} of a set ({error}); delete the folder to make it anew") from None
    if manifest.schema != SCHEMA:
        raise Refused(f"{path}: schema {manifest.schema}; expected {SCHEMA}: a newer performer has made it")
    return manifest


def _checked(options: DatasetOptions, *, out: Path) -> Manifest | None:
    """The set that is there already. Raises Refused where what is asked for cannot be."""
    folder = options.folder
    if options.size_px not in SIZES_PX:
        raise Refused(f"--size {options.size_px}: expected one of {', '.join(map(str, SIZES_PX))}")
    if options.background not in ("keep", "auto") and not re.fullmatch("#[0-9a-fA-F]{6}", options.background):
        raise Refused(f"--background {options.background}: expected keep, auto, or a colour such as #f6f1e6")
    if options.least_px is not None and options.least_px < 1:
        raise Refused(f"--least {options.least_px}: expected 1 or more pixels")
    if not 0 <= options.alike_bits <= MOST_ALIKE_BITS:
        raise Refused(f"--alike {options.alike_bits}: expected 0 to {MOST_ALIKE_BITS} of 64 bits")
    if not 0 <= options.held_out <= MOST_HELD_OUT:
        raise Refused(f"--held-out {options.held_out:g}: expected 0 (none) to {MOST_HELD_OUT:g} of the pictures")
    try:
        if not folder.is_dir():
            is_what = "is a file" if folder.exists() else "is not there"
            raise Refused(f"{folder}: {is_what}; expected a folder of pictures")
        if _is_set(folder):
            raise Refused(f"{folder}: is a set already; expected the pictures that a set is made of")
        if out.resolve() in (folder.resolve(), *folder.resolve().parents):
            raise Refused(f"--out {out}: the pictures lie in it; expected a folder for the set alone; choose another")
        if (out / MANIFEST).exists():
            return load(out)
        if out.exists() and (out.is_file() or any(not path.name.startswith(".") for path in out.iterdir())):
            holds = "is a file" if out.is_file() else "holds other things"
            raise Refused(f"--out {out}: {holds}; expected a new folder, or a set to go on with")
    except OSError as error:
        why = error.strerror or error
        raise Refused(f"{error.filename}: cannot be read ({why}); expected a folder of yours") from None
    return None


def _is_set(folder: Path) -> bool:
    # Not Path.is_file, which raises where one may not look.
    return os.path.isfile(folder / MANIFEST) and os.path.isdir(folder / TRAINING)


def _planned(options: DatasetOptions, *, old: Manifest | None) -> Manifest:
    """A manifest without pictures, of what is asked for; what is not said stays as it was."""
    given = {key: value for key, value in asdict(options).items() if key in Manifest.__struct_fields__}
    if old is not None:
        given |= {key: getattr(old, key) for key in ("name", "licence", "origin") if not given[key]}
    if given["licence"] == UNKNOWN_LICENCE or given["licence"].startswith(SEE):
        given["licence"] = ""  # nobody has said these terms: they follow the texts that lie with the pictures
    given["name"] = given["name"] or _shown(options.folder.resolve().name)
    given["background"] = options.background.lower()
    given["least_px"] = options.size_px // 2 if options.least_px is None else options.least_px
    return Manifest(**given, made_with=f"performer {__version__} dataset")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Making:
    """One run over a folder."""

    plan: Manifest  # without pictures
    folder: Path
    out: Path
    old: Manifest  # a new set's is the plan
    announce: Callable[[str], None]
    console: Console | None
    left_out: list[LeftOut] = field(default_factory=list)
    texts: dict[str, bytes] = field(default_factory=dict)  # by their names

    def sources(self) -> dict[str, Source]:
        """The pictures of the folder by their sha256, in the order of their names. Raises Refused: there are none."""
        files = sorted(self._files(), key=lambda file: file.name)
        self.announce(f"looking at {_counted(len(files), 'file')} in {self.folder}")
        sources: dict[str, Source] = {}
        for one in self._tried(lambda file: look(file, least_px=self.plan.least_px), files, saying="looking"):
            first = sources.setdefault(one.sha256, one)
            if first is not one:
                self._leave(one.path, "duplicate", f"the same file as {first.name}")
        if not sources:
            raise self._refused()
        return sources

    def make(self, sources: Mapping[str, Source], *, restore: bool) -> Manifest:
        """Make squares, decide which belong to the set, put them in their places; the finished manifest.

        Raises OSError where something cannot be written, and Refused where no picture is left.
        """
        plan, old, out = self.plan, self.old, self.out
        files = len(sources) + len(self.left_out)
        deleted = [] if restore else self._deleted()
        without = {one.source_sha256 for one in deleted}
        wanted = [one for one in sources.values() if one.sha256 not in without]
        known, squared = self._known()
        if old.pictures and old.method != plan.method:
            self.announce(f"{_changes(old, plan)}: all {len(old.pictures)} pictures are made anew")
        elif before := sum(one.sha256 in squared for one in wanted):
            self.announce(f"{before} of {len(wanted)} pictures have been made before")

        for place in PLACES:
            (out / place).mkdir(parents=True, exist_ok=True)
        if not (out / MANIFEST).exists():  # after an interruption this folder must be known as a set
            self._write(old)
        fresh = self._squares([one for one in wanted if one.sha256 not in known])
        known |= fresh
        kept = self._chosen([one for one in wanted if one.sha256 in known], known, deleted)
        # What was a duplicate the last time is known, but has no square; now it may be wanted.
        squared |= fresh.keys()
        squared |= self._squares([one for one in kept if one.sha256 not in squared]).keys()
        kept = [one for one in kept if one.sha256 in squared]
        if not kept and not deleted:
            if not old.pictures and not old.deleted:
                with contextlib.suppress(OSError):  # there may be files of somebody's own
                    for place in PLACES:
                        (out / place).rmdir()
                    (out / MANIFEST).unlink()
                    out.rmdir()
            raise self._refused()

        # Until all are in their places this is the set as it was, but unfinished: what is missing was not deleted then.
        self._write(msgspec.structs.replace(old, finished=False, deleted=deleted))
        pictures = self._placed(kept, known)
        texts = sorted(self.texts)
        for name in texts:
            write_whole(out / name, self.texts[name])
        # Of many pictures those with the lowest sha256, so that most stay from run to run.
        shown = sorted(out / one.file for one in pictures if one.file.startswith(TRAINING))[:SHEET_MOST]
        sheet = sheets.sheet_of_files(shown, columns=sheets.columns_for(len(shown)), px=SHEET_PX, gap_px=2)
        write_whole(out / SHEET, sheets.png(sheet))
        manifest = msgspec.structs.replace(
            plan,
            finished=True,
            licence=plan.licence or (SEE + ", ".join(texts) if texts else UNKNOWN_LICENCE),
            texts=texts,
            files=files,
            pictures=pictures,
            left_out=sorted(self.left_out, key=lambda one: one.source),
            deleted=deleted,
        )
        self._write(manifest)
        shutil.rmtree(out / UNFINISHED)
        return manifest

    def _files(self) -> Iterator[Source]:
        """All files below the folder; the texts that go along with the set are read.

        Names that begin with a dot are passed over: they are programs' own. Links to folders are not followed, for they
        may lead in circles. Nor are sets read: this one must not feed on itself.
        """

        def cannot(error: OSError) -> None:
            self._leave(Path(error.filename), "unreadable", f"cannot be read: {error.strerror}")

        for parent, folders, names in os.walk(self.folder, onerror=cannot):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for path in [Path(parent, name) for name in folders]:
                if path.is_symlink():
                    self._leave(path, "unreadable", "a link to a folder; links are not followed")
                elif _is_set(path):
                    folders.remove(path.name)
                    if path.resolve() != self.out.resolve():
                        self._leave(path, "prepared set", "a set, which has been made of other pictures")
            for path in [Path(parent, name) for name in names if not name.startswith(".")]:
                if path.parent == self.folder and TEXTS.fullmatch(path.name) and os.path.isfile(path):
                    try:
                        self.texts[path.name] = path.read_bytes()
                    except OSError as error:
                        cannot(error)
                else:
                    yield Source(path=path, name=self._name(path))

    def _deleted(self) -> list[Picture]:
        """What somebody has deleted from the set, and has not put back."""
        there = {path.name for place in PLACES[1:] for path in (self.out / place).glob("*.png")}
        missing = self.old.pictures if self.old.finished else []
        return [one for one in (*self.old.deleted, *missing) if _file_of(one.source_sha256) not in there]

    def _known(self) -> tuple[dict[str, Facts], set[str]]:
        """What is known of sources by their sha256, and those that have a square, all made as it is planned now."""
        known: dict[str, Facts] = {}
        squared: set[str] = set()
        listed: dict[str, Picture] = {}
        if self.old.method == self.plan.method:
            listed = {_file_of(one.source_sha256): one for one in self.old.pictures}
            known = {one.facts.source_sha256: one.facts for one in self.old.left_out if one.facts is not None}
        for place in PLACES:
            for path in (self.out / place).glob("*.png"):
                label = label_of(path)
                # A square that somebody has worked on in another program has lost its label, and is still this set's.
                facts = listed.get(path.name) if label is None else label.facts
                if facts is None or path.name != _file_of(facts.source_sha256):
                    continue
                if label is None or label.method == self.plan.method:
                    known[facts.source_sha256] = facts
                    squared.add(facts.source_sha256)
                elif place == UNFINISHED:
                    path.unlink()
        return known, squared

    def _squares(self, sources: Sequence[Source]) -> dict[str, Facts]:
        """Make the squares of sources into `unfinished/`; by sha256 what is known of those that could be read."""
        if not sources:
            return {}
        self.announce(f"making squares of {self.plan.size_px} px of {_counted(len(sources), 'picture')}")
        try:
            made = self._tried(self._square, sources, saying="squares")
        except KeyboardInterrupt:
            count = len(list((self.out / UNFINISHED).glob("*.png")))
            self.announce(f"interrupted; {_counted(count, 'picture')} made: run it again, and it goes on from there")
            raise
        for line in _few([remark for _, remark in made if remark]):
            self.announce(f"note     {line}")
        return {facts.source_sha256: facts for facts, _ in made}

    def _square(self, source: Source) -> tuple[Facts, str]:
        """Make one square; what is known of its source, and a remark or none. Raises Unusable, OSError. Thread: any."""
        content, facts, remark = develop(source, method=self.plan)
        write_whole(self.out / UNFINISHED / _file_of(source.sha256), content)
        return facts, remark and f"{source.name}: {remark}"

    def _placed(self, kept: Sequence[Source], known: Mapping[str, Facts]) -> list[Picture]:
        """Move squares to where they belong, and away what no longer belongs to the set."""
        old, out = self.old, self.out
        names = {_file_of(one.sha256) for one in kept}
        before = {_file_of(one.source_sha256) for one in old.pictures}
        others = [path for place in PLACES[1:] for path in (out / place).iterdir() if path.name not in names]
        gone = [path for path in others if path.name in before]
        for path in gone:
            path.unlink()
        if gone:
            left = _counted(len(gone), "picture")
            self.announce(f"note     {left} left the set: the sources are gone, or are left out now")
        if strangers := len(others) - len(gone):
            self.announce(f"note     {_counted(strangers, 'file')} in the set that it has not made: left alone")
        share = _share(self.plan.held_out, len(kept))
        stays = old.finished and share == _share(old.held_out, len(old.pictures))
        pictures = []
        for one in kept:
            name = _file_of(one.sha256)
            stands = [place for place in PLACES if (out / place / name).exists()]
            # By its content, so that every run decides alike; but somebody may have moved it by hand.
            goes = HELD_OUT if int(one.sha256[-8:], 16) < share * 16**8 else TRAINING
            if stays and stands[-1] != UNFINISHED:
                goes = stands[-1]
            for place in reversed(stands):
                (out / place / name).replace(out / goes / name)
            fields = msgspec.structs.asdict(known[one.sha256])
            fields.update(file=f"{goes}/{name}", source=one.name)
            pictures.append(Picture(**fields))
        return pictures

    def _chosen(
        self,
        candidates: Sequence[Source],  # in the order of their names
        known: Mapping[str, Facts],
        deleted: Sequence[Picture],
    ) -> list[Source]:
        """Those that are unlike each other and unlike what was deleted, in the same order; the others are left out.

        Of pictures that are alike the one that is in the set already stays, so that a set does not change under a
        training; else the largest in pixels, then in bytes, for the others have been made from it.
        """
        if not (self.plan.alike_bits and candidates):
            return list(candidates)
        settled = {one.source_sha256 for one in self.old.pictures}
        ranked = sorted(candidates, key=lambda one: (one.sha256 not in settled, -one.pixels, -one.size_bytes))
        names = [f"{one.source}, which was deleted from the set" for one in deleted] + [one.name for one in ranked]
        facts: list[Facts] = [*deleted, *(known[one.sha256] for one in ranked)]
        signs, fields = np.stack([one.signs for one in facts]), np.stack([one.fields for one in facts])
        limits = np.clip(COLOUR_SHARE * fields.std(1).mean(1), 1.0, COLOUR_LEVELS)
        stays = np.arange(len(facts)) < len(deleted)
        for place, one in enumerate(ranked, len(deleted)):
            bits = (64 - signs[:place] @ signs[place]) / 2
            near = np.flatnonzero(stays[:place] & (bits <= self.plan.alike_bits))
            near = near[np.sqrt(((fields[near] - fields[place]) ** 2).mean((1, 2))) <= limits[place]]
            stays[place] = not near.size
            if near.size:
                first = near[bits[near].argmin()]
                why = f"like {names[first]} ({bits[first]:.0f} of 64 bits differ)"
                self._leave(one.path, "duplicate", why, facts=facts[place])
        kept = {one.sha256 for one, stay in zip(ranked, stays[len(deleted) :], strict=True) if stay}
        return [one for one in candidates if one.sha256 in kept]

    def _write(self, manifest: Manifest) -> None:
        write_whole(self.out / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))

    def _name(self, path: Path) -> str:
        return _shown(path.relative_to(self.folder).as_posix())

    def _leave(self, path: Path, kind: Kind, why: str, *, facts: Facts | None = None) -> None:
        self.left_out.append(LeftOut(source=self._name(path), kind=kind, why=_shown(why), facts=facts))

    def _refused(self) -> Refused:
        """No picture is left."""
        what = "is empty"
        if left_out := sorted(self.left_out, key=lambda one: one.source):
            counts = sorted(Counter(one.kind for one in left_out).items())
            kinds = ", ".join(f"{count} {kind}" for kind, count in counts)
            what = f"none of its {_counted(len(left_out), 'file')} can be used ({kinds})"
        examples = "; ".join(f"{one.source}: {one.why}" for one in left_out[:NAMED])
        return Refused(f"{self.folder}: {what}; expected pictures, such as .jpg, .png or .webp. {examples}".rstrip())

    def _tried(self, work: Callable[[Source], Result], sources: Sequence[Source], *, saying: str) -> list[Result]:
        """`work` of each, in their order, by threads; what is unusable is left out.

        What else one raises ends it; threads that are at work are waited for.
        """

        def tried(source: Source) -> Result | None:
            try:
                return work(source)
            except Unusable as error:
                return self._leave(source.path, error.kind, error.why)

        pool = ThreadPoolExecutor(WORKERS)
        shown = self.console is not None and self.console.is_terminal
        try:
            with Progress(console=self.console, transient=True, disable=not shown) as progress:
                results = list(progress.track(pool.map(tried, sources), total=len(sources), description=saying))
        finally:
            pool.shutdown(cancel_futures=True)
        return [result for result in results if result is not None]


def _report(manifest: Manifest, out: Path, announce: Callable[[str], None]) -> None:
    """Say what has become of the folder."""
    for kind in sorted({one.kind for one in manifest.left_out}):
        lines = [f"{one.source}: {one.why}" for one in manifest.left_out if one.kind == kind]
        announce(f"left out {len(lines)}: {kind}")
        for line in _few(lines):
            announce(f"         {line}")
    if manifest.deleted:
        deleted = _counted(len(manifest.deleted), "picture")
        announce(f"deleted  {deleted} that somebody deleted from the set; --restore brings them back")
    pictures = manifest.pictures
    held_out = sum(one.file.startswith(HELD_OUT) for one in pictures)
    training = len(pictures) - held_out
    kept, files = _counted(len(pictures), "picture"), _counted(manifest.files, "file")
    is_few = manifest.held_out and not held_out and len(pictures) < FEWEST_HELD_OUT_OF
    why = f", for there are fewer than {FEWEST_HELD_OUT_OF}" if is_few else ""
    announce(f"kept     {kept} of {files}: {training} to learn from, {held_out} held out{why}")
    if pictures:
        sides = np.sort([(one.width_px, one.height_px) for one in pictures], axis=1)  # the shorter, the longer
        small = int((sides[:, int(manifest.square == "pad")] < manifest.size_px).sum())
        enlarged = f"; {_counted(small, 'picture')} smaller than {manifest.size_px} px enlarged" if small else ""
        shorter = sides[:, 0]
        announce(
            f"sources  shorter side {shorter.min()} to {shorter.max()} px, median {np.median(shorter):.0f}{enlarged}"
        )
    announce(f"licence  {manifest.licence}")
    announce(f"sheet    {out / SHEET}: look at it, and delete from {out / TRAINING} what you do not like")
    announce(f"set      {out}: its {MANIFEST} lists every picture, and what was left out")
    if training < FEW:
        announce(f"note     training wants more: some hundreds of pictures, and this set has {training} to learn from")


def _changes(old: Manifest, new: Manifest) -> str:
    """What differs in how squares are made, in words."""
    names = [name for name in ("size_px", "square", "background", "alpha") if getattr(old, name) != getattr(new, name)]
    changes = [f"--{name.removesuffix('_px')} was {getattr(old, name)} and is {getattr(new, name)}" for name in names]
    return " and ".join(changes) or "squares are made in a new way"


def _share(held_out: float, count: int) -> float:
    """The part of so many pictures that is held out."""
    return held_out if count >= FEWEST_HELD_OUT_OF else 0.0


def _file_of(sha256: str) -> str:
    """The name of the square of a source: it stays the same whatever joins the folder."""
    return f"{sha256[:NAME_DIGITS]}.png"


def _shown(text: str) -> str:
    """Text that terminals and JSON can carry: what is no letter in it is written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _few(lines: Sequence[str]) -> Iterator[str]:
    """The first of them, and how many more there are."""
    yield from lines[:NAMED]
    if len(lines) > NAMED:
        yield f"and {len(lines) - NAMED} more"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
