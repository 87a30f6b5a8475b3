"""A folder of pictures becomes a set: squares of one size that training reads, each named by its source's content.

The order of work. Every file is looked at: what it is, its size, its sha256. Pictures that are new are made into
squares in `unfinished/`; each square carries in its PNG what is known of its source, so that after an interruption it
is not made again. Then it is decided which of them belong to the set, for only then are all known that may be alike.
Last they are moved into their places, and set.json is written. Whatever is interrupted, a file under its whole name is
whole, and a set that was finished stays as it was until the last step.

This is the whole life of a set, and longer than a module should be: how a picture is read stands at its end.

Thread: main, before any training; files are looked at and pictures made by threads of its own.
Owns: the folder of the set. The folder of the pictures is only read.
"""

import contextlib
import functools
import hashlib
import io
import math
import os
import re
import stat
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, ImageCms
from PIL import Image as Pillow
from rich.console import Console
from rich.progress import Progress

from performer import __version__
from performer.refusal import Refused
from performer.training import sheet as sheets
from performer.training.sheet import U8, Colour

SCHEMA = 1
MANIFEST = "set.json"
PICTURES, HELD_OUT, UNFINISHED = "pictures", "held-out", "unfinished"  # folders of a set
SHEET, SHEET_MOST, SHEET_COLUMNS, SHEET_PX = "sheet.png", 100, 10, 128
NAME_DIGITS = 12  # of the source's sha256, in the name of its square
CHUNK = "performer"  # the text in a square's PNG that says what is known of its source
UNKNOWN_LICENCE = "unknown: ask whoever made the pictures before you show or share what has learnt from them"
SEE = "see "  # the texts that lie with the pictures
TEXTS = re.compile(r"(sources|licen[cs]e|copying)(\.(md|txt))?", re.IGNORECASE)

LEAST_PX, MOST_PX = 32, 1024
MOST_PIXELS = 400_000_000  # of a source: 1.6 GB while it is read, unless it is a JPEG
LARGE_PIXELS = 50_000_000  # of these, one is read at a time
MOST_ALIKE_BITS = 16
MOST_HELD_OUT = 0.5
FEW = 100  # training wants more
BLANK_LEVELS = 1.0  # standard deviation, of 255, of a picture without content
NAMED = 5  # left-out files of a kind that are named on the terminal
RECIPE = 1  # counts up where squares come out otherwise than before

# Two pictures are the same where their hashes differ in few bits, and their colours agree too. The hash alone sees
# shapes in grey: among 2360 moths that all sit in the same pose, 900 pairs differ in 4 bits or fewer, and 11 of them
# are the same animal. Of those the colours differ by 3.0 levels at most, of others by 4.0 or more; pictures made
# smaller and saved as JPEG of quality 30 stay within 3.2. The second limit is for pale pictures, all of whose
# colours are near to each other: it is a part of the picture's own contrast.
COLOURS = 8  # a picture's colours are the means of 8 by 8 fields
COLOUR_LEVELS, COLOUR_SHARE = 3.5, 0.15

HASH_PX = 32  # the side of what the hash is taken of
GAP = 3.0  # how many times the wanted size a picture has at least, when it comes to be resampled
BORDER_PX = 2
OPAQUE = 250  # of 255: from here on a pixel's colour was meant to be seen
TURNS = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}  # by the orientation that EXIF gives
SIDEWAYS = {TURNS[5], TURNS[6], TURNS[7], TURNS[8]}

WORKERS = min(os.cpu_count() or 1, 8)
_LARGE = threading.Lock()
# How many bits are set in each number of 16 bits. Numpy has a function for it only since version 2.
_BITS = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2), axis=1).sum(1, dtype=np.intp)
NO_PICTURES = {".eps", ".ps", ".ai", ".pdf", ".svg", ".wmf", ".emf", ".mp4", ".mov", ".avi", ".mkv"}
NO_PICTURES |= {".heic", ".heif", ".raw", ".cr2", ".cr3", ".nef", ".arw"}
# Not opened, though Pillow knows them: it would start other programs, or cannot read them by itself.
FOREIGN_FORMATS = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}

Kind = Literal["unreadable", "no picture", "prepared set", "broken", "too large", "too small", "blank", "duplicate"]
Item = TypeVar("Item")
Result = TypeVar("Result")


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a source shows of itself once it has been read."""

    source_sha256: str
    phash: str  # 64 bits in hex: the signs of its coarsest waves
    colours: bytes  # u8 [8, 8, 3], sRGB: the means of its fields
    width_px: int  # of the source, upright
    height_px: int


class Picture(Facts, frozen=True, kw_only=True):
    """A square of the set, and its source."""

    file: str  # in the set: pictures/… or held-out/…
    source: str  # in the folder of the pictures


class Deleted(Facts, frozen=True, kw_only=True):
    """A picture whose square somebody has deleted from the set. It stays out, and so does what is like it."""

    source: str


class LeftOut(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file of the folder that is not in the set, and why."""

    source: str
    kind: Kind
    why: str
    facts: Facts | None = None  # of a duplicate, so that it need not be read again


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a set, held-out pictures included."""

    files: int = 0  # that were looked at
    kept: int = 0
    held_out: int = 0
    deleted: int = 0
    left_out: dict[str, int] = {}  # by kind
    mean_colour: str = ""  # of the sources, without what they were padded with
    least_side_px: int = 0  # the shorter side of the sources: the least, the median, the greatest
    median_side_px: int = 0
    greatest_side_px: int = 0
    enlarged: int = 0  # that were smaller than their squares
    nearest_bits: int = 0  # by which half of the pictures' hashes differ, or fewer, from the one most like them


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """set.json."""

    schema: int = SCHEMA
    finished: bool  # else it was interrupted, and pictures may be missing
    name: str
    size_px: int
    square: Literal["crop", "pad"]
    background: str  # keep, auto or #rrggbb
    alpha: Literal["lay", "ignore"]
    least_px: int
    alike_bits: int
    held_out: float  # 0 to 1
    licence: str
    origin: str
    texts: list[str]  # SOURCES.md and such, which lay with the pictures and have been copied
    made_with: str
    recipe: int
    statistics: Statistics
    pictures: list[Picture]  # in the order of their sources
    left_out: list[LeftOut]
    deleted: list[Deleted]

    @property
    def method(self) -> str:
        """How squares are made; where two sets agree in it, the same source gives the same square."""
        return f"{self.recipe} {self.size_px} {self.square} {self.background} {self.alpha}"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A file that is a picture by its header."""

    path: Path
    name: str
    sha256: str
    sides_px: tuple[int, int]
    size_bytes: int


class _Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the PNG of a square."""

    method: str
    facts: Facts


def prepare(options: DatasetOptions, *, announce: Callable[[str], None], console: Console | None = None) -> Path:
    """Make a set of a folder of pictures, or bring one up to date; the folder of the set.

    A terminal in `console` gets a bar of progress. Interrupted, it leaves what it has made, and goes on from there the
    next time. Raises Refused where there is nothing to make a set of, or nowhere to write it.
    """
    folder, out, old = _checked(options)
    plan = _planned(options, folder=folder, old=old)
    paths, left_out, texts = _walk(folder, out=out)
    if not paths and not left_out:
        raise Refused(f"{folder}: is empty; expected pictures, such as .jpg, .png or .webp, in it or in its folders")
    making = _Making(plan=plan, folder=folder, out=out, old=old, announce=announce, console=console)
    announce(f"looking at {_files(len(paths))} in {folder}")
    with _patient_pillow():
        looks = making.in_threads(making.look, paths, saying="looking")
        seen = [look for look in looks if isinstance(look, _Seen)]
        left_out += [look for look in looks if isinstance(look, LeftOut)]
        if not seen:
            raise Refused(_nothing(folder, left_out))
        try:
            manifest = making.make(seen, left_out, texts=texts, restore=options.restore)
        except OSError as error:  # reading is guarded by itself, so this is writing
            megabytes = max(1, len(seen) * plan.size_px**2 * 2 // 1_000_000)
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


def hash_of(
    picture: U8,  # [32, 32, 3], sRGB: a whole picture, whatever its shape
) -> int:
    """The perceptual hash, 64 bits: for each of its 8 by 8 coarsest cosine waves, whether it is above the median."""
    grey = picture @ np.array([0.299, 0.587, 0.114])
    side = grey.shape[0]
    waves = np.cos(np.pi / side * np.outer(np.arange(8), np.arange(side) + 0.5))
    strength = (waves @ grey @ waves.T).ravel()
    # The mean grey, the first, would say nothing: it takes no part in the median.
    return int.from_bytes(np.packbits(strength > np.median(strength[1:])).tobytes(), "big")


def _checked(options: DatasetOptions) -> tuple[Path, Path, Manifest | None]:
    """The folder, where the set goes, and the set that is there already. Raises Refused."""
    folder, size_px = options.folder, options.size_px
    if not LEAST_PX <= size_px <= MOST_PX or size_px & (size_px - 1):
        sizes = ", ".join(str(LEAST_PX << step) for step in range(int(math.log2(MOST_PX // LEAST_PX)) + 1))
        raise Refused(f"--size {size_px}: expected one of {sizes}")
    if options.background not in ("keep", "auto") and not re.fullmatch("#[0-9a-fA-F]{6}", options.background):
        raise Refused(f"--background {options.background}: expected keep, auto, or a colour such as #f6f1e6")
    if options.least_px is not None and options.least_px < 1:
        raise Refused(f"--least {options.least_px}: expected 1 or more pixels")
    if not 0 <= options.alike_bits <= MOST_ALIKE_BITS:
        raise Refused(f"--alike {options.alike_bits}: expected 0 to {MOST_ALIKE_BITS} of 64 bits")
    if not 0 <= options.held_out <= MOST_HELD_OUT:
        raise Refused(f"--held-out {options.held_out:g}: expected 0 (none) to {MOST_HELD_OUT:g} of the pictures")
    out = options.out or Path(f"{folder.resolve().name}-set")
    try:
        if not folder.exists():
            raise Refused(f"{folder}: is not there; expected a folder of pictures")
        if not folder.is_dir():
            raise Refused(f"{folder}: is a file; expected a folder of pictures")
        if _is_set(folder):
            raise Refused(f"{folder}: is a set already; expected the pictures that a set is made of")
        if out.resolve() == folder.resolve() or out.resolve() in folder.resolve().parents:
            raise Refused(f"--out {out}: the pictures lie in it; expected a folder for the set alone; choose another")
        if out.exists() and not out.is_dir():
            raise Refused(f"--out {out}: is a file; expected a new folder, or a set to go on with")
        if (out / MANIFEST).exists():
            return folder, out, load(out)
        if out.exists() and any(not path.name.startswith(".") for path in out.iterdir()):
            raise Refused(f"--out {out}: holds other things; expected a new folder, or a set to go on with")
    except OSError as error:
        raise Refused(
            f"{error.filename}: cannot be read ({error.strerror or error}); expected a folder of yours"
        ) from None
    return folder, out, None


def _is_set(folder: Path) -> bool:
    # Not Path.is_file, which raises where one may not look.
    return os.path.isfile(folder / MANIFEST) and os.path.isdir(folder / PICTURES)


def _planned(options: DatasetOptions, *, folder: Path, old: Manifest | None) -> Manifest:
    """A manifest without pictures, of what is asked for; what is not said stays as it was."""
    return Manifest(
        finished=False,
        name=options.name or (old.name if old else _shown(folder.resolve().name)),
        size_px=options.size_px,
        square=options.square,
        background=options.background.lower(),
        alpha=options.alpha,
        least_px=options.size_px // 2 if options.least_px is None else options.least_px,
        alike_bits=options.alike_bits,
        held_out=options.held_out,
        licence=options.licence or (old.licence if old and not _is_derived(old.licence) else ""),
        origin=options.origin or (old.origin if old else ""),
        texts=[],
        made_with=f"performer {__version__} dataset",
        recipe=RECIPE,
        statistics=Statistics(),
        pictures=[],
        left_out=[],
        deleted=[],
    )


def _is_derived(licence: str) -> bool:
    """Whether nobody has said these terms: then they follow the texts that lie with the pictures."""
    return licence == UNKNOWN_LICENCE or licence.startswith(SEE)


def _walk(folder: Path, *, out: Path) -> tuple[list[Path], list[LeftOut], list[Path]]:
    """All files below the folder in the order of their names, what cannot be looked at, and the texts that go along.

    Names that begin with a dot are passed over: they are programs' own. Links to folders are not followed, for they may
    lead in circles.
    """
    paths: list[Path] = []
    left_out: list[LeftOut] = []
    texts: list[Path] = []
    out = out.resolve()

    def cannot(error: OSError) -> None:
        left_out.append(_left(Path(error.filename), folder, "unreadable", f"cannot be read: {error.strerror}"))

    for parent, folders, files in os.walk(folder, onerror=cannot):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in list(folders):
            path = Path(parent, name)
            if path.is_symlink():
                left_out.append(_left(path, folder, "unreadable", "a link to a folder; links are not followed"))
            elif path.resolve() == out:
                pass  # it must not feed on itself
            elif _is_set(path):
                left_out.append(_left(path, folder, "prepared set", "a set, which has been made of other pictures"))
            else:
                continue
            folders.remove(name)
        for name in files:
            path = Path(parent, name)
            if path.parent == folder and TEXTS.fullmatch(name):
                texts.append(path)
            elif not name.startswith("."):
                paths.append(path)
    return sorted(paths, key=lambda path: path.relative_to(folder).as_posix()), left_out, sorted(texts)


def _no_picture(path: Path, folder: Path, error: Exception) -> LeftOut:
    """Why a file is not opened: it is none, of a kind that cannot be read, or it was one once."""
    suffix = path.suffix.lower()
    if suffix in NO_PICTURES:
        return _left(path, folder, "no picture", f"{suffix} files cannot be read here; save it as .png or .jpg")
    if suffix in Pillow.registered_extensions():
        unknown = isinstance(error, Pillow.UnidentifiedImageError)
        return _left(path, folder, "broken", "nothing in it is a picture" if unknown else f"cannot be read: {error}")
    return _left(path, folder, "no picture", "nothing in it is a picture")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Making:
    """One run over a folder."""

    plan: Manifest  # without pictures
    folder: Path
    out: Path
    old: Manifest | None
    announce: Callable[[str], None]
    console: Console | None

    @property
    def places(self) -> dict[str, Path]:
        """The folders in which squares stand; where a square stands in two, the first is the newer."""
        return {name: self.out / name for name in (UNFINISHED, PICTURES, HELD_OUT)}

    def look(self, path: Path) -> _Seen | LeftOut:
        """What a file is, by its header and its size; pixels are not read. Never raises. Thread: any."""
        folder = self.folder
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # a pipe would make us wait for ever
                return _left(path, folder, "no picture", "not an ordinary file")
            with path.open("rb") as file:
                try:
                    with Pillow.open(file, formats=_formats()) as image:
                        sides = image.size
                except Exception as error:  # readers of pictures raise anything
                    return _no_picture(path, folder, error)
                text = f"{sides[0]}x{sides[1]} px"
                if sides[0] * sides[1] > MOST_PIXELS:
                    most = f"{text}; {MOST_PIXELS // 1_000_000} million pixels are the most: make it smaller"
                    return _left(path, folder, "too large", most)
                if min(sides) < self.plan.least_px:
                    least = f"{text}; {self.plan.least_px} px are the least for the shorter side (--least)"
                    return _left(path, folder, "too small", least)
                file.seek(0)
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return _left(path, folder, "unreadable", "a link that leads nowhere" if path.is_symlink() else "has gone")
        except OSError as error:
            return _left(path, folder, "unreadable", f"cannot be read: {error.strerror or error}")
        return _Seen(path=path, name=_name(path, folder), sha256=sha256, sides_px=sides, size_bytes=status.st_size)

    def make(
        self,
        seen: Sequence[_Seen],  # in the order of their names
        left_out: Sequence[LeftOut],
        *,
        texts: Sequence[Path],
        restore: bool,
    ) -> Manifest:
        """Make squares, decide which belong to the set, put them in their places; the finished manifest.

        Raises OSError where something cannot be written, and Refused where no picture is left.
        """
        plan, old = self.plan, self.old
        left_out = list(left_out)
        files = len(seen) + len(left_out)
        sources: dict[str, _Seen] = {}
        for one in seen:
            first = sources.setdefault(one.sha256, one)
            if first is not one:
                left_out.append(LeftOut(source=one.name, kind="duplicate", why=f"the same file as {first.name}"))
        deleted = [] if restore else self._deleted()
        for one in deleted:
            sources.pop(one.source_sha256, None)
        known, squared = self._known()
        if old is not None and old.pictures and old.method != plan.method:
            self.announce(f"{_changes(old, plan)}: all {len(old.pictures)} pictures are made anew")
        elif before := len(squared & sources.keys()):
            self.announce(f"{before} of {len(sources)} pictures have been made before")

        for place in self.places.values():
            place.mkdir(parents=True, exist_ok=True)
        if old is None:  # so that after an interruption this folder is known as a set
            self._write(plan)
        fresh, failed = self._squares([one for sha256, one in sources.items() if sha256 not in known])
        known |= fresh
        squared |= fresh.keys()
        left_out += failed
        candidates = [one for sha256, one in sources.items() if sha256 in known]
        settled = {one.source_sha256 for one in old.pictures} if old is not None else set[str]()
        kept, alike = _chosen(candidates, known, deleted=deleted, settled=settled, alike_bits=plan.alike_bits)
        left_out += alike
        # What was a duplicate the last time is known, but has no square; now it may be wanted.
        _, failed = self._squares([one for one in kept if one.sha256 not in squared])
        left_out += failed
        kept = [one for one in kept if one.name not in {failure.source for failure in failed}]
        if not kept and not deleted:
            if old is None:
                self._remove()
            raise Refused(_nothing(self.folder, left_out))

        # Until all are in their places this is the set as it was, but unfinished: what is missing was not deleted then.
        if old is not None:
            self._write(msgspec.structs.replace(old, finished=False, deleted=deleted))
        pictures = self._placed(kept, known)
        copied = self._copied(texts)
        self._write_sheet(pictures)
        left_out.sort(key=lambda one: one.source)
        manifest = msgspec.structs.replace(
            plan,
            finished=True,
            licence=plan.licence or (SEE + ", ".join(copied) if copied else UNKNOWN_LICENCE),
            texts=copied,
            statistics=_statistics(pictures, left_out, deleted, files=files, plan=plan),
            pictures=pictures,
            left_out=left_out,
            deleted=deleted,
        )
        self._write(manifest)
        for path in self.places[UNFINISHED].iterdir():
            path.unlink()
        self.places[UNFINISHED].rmdir()
        return manifest

    def _deleted(self) -> list[Deleted]:
        """What somebody has deleted from the set, and has not put back."""
        if self.old is None:
            return []
        missing = self.old.pictures if self.old.finished else []
        fields = Deleted.__struct_fields__
        found = [*self.old.deleted, *(Deleted(**{key: getattr(one, key) for key in fields}) for one in missing)]
        there = {path.name for name in (PICTURES, HELD_OUT) for path in self.places[name].glob("*.png")}
        return [one for one in found if _file_of(one.source_sha256) not in there]

    def _known(self) -> tuple[dict[str, Facts], set[str]]:
        """What is known of sources by their sha256, and those that have a square, all made as it is planned now."""
        known: dict[str, Facts] = {}
        squared: set[str] = set()
        old = self.old
        listed: dict[str, Facts] = {}
        if old is not None and old.method == self.plan.method:
            listed = {_file_of(one.source_sha256): _facts_of(one) for one in old.pictures}
            known = {one.facts.source_sha256: one.facts for one in old.left_out if one.facts is not None}
        for name, place in self.places.items():
            for path in place.glob("*.png"):
                chunk = _chunk_of(path)
                # A square that somebody has worked on in another program has lost its chunk, and is still this set's.
                facts = listed.get(path.name) if chunk is None else chunk.facts
                if facts is None or path.name != _file_of(facts.source_sha256):
                    continue
                if chunk is None or chunk.method == self.plan.method:
                    known[facts.source_sha256] = facts
                    squared.add(facts.source_sha256)
                elif name == UNFINISHED:
                    path.unlink()
        return known, squared

    def _squares(self, sources: Sequence[_Seen]) -> tuple[dict[str, Facts], list[LeftOut]]:
        """Make the squares of sources into `unfinished/`; what is known of them, and what could not be read."""
        if sources:
            self.announce(f"making squares of {self.plan.size_px} px of {_pictures(len(sources))}")
        facts: dict[str, Facts] = {}
        left_out: list[LeftOut] = []
        remarks: list[str] = []
        try:
            for source, result in zip(sources, self.in_threads(self._square, sources, saying="squares"), strict=True):
                if isinstance(result, LeftOut):
                    left_out.append(result)
                    continue
                facts[source.sha256], remark = result
                remarks += [f"{source.name}: {remark}"] if remark else []
        except KeyboardInterrupt:
            made = len(list(self.places[UNFINISHED].glob("*.png")))
            self.announce(f"interrupted; {_pictures(made)} made: run it again, and it goes on from there")
            raise
        for remark in remarks[:NAMED]:
            self.announce(f"note     {remark}")
        if len(remarks) > NAMED:
            self.announce(f"note     and so are {len(remarks) - NAMED} more")
        return facts, left_out

    def _square(self, source: _Seen) -> tuple[Facts, str] | LeftOut:
        """Make one square; what is known of its source, with a remark or none. Raises OSError. Thread: any."""
        try:
            square, facts, remark = _developed(source, self.plan)
        except MemoryError:
            return _left(source.path, self.folder, "too large", "there is not enough memory for it")
        except Exception as error:  # readers of pictures raise anything
            return _left(source.path, self.folder, "broken", f"breaks off, or is damaged ({error})")
        if facts is None:
            return _left(source.path, self.folder, "blank", "one colour, without content")
        chunk = _Chunk(method=self.plan.method, facts=facts)
        content = sheets.png(square, texts={CHUNK: msgspec.json.encode(chunk).decode()})
        sheets.write(self.places[UNFINISHED] / _file_of(source.sha256), content)
        return facts, remark

    def _placed(self, kept: Sequence[_Seen], known: dict[str, Facts]) -> list[Picture]:
        """Move squares to where they belong, and away what no longer belongs to the set."""
        old, places = self.old, self.places
        names = {_file_of(one.sha256) for one in kept}
        leaving = {_file_of(one.source_sha256) for one in old.pictures} - names if old is not None else set[str]()
        gone = [place / name for name in leaving for place in places.values() if (place / name).exists()]
        for path in gone:
            path.unlink()
        if gone:
            self.announce(f"note     {_pictures(len(gone))} left the set: the sources are gone, or are left out now")
        pictures = []
        for one in kept:
            name = _file_of(one.sha256)
            stands = [place for place in places if (places[place] / name).exists()]
            goes = HELD_OUT if _is_held_out(one.sha256, self.plan.held_out) else PICTURES
            settled = [place for place in stands if place != UNFINISHED]
            if len(settled) == 1 and old is not None and old.finished and old.held_out == self.plan.held_out:
                goes = settled[0]  # somebody may have moved it by hand
            (places[stands[0]] / name).replace(places[goes] / name)
            for place in stands[1:]:
                if place != goes:
                    (places[place] / name).unlink()
            facts = known[one.sha256]
            fields = {key: getattr(facts, key) for key in Facts.__struct_fields__}
            pictures.append(Picture(**fields, file=f"{goes}/{name}", source=one.name))
        strangers = sum(path.name not in names for place in (PICTURES, HELD_OUT) for path in places[place].iterdir())
        if strangers:
            self.announce(f"note     {_files(strangers)} in the set that it has not made: left alone")
        return pictures

    def _copied(self, texts: Sequence[Path]) -> list[str]:
        """Copy the texts about sources and terms into the set, so that they travel with it; their names."""
        copied = []
        for path in texts:
            try:
                content = path.read_bytes()
            except OSError as error:
                self.announce(f"note     {_name(path, self.folder)}: cannot be read ({error.strerror or error})")
                continue
            sheets.write(self.out / path.name, content)
            copied.append(path.name)
        return copied

    def _write_sheet(self, pictures: Sequence[Picture]) -> None:
        """Draw the contact sheet: of many pictures those with the lowest sha256, so that most stay from run to run."""
        training = sorted(Path(one.file) for one in pictures if Path(one.file).parent.name == PICTURES)
        shown: list[U8] = []
        for file in training[:SHEET_MOST]:
            with contextlib.suppress(OSError):  # somebody's own work on a square may have spoilt it
                shown.append(sheets.opened(self.out / file, px=SHEET_PX))
        columns = min(SHEET_COLUMNS, sheets.columns_for(len(shown)))
        sheets.write(self.out / SHEET, sheets.png(sheets.sheet(shown, columns=columns, px=SHEET_PX, gap_px=2)))

    def _write(self, manifest: Manifest) -> None:
        content = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        sheets.write(self.out / MANIFEST, content)

    def _remove(self) -> None:
        """Take away a set that has got no picture."""
        for place in self.places.values():
            place.rmdir()
        (self.out / MANIFEST).unlink()
        with contextlib.suppress(OSError):  # there may be hidden files of other programs
            self.out.rmdir()

    def in_threads(self, work: Callable[[Item], Result], items: Sequence[Item], *, saying: str) -> list[Result]:
        """`work` of each item, in the items' order. What one raises ends it; threads that are at work are waited for."""
        pool = ThreadPoolExecutor(WORKERS)
        shown = self.console is not None and self.console.is_terminal
        try:
            futures = [pool.submit(work, item) for item in items]
            with Progress(console=self.console, transient=True, disable=not shown) as progress:
                return [future.result() for future in progress.track(futures, description=saying)]
        finally:
            pool.shutdown(cancel_futures=True)


def _chosen(
    candidates: Sequence[_Seen],  # in the order of their names
    known: Mapping[str, Facts],
    *,
    deleted: Sequence[Deleted],
    settled: Set[str],  # sha256 of those that are in the set already
    alike_bits: int,
) -> tuple[list[_Seen], list[LeftOut]]:
    """Those that are unlike each other and unlike what was deleted, in the same order; and the others.

    Of pictures that are alike the one that is in the set already stays, so that a set does not change under a training;
    else the largest in pixels, then in bytes, for the others have been made from it.
    """
    if not alike_bits:
        return list(candidates), []

    def rank(one: _Seen) -> tuple[bool, int, int]:
        return one.sha256 not in settled, -math.prod(one.sides_px), -one.size_bytes

    hashes = np.empty(len(deleted) + len(candidates), np.uint64)
    colours = np.empty((len(hashes), COLOURS * COLOURS, 3), np.float32)
    names: list[str] = []

    def claim(facts: Facts, name: str) -> None:
        hashes[len(names)] = int(facts.phash, 16)
        colours[len(names)] = _fields(facts)
        names.append(name)

    for one in deleted:
        claim(one, f"{one.source}, which was deleted from the set")
    left_out: dict[str, LeftOut] = {}
    for one in sorted(candidates, key=rank):
        facts = known[one.sha256]
        count = len(names)
        bits = _differing(hashes[:count], int(facts.phash, 16))
        near = np.flatnonzero(bits <= alike_bits)
        fields = _fields(facts)
        levels = np.sqrt(((colours[near] - fields) ** 2).mean((1, 2)))
        near = near[levels <= min(COLOUR_LEVELS, max(1.0, COLOUR_SHARE * float(fields.std(0).mean())))]
        if near.size:
            first = near[bits[near].argmin()]
            why = f"like {names[first]} ({bits[first]} of 64 bits differ)"
            left_out[one.sha256] = LeftOut(source=one.name, kind="duplicate", why=why, facts=facts)
        else:
            claim(facts, one.name)
    return [one for one in candidates if one.sha256 not in left_out], list(left_out.values())


def _fields(facts: Facts) -> npt.NDArray[np.float32]:
    """The colours of its fields: f32 [64, 3], 0 to 255."""
    return np.frombuffer(facts.colours, np.uint8).reshape(-1, 3).astype(np.float32)


def _differing(hashes: npt.NDArray[np.uint64], other: int) -> npt.NDArray[np.intp]:
    """In how many of 64 bits each differs from another: [n]."""
    halves = (hashes ^ np.uint64(other)).view(np.uint16).reshape(-1, 4)
    return _BITS[halves].sum(1)


def _statistics(
    pictures: Sequence[Picture],
    left_out: Sequence[LeftOut],
    deleted: Sequence[Deleted],
    *,
    files: int,
    plan: Manifest,
) -> Statistics:
    counts = dict(sorted(Counter(one.kind for one in left_out).items()))
    if not pictures:
        return Statistics(files=files, deleted=len(deleted), left_out=counts)
    mean = np.mean([_fields(one).mean(0) for one in pictures], axis=0)
    shorter = np.array([min(one.width_px, one.height_px) for one in pictures])
    longer = np.array([max(one.width_px, one.height_px) for one in pictures])
    hashes = np.array([int(one.phash, 16) for one in pictures], np.uint64)
    sample = hashes[:: math.ceil(len(hashes) / 1000)]  # of a large set a thousand tell: each is compared with all
    nearest = [np.partition(_differing(hashes, int(value)), 1)[1] for value in sample] if len(hashes) > 1 else [0]
    return Statistics(
        files=files,
        kept=len(pictures),
        held_out=sum(one.file.startswith(HELD_OUT) for one in pictures),
        deleted=len(deleted),
        left_out=counts,
        mean_colour="#" + "".join(f"{round(float(value)):02x}" for value in mean),
        least_side_px=int(shorter.min()),
        median_side_px=int(np.median(shorter)),
        greatest_side_px=int(shorter.max()),
        enlarged=int(((longer if plan.square == "pad" else shorter) < plan.size_px).sum()),
        nearest_bits=int(np.median(nearest)),
    )


def _report(manifest: Manifest, out: Path, announce: Callable[[str], None]) -> None:
    """Say what has become of the folder."""
    figures = manifest.statistics
    for kind, count in figures.left_out.items():
        announce(f"left out {count}: {kind}")
        of_kind = [one for one in manifest.left_out if one.kind == kind]
        for one in of_kind[:NAMED]:
            announce(f"         {one.source}: {one.why}")
        if count > NAMED:
            announce(f"         and {count - NAMED} more, listed in {MANIFEST}")
    if figures.deleted:
        announce(
            f"deleted  {_pictures(figures.deleted)} that somebody deleted from the set; --restore brings them back"
        )
    training = figures.kept - figures.held_out
    shares = f"{training} to learn from, {figures.held_out} held out"
    announce(f"kept     {_pictures(figures.kept)} of {_files(figures.files)}: {shares}")
    if figures.kept:
        sides = f"{figures.least_side_px} to {figures.greatest_side_px} px, median {figures.median_side_px}"
        enlarged = f"; {figures.enlarged} are smaller than {manifest.size_px} px and have been enlarged"
        announce(f"sources  shorter side {sides}{enlarged if figures.enlarged else ''}")
        announce(f"colour   {figures.mean_colour} on average")
    if figures.kept > 1:
        announce(
            f"alike    half of them differ in {figures.nearest_bits} of 64 bits, or fewer, from the one most like them"
        )
    announce(f"licence  {manifest.licence}")
    announce(f"sheet    {out / SHEET}: look at it, and delete from {out / PICTURES} what you do not like")
    announce(f"set      {out}")
    if training < FEW:
        announce(f"note     training wants more: some hundreds of pictures, and this set has {training} to learn from")


def _nothing(folder: Path, left_out: Sequence[LeftOut]) -> str:
    """The refusal of a folder from which no picture is left."""
    counts = Counter(one.kind for one in left_out)
    reasons = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    examples = "; ".join(f"{one.source}: {one.why}" for one in left_out[:NAMED])
    return (
        f"{folder}: none of its {_files(len(left_out))} can be used ({reasons}); expected pictures, such as .jpg, .png or "
        f".webp. {examples}"
    )


def _changes(old: Manifest, new: Manifest) -> str:
    """What differs in how squares are made, in words."""
    options = {"size": "size_px", "square": "square", "background": "background", "alpha": "alpha"}
    changes = [
        f"--{option} was {getattr(old, field)} and is {getattr(new, field)}"
        for option, field in options.items()
        if getattr(old, field) != getattr(new, field)
    ]
    return " and ".join(changes) or "squares are made in a new way"


def _file_of(sha256: str) -> str:
    """The name of the square of a source: it stays the same whatever joins the folder."""
    return f"{sha256[:NAME_DIGITS]}.png"


def _is_held_out(sha256: str, share: float) -> bool:
    """Whether a picture is among the held-out ones: by its content, so that every run decides alike."""
    return int(sha256[-8:], 16) < share * 16**8


def _facts_of(picture: Picture) -> Facts:
    return Facts(**{key: getattr(picture, key) for key in Facts.__struct_fields__})


def _chunk_of(path: Path) -> _Chunk | None:
    """What a square's PNG says of itself, or None: somebody else has written it."""
    try:
        with Pillow.open(path, formats=["PNG"]) as image:
            return msgspec.json.decode(image.info.get(CHUNK, ""), type=_Chunk)
    except (OSError, SyntaxError, ValueError, msgspec.DecodeError):
        return None


def _left(path: Path, folder: Path, kind: Kind, why: str) -> LeftOut:
    return LeftOut(source=_name(path, folder), kind=kind, why=_shown(why))


def _name(path: Path, folder: Path) -> str:
    """The path in the folder of the pictures, in letters that can be shown."""
    return _shown(path.relative_to(folder).as_posix())


def _shown(text: str) -> str:
    """Text that terminals and JSON can carry: what is no letter in it is written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _pictures(count: int) -> str:
    return f"{count} picture{'s' * (count != 1)}"


def _files(count: int) -> str:
    return f"{count} file{'s' * (count != 1)}"


# How a picture is read.


@contextlib.contextmanager
def _patient_pillow() -> Iterator[None]:
    """Pillow without its own limit of size, for there is ours, and without its warnings, which name no file."""
    _formats()  # before there are threads
    limit = Pillow.MAX_IMAGE_PIXELS
    Pillow.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        Pillow.MAX_IMAGE_PIXELS = limit


@functools.cache
def _formats() -> list[str]:
    Pillow.init()
    return [name for name in Pillow.ID if name not in FOREIGN_FORMATS]


def _developed(source: _Seen, plan: Manifest) -> tuple[U8, Facts | None, str]:
    """The square of a source, what is known of it (None: it is blank), and a remark or none. Raises anything."""
    with _LARGE if math.prod(source.sides_px) > LARGE_PIXELS else contextlib.nullcontext():
        whole, upright, remark = _read(source.path, plan)
    laid, ground = _laid(whole, plan.background)
    square = _squared(laid, plan, ground)
    if laid.std((0, 1)).max() < BLANK_LEVELS:
        return square, None, remark
    # Of the whole picture, so that squares made otherwise do not hide that two sources are the same.
    small = Pillow.fromarray(laid).resize((HASH_PX, HASH_PX), Pillow.Resampling.LANCZOS, reducing_gap=GAP)
    thumbnail = np.asarray(small)
    facts = Facts(
        source_sha256=source.sha256,
        phash=f"{hash_of(thumbnail):016x}",
        colours=np.asarray(small.reduce(HASH_PX // COLOURS)).tobytes(),
        width_px=upright[0],
        height_px=upright[1],
    )
    return square, facts, remark


def _read(path: Path, plan: Manifest) -> tuple[Pillow.Image, tuple[int, int], str]:
    """A source at its size in the square (crop: beyond it), upright, RGB or RGBA in sRGB; its own size, upright; a remark.

    Lanczos on the sRGB values as they stand: what the programs do that made the pictures, and what trained networks
    expect of theirs. In linear light fine dark lines on white, which is what drawings are, would grow thin and pale.
    A picture that is far too large is first made smaller by whole numbers, to three times the wanted size at least,
    which cannot be told from the straight way and takes a fraction of its time and memory; a JPEG is even decoded so.
    """
    remark = ""
    with Pillow.open(path, formats=_formats()) as image:
        width, height = image.size
        scale = plan.size_px / (max(width, height) if plan.square == "pad" else min(width, height))
        wanted = max(1, round(width * scale)), max(1, round(height * scale))
        box = (0.0, 0.0, float(width), float(height))
        if image.format in ("JPEG", "MPO"):
            drafted = image.draft(None, (math.ceil(wanted[0] * GAP), math.ceil(wanted[1] * GAP)))
            box = drafted[1] if drafted is not None else box
        image.load()
        try:
            turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
        except Exception as error:  # cameras and programs write anything into EXIF
            turn, remark = None, f"its EXIF data is damaged ({error}); taken as it lies"
        profile = image.info.get("icc_profile")
        plain = _plain(image, with_alpha=plan.alpha == "lay")
    factor = int(min(box[2] / wanted[0], box[3] / wanted[1]) / GAP)
    if factor > 1:
        plain = plain.reduce(factor)
        box = (0.0, 0.0, box[2] / factor, box[3] / factor)
    coloured, complaint = _in_srgb(plain, profile)
    whole = coloured.resize(wanted, Pillow.Resampling.LANCZOS, box=box)
    if turn is not None:
        whole = whole.transpose(turn)
        if turn in SIDEWAYS:
            width, height = height, width
    return whole, (width, height), complaint or remark


def _plain(image: Pillow.Image, *, with_alpha: bool) -> Pillow.Image:
    """The picture in 8 bits: L, RGB, CMYK or LAB; LA or RGBA where it has transparent parts and they are asked for."""
    mode = image.mode
    if mode in ("CMYK", "LAB"):
        return image
    if mode in ("I", "F") or mode.startswith("I;16"):
        values = np.asarray(image)
        grey = Pillow.fromarray(_bytes_from_levels(values))
        clear = image.info.get("transparency") if with_alpha else None
        if clear is None:
            return grey
        return Pillow.merge("LA", (grey, Pillow.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))))
    clear = with_alpha and image.has_transparency_data
    grey, colour = ("LA", "RGBA") if clear else ("L", "RGB")
    wanted = grey if mode in ("1", "L", "LA") else colour
    return image if mode == wanted else image.convert(wanted)  # a large one is not copied for nothing


def _bytes_from_levels(
    values: npt.NDArray[Any],  # [H, W], 16 or 32 bits, whole numbers or floats
) -> U8:
    """Grey levels of another depth in 8 bits: u8 [H, W].

    16 bits are scaled from 0 to 65535. What is no 16 bits and is in none of the usual ranges is spread over its own.
    """
    if values.dtype.itemsize == 2:
        return ((values - (values >> 8) + 128) >> 8).astype(np.uint8)  # rounded / 257, without leaving 16 bits
    levels = np.nan_to_num(values.astype(np.float32))
    low, high = float(levels.min()), float(levels.max())
    usual = (1.0, 255.0) if values.dtype.kind == "f" else (65535.0,)
    if low >= 0 and (fitting := [most for most in usual if high <= most]):
        low, high = 0.0, fitting[0]
    return np.rint((levels - low) * (255.0 / max(high - low, 1e-6))).astype(np.uint8)


def _in_srgb(
    image: Pillow.Image,  # L, LA, RGB, RGBA, CMYK or LAB
    profile: bytes | None,  # ICC
) -> tuple[Pillow.Image, str]:
    """RGB or RGBA in sRGB; and a remark where its own profile could not be used and its values are taken as they are."""
    has_alpha = image.mode in ("LA", "RGBA")
    colour = image.convert(image.mode[:-1]) if has_alpha else image
    remark = ""
    if profile or colour.mode == "LAB":
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile) if profile else ImageCms.createProfile("LAB"))
            space: str = own.profile.xcolor_space.strip()  # pyright: ignore[reportAttributeAccessIssue]
            if colour.mode == "L" and space == "RGB":  # many programs leave that in grey files
                colour = colour.convert("RGB")
            converted = ImageCms.profileToProfile(
                colour,
                own,
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            colour = converted or colour
        except (ImageCms.PyCMSError, ImportError, OSError, ValueError) as error:
            remark = f"its colour profile cannot be used ({error}); its colours are taken as they are"
    colour = colour.convert("RGB")
    if has_alpha:
        colour.putalpha(image.getchannel("A"))
    return colour, remark


def _laid(
    whole: Pillow.Image,  # RGB or RGBA
    background: str,
) -> tuple[U8, Colour]:
    """The picture laid on its background: u8 [H, W, 3], and the background's colour.

    Without a colour of its own the background is the median of the picture's border, as far as that is opaque: where
    it is not, the colours below are leftovers that nobody was meant to see. White where no border is opaque.
    """
    pixels = np.asarray(whole)
    if background.startswith("#"):
        red, green, blue = bytes.fromhex(background[1:])
        ground: Colour = (red, green, blue)
    else:
        strips = (pixels[:BORDER_PX], pixels[-BORDER_PX:], pixels[:, :BORDER_PX], pixels[:, -BORDER_PX:])
        border = np.concatenate([strip.reshape(-1, pixels.shape[2]) for strip in strips])
        if whole.mode == "RGBA":
            border = border[border[:, 3] >= OPAQUE]
        red, green, blue = np.median(border[:, :3], axis=0) if len(border) else sheets.WHITE
        ground = (round(red), round(green), round(blue))
    if whole.mode == "RGB":
        return pixels, ground
    alpha = pixels[..., 3:].astype(np.float32) / 255
    return np.rint(pixels[..., :3] * alpha + np.array(ground, np.float32) * (1 - alpha)).astype(np.uint8), ground


def _squared(
    laid: U8,  # [H, W, 3]; crop: the shorter side is the square's, pad: the longer
    plan: Manifest,
    ground: Colour,
) -> U8:
    """The square: u8 [size, size, 3]."""
    height, width = laid.shape[:2]
    top, left = abs(plan.size_px - height) // 2, abs(plan.size_px - width) // 2
    if plan.square == "crop":
        return laid[top : top + plan.size_px, left : left + plan.size_px]
    if plan.background == "keep":
        sides = ((top, plan.size_px - height - top), (left, plan.size_px - width - left), (0, 0))
        return np.pad(laid, sides, mode="edge")
    return sheets.fitted(laid, px=plan.size_px, ground=ground)
