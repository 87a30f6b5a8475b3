"""Measuring a species against the pictures that it was trained on, and against those that it never saw.

Reads a species and a prepared set, draws, and writes a folder: `report.json`, the contact sheets `neighbours.png`,
`samples-0.7.png` and `samples-1.0.png`, and `walk.png`. What is measured stands in `measures.py`, and how it is told in
`verdict.py`. Next to each figure stands the floor: the same figure of the held-out pictures, the best that a species can
reach; and, for distances, that of the held-out pictures blurred, so that one sees how much a number is.

Half of the pictures, real and drawn alike, are mirrored by a coin first: species are mostly trained on mirrored pictures
too, and are not to be blamed for it.

FID as papers print it needs Inception-v3, whose published weights could not be checked here against its published
figures, so it is left out; what stands here as FID and KID is to be compared with itself alone.

Thread: main. On the processor.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from PIL import Image as Pillow
from PIL import ImageFilter
from rich.console import Console
from torch import nn

from performer import __version__
from performer.files import write_whole
from performer.flow import F32, F64, NOISE_MAPS, U8
from performer.generators import checkpoint as species
from performer.generators import family
from performer.generators.checkpoint import Checkpoint
from performer.generators.mapping import Mapping
from performer.generators.network import rgba
from performer.refusal import Refused
from performer.training import lite0, looks, measures, pictures, verdict
from performer.training.looks import Blocks, Eye
from performer.training.sheet import png, sheet
from performer.training.verdict import Figure, Report

VERSION = 1  # of the measures: figures of different versions are not to be compared

LEAST_PICTURES = 16
MATCHED = 400  # pictures on each side of what depends on their number, at most ...
MATCHED_BYTES = 256 << 20  # ... and of how much memory
BATCH_PIXELS = 1 << 20  # that are drawn at once
MOST_BATCH = 16

ANIMALS, WALKS_FROM, WALKS_TO = range(3)  # streams of a seed
WALKS = 3
WALK_PSI = 0.7
WALK_STEP_RAD = np.pi / 2 / 480  # slow: at 40 frames a second 12 s from one animal to the next
SAMPLE_PSIS = (0.7, 1.0)

SHEET_PX, GAP_PX = 128, 4
BAND_GAP_PX = 24
SAMPLE_SIDE = 6  # samples in a row, and rows
NEIGHBOUR_COLUMNS, NEIGHBOUR_BANDS = 8, 3
WALK_STOPS = 12
LEAST_FRAMES = 3
GROUND = (255, 255, 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureOptions:
    """What the command line may say of measuring."""

    species: Path
    folder: Path  # a prepared set
    out: Path | None = None  # the species' name and -measures, in the current folder
    pictures: int = 1000  # to draw, and real ones to look at; LEAST_PICTURES or more
    frames: int = 120  # of each walk; LEAST_FRAMES or more
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Looks:
    """What measures need of a number of pictures."""

    first: U8  # [n, S, S, 3], as many as are compared picture by picture
    blocks: Blocks
    thumbs: F32  # [N, T, T, 3], of all
    standard: F64 | None  # [n, 1280], what Lite0 sees of the first MATCHED or so: it takes most of the time


def measure(options: MeasureOptions, *, announce: Callable[[str], None], console: Console) -> Path:
    """Measure, write the report and the sheets, print the table to `console`; the folder of it all.

    The same species, set, numbers and seed give the same figures on one machine.

    Raises:
        Refused: no such species or set, a set of too few or unequal pictures, a species that draws no squares or no
            finite numbers, `out` is there already.
    """
    out = options.out or Path(f"{options.species.stem}-measures")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Refused(f"--out {out}: is there already, and nothing is overwritten; choose another folder with --out")
    files, unseen_files, size_px, notes = _set(options.folder)
    painter = Painter(species.load(options.species), size_px=size_px, seed=options.seed)
    eyes, missing = _standard()
    notes += missing
    for note in notes:
        announce(f"note     {note}")

    matched = min(len(files), options.pictures, len(unseen_files) or MATCHED, MATCHED)
    matched = max(LEAST_PICTURES, min(matched, MATCHED_BYTES // (3 * size_px**2)))
    announce(
        f"looking at {len(files):,} pictures of the set" + (f", {len(unseen_files):,} held out" if unseen_files else "")
    )
    # The order of the files is that of their names, in which what is alike often stands together.
    random.Random(0).shuffle(files)
    real = _look(_read(files, size_px), measured=min(len(files), options.pictures), kept=matched, eyes=eyes)
    unseen = _look(_read(unseen_files, size_px), kept=matched, eyes=eyes) if unseen_files else None
    blurred = _look(map(_blurred, _read(unseen_files, size_px)), kept=matched, eyes=eyes) if unseen_files else None
    announce(f"drawing {options.pictures:,} pictures")
    drawn = _look(painter.pictures(range(options.pictures), psi=1.0), kept=matched, eyes=eyes)
    announce("comparing")
    eye = Eye.of(real.blocks)
    figures = _distances(real, drawn, unseen, blurred, eye=eye, matched=matched)
    nearest, distances = measures.nearest(drawn.thumbs, real.thumbs)
    figures += _variety(eye.seen(real.blocks), drawn, unseen, eye=eye, matched=matched)
    if unseen is not None:
        figures += _copies(distances, measures.nearest(unseen.thumbs, real.thumbs)[1])
    announce(f"walking {WALKS} times {options.frames} frames")
    walked, stops = _walks(painter, eye, frames=options.frames, apart=measures.mean_distance(eye.seen(real.blocks)))
    figures += walked

    checkpoint = painter.checkpoint
    report = Report(
        measures=VERSION,
        made_with=f"performer {__version__}",
        species=checkpoint.provenance.name,
        species_sha256=checkpoint.content_hash,
        set=str(options.folder),
        size_px=size_px,
        psi=1.0,
        walk_psi=WALK_PSI,
        seed=options.seed,
        drawn=options.pictures,
        real=len(files),
        held_out=len(unseen_files),
        matched=matched,
        frames=options.frames,
        notes=notes,
        figures=figures,
    )
    closest = np.argsort(distances, kind="stable")[: NEIGHBOUR_COLUMNS * NEIGHBOUR_BANDS]
    neighbours = [files[nearest[number]] for number in closest]
    sheets = {
        "neighbours.png": _neighbours(painter.pictures(closest.tolist(), psi=1.0), _read(neighbours, size_px)),
        "walk.png": sheet(stops, columns=WALK_STOPS, px=min(size_px, SHEET_PX), gap_px=GAP_PX, ground=GROUND),
    }
    shown = list(_read(files[: SAMPLE_SIDE**2], size_px))
    samples = range(min(SAMPLE_SIDE**2, options.pictures))
    for psi in SAMPLE_PSIS:
        sheets[f"samples-{psi}.png"] = _samples(painter.pictures(samples, psi=psi), shown)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, picture in sheets.items():
            write_whole(out / name, png(picture))
        write_whole(out / "report.json", msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    except OSError as error:
        raise Refused(f"--out {out}: cannot be written ({error.strerror or error})") from None
    console.print(verdict.tables(report))
    announce(f"measures {out}: report.json, {', '.join(sorted(sheets))}")
    return out


# The set.


def _set(folder: Path) -> tuple[list[Path], list[Path], int, list[str]]:
    """(pictures to learn from, held-out ones, their side in px, what is to be noted). Raises Refused."""
    if not folder.is_dir():
        raise Refused(f"{folder}: no such folder; expected a prepared set (performer dataset FOLDER makes one)")
    files = pictures.files_of(folder)
    unseen = pictures.files_of(folder, pictures.HELD_OUT)
    if len(files) < LEAST_PICTURES:
        raise Refused(
            f"{folder / pictures.TRAINING}: {len(files)} pictures; expected {LEAST_PICTURES} or more; "
            "add some and prepare the set again"
        )
    sizes = {file: pictures.sides_of(file) for file in files + unseen}
    size_px = sizes[files[0]][0]
    for file, (width, height) in sizes.items():
        if (width, height) != (size_px, size_px):
            raise Refused(
                f"{file}: {width}x{height} px; expected {size_px}x{size_px} like {files[0].name}; prepare the set again"
            )
    notes = []
    if not unseen:
        notes = ["the set holds no picture out: there is no floor to compare with, and copies cannot be told"]
    elif len(unseen) < LEAST_PICTURES:
        notes = [f"only {len(unseen)} pictures are held out, {LEAST_PICTURES} are needed: measured without a floor"]
        unseen = []
    return files, unseen, size_px, notes


def _read(files: Iterable[Path], size_px: int) -> Iterator[U8]:
    return (pictures.read(file, size_px) for file in files)


def _blurred(picture: U8) -> U8:
    """By a 128th of its side, in deviations: what an eye just begins to mind."""
    soft = Pillow.fromarray(picture).filter(ImageFilter.GaussianBlur(picture.shape[0] / 128))
    return np.asarray(soft)


# Looking.


def _standard() -> tuple[lite0.Lite0 | None, list[str]]:
    """(Lite0, nothing) or (None, why not)."""
    try:
        return lite0.load(), []
    except Refused as refused:
        return None, [f"KID and FID on a trained network are left out: {refused}"]


def _look(
    shown: Iterable[U8],  # [S, S, 3] each
    *,
    kept: int,
    eyes: lite0.Lite0 | None,
    measured: int | None = None,  # only so many go beyond a thumbnail; all by default
) -> Looks:
    """Look at pictures a few at a time, so that they need not all be in memory."""
    blocks: list[Blocks] = []
    first: list[U8] = []
    thumbs: list[F32] = []
    standard: list[np.ndarray] = []
    count = 0
    for batch in _batches(shown, MOST_BATCH):
        thumbs.append(looks.thumbs(batch))
        wanted = len(batch) if measured is None else max(0, min(len(batch), measured - count))
        mirrored = _tossed(batch[:wanted], count)
        first += list(mirrored[: max(0, kept - count)])
        count += len(batch)
        if not wanted:
            continue
        blocks.append(looks.features(mirrored))
        if eyes is not None and len(standard) * MOST_BATCH < MATCHED:
            with torch.inference_mode():
                planes = lite0.signal(mirrored)
                standard.append(eyes.pooled(planes).double().numpy())
    return Looks(
        first=np.stack(first),
        blocks=tuple(np.concatenate(parts) for parts in zip(*blocks, strict=True)),
        thumbs=np.concatenate(thumbs),
        standard=np.concatenate(standard) if standard else None,
    )


def _batches(shown: Iterable[U8], size: int) -> Iterator[U8]:
    batch: list[U8] = []
    for picture in shown:
        batch.append(picture)
        if len(batch) == size:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def _tossed(batch: U8, first: int) -> U8:
    """Each picture mirrored or not, by a coin of its number."""
    coins = [np.random.Philox(key=first + number).random_raw() & 1 for number in range(len(batch))]
    return np.stack([one[:, ::-1] if coin else one for one, coin in zip(batch, coins, strict=True)]) if coins else batch


# Drawing.


class Painter:
    """A species that draws numbered animals, at the size of the set."""

    def __init__(self, checkpoint: Checkpoint, *, size_px: int, seed: int) -> None:
        """Raises Refused."""
        sizes = checkpoint.sizes
        if sizes.width_px != sizes.height_px:
            raise Refused(
                f"{checkpoint.path}: draws {sizes.width_px}x{sizes.height_px} px; expected squares, like those of the set"
            )
        self.checkpoint = checkpoint
        self._network: nn.Module = family.build(checkpoint).eval()
        self._size_px, self._seed = size_px, seed
        self._mappings: dict[int, Mapping] = {}
        self._noise = torch.eye(1, NOISE_MAPS).repeat(sizes.noise_layers, 1)
        self._more = {"transform": torch.eye(3)} if getattr(self._network, "takes_transform", False) else {}

    def z(self, stream: int, number: int) -> F32:  # [z_dim]
        """Standard normal, by its number alone."""
        key = np.array([self._seed, stream << 48 | number], np.uint64)
        return np.random.Generator(np.random.Philox(key=key)).standard_normal(self.checkpoint.sizes.z_dim, np.float32)

    def pictures(self, numbers: Sequence[int], *, psi: float) -> Iterator[U8]:  # [S, S, 3]
        """The animals of these numbers, in bytes; the classes take turns where there are any."""
        labels = self.checkpoint.sizes.labels
        zs = [self.z(ANIMALS, number) for number in numbers]
        for picture in self._drawn(zs, [labels[number % len(labels)] for number in numbers], psi=psi):
            # As PictureNetwork rounds; at another size as an artist would scale it, from bytes.
            rounded = (picture * np.float32(127.5) + np.float32(128)).clip(0, 255).astype(np.uint8)
            if rounded.shape[0] != self._size_px:
                image = Pillow.fromarray(rounded).resize((self._size_px, self._size_px), Pillow.Resampling.LANCZOS)
                rounded = np.asarray(image)
            yield rounded

    def frames(self, zs: Sequence[F32], *, psi: float) -> Iterator[F32]:  # [S, S, 3], 0..255
        """The pictures of latents, before they become bytes."""
        for picture in self._drawn(zs, [0] * len(zs), psi=psi):
            exact = (picture * np.float32(127.5) + np.float32(127.5)).clip(0, 255)
            yield exact if exact.shape[0] == self._size_px else _resized(exact, self._size_px)

    def _drawn(self, zs: Sequence[F32], labels: Sequence[int], *, psi: float) -> Iterator[F32]:  # [R, R, 3]
        size = max(1, min(MOST_BATCH, BATCH_PIXELS // self.checkpoint.sizes.resolution**2))
        for first in range(0, len(zs), size):
            part = zip(zs[first : first + size], labels[first : first + size], strict=True)
            ws = np.stack([self._ws(z, label, psi) for z, label in part])
            with torch.inference_mode():
                signal = rgba(self._network, torch.from_numpy(ws), self._noise, self._more)
            if not torch.isfinite(signal).all():
                raise Refused(
                    f"{self.checkpoint.path}: draws NaN or infinity; expected finite pictures; train it again"
                )
            yield from signal[..., :3].float().numpy()

    def _ws(self, z: F32, label: int, psi: float) -> F32:  # [num_ws, w_dim]
        mapping = self._mappings.get(label)
        if mapping is None:
            mapping = self._mappings[label] = Mapping(self.checkpoint, label=label)
        return mapping.ws_from_w(mapping.w_from_z(z), psi=psi)


def _resized(picture: F32, size_px: int) -> F32:
    planes = [Pillow.fromarray(np.ascontiguousarray(picture[..., channel])) for channel in range(3)]
    return np.stack(
        [np.asarray(plane.resize((size_px, size_px), Pillow.Resampling.LANCZOS)) for plane in planes], axis=-1
    )


# Figures.


def _distances(
    real: Looks, drawn: Looks, unseen: Looks | None, blurred: Looks | None, *, eye: Eye, matched: int
) -> list[Figure]:
    """How far the drawn pictures are from the real ones, in three ways."""
    others = [drawn] if unseen is None or blurred is None else [drawn, unseen, blurred]
    ours = eye.seen(real.blocks)
    seen = [measures.kernel_distance(ours, eye.seen(each.blocks)) for each in others]
    patches = [measures.sliced_wasserstein(real.first, each.first) for each in others]
    figures = [
        verdict.distance("distance.kid", [each.mean for each in seen], seen[0].deviation),
        verdict.distance("distance.swd", [float(np.mean(list(each.values()))) for each in patches]),
    ]
    figures += [verdict.detail(px, [each[px] for each in patches]) for px in patches[0]]
    if real.standard is not None:
        standards = [each.standard for each in others if each.standard is not None]
        kids = [measures.kernel_distance(real.standard, each) for each in standards]
        fids = [measures.frechet_distance(real.standard[:matched], each[:matched]) for each in standards]
        figures.append(verdict.distance("distance.kid.lite0", [each.mean for each in kids], kids[0].deviation))
        figures.append(verdict.distance("distance.fid.lite0", fids))
    return figures


def _variety(ours: F64, drawn: Looks, unseen: Looks | None, *, eye: Eye, matched: int) -> list[Figure]:
    def among(shown: Looks) -> measures.Variety:
        return measures.variety(ours[:matched], eye.seen(shown.blocks)[:matched])

    return verdict.figures("variety", among(drawn), None if unseen is None else among(unseen))


def _copies(drawn: F32, unseen: F32) -> list[Figure]:
    floor = measures.Copies(ratio=1.0, near=measures.NEAR)
    return verdict.figures("copies", measures.copies(drawn, unseen), floor)


def _walks(painter: Painter, eye: Eye, *, frames: int, apart: float) -> tuple[list[Figure], list[U8]]:
    """(figures, WALK_STOPS pictures of each walk, all the way to the next animal)."""
    stops: list[U8] = []
    seen: list[F64] = []

    def walks() -> Iterator[F32]:
        for number in range(WALKS):
            start, end = painter.z(WALKS_FROM, number), painter.z(WALKS_TO, number)
            # At a right angle and as long: on a great circle every z is as likely as the ends.
            end = end - start * (end @ start) / (start @ start)
            end = end * np.linalg.norm(start) / np.linalg.norm(end)

            def z(angle: float, start: np.ndarray = start, end: np.ndarray = end) -> F32:
                return np.asarray(np.cos(angle) * start + np.sin(angle) * end, np.float32)

            at = [z(angle) for angle in np.linspace(0, np.pi / 2, WALK_STOPS)]
            stops.extend((frame + 0.5).astype(np.uint8) for frame in painter.frames(at, psi=WALK_PSI))
            walk = np.stack(list(painter.frames([z(frame * WALK_STEP_RAD) for frame in range(frames)], psi=WALK_PSI)))
            seen.append(eye.seen(looks.features(walk)))
            yield walk

    found = measures.steadiness(walks())
    length = measures.path_length(seen, step_rad=WALK_STEP_RAD, apart=apart)
    return [*verdict.figures("walk", found), verdict.figure("walk.length", length)], stops


# What is shown.


def _neighbours(drawn: Iterable[U8], real: Iterable[U8]) -> U8:
    """Bands of drawn pictures, the nearest real one below each; the most alike first."""
    above, below = list(drawn), list(real)
    bands = []
    for first in range(0, len(above), NEIGHBOUR_COLUMNS):
        pair = above[first : first + NEIGHBOUR_COLUMNS], below[first : first + NEIGHBOUR_COLUMNS]
        rows = [_row(row) for row in pair]
        bands += [np.concatenate((rows[0], _empty(GAP_PX, rows[0].shape[1]), rows[1]))]
        bands += [_empty(BAND_GAP_PX, rows[0].shape[1])]
    return np.concatenate(bands[:-1])


def _row(shown: list[U8]) -> U8:
    px = min(shown[0].shape[0], SHEET_PX)
    return sheet(shown, columns=NEIGHBOUR_COLUMNS, px=px, gap_px=GAP_PX, ground=GROUND)


def _samples(drawn: Iterable[U8], real: Sequence[U8]) -> U8:
    """Drawn pictures on the left, real ones on the right."""
    sides = []
    for side in (list(drawn), list(real)):
        px = min(side[0].shape[0], SHEET_PX)
        sides.append(sheet(side, columns=SAMPLE_SIDE, px=px, gap_px=GAP_PX, ground=GROUND))
    height = max(side.shape[0] for side in sides)
    sides = [np.concatenate((side, _empty(height - side.shape[0], side.shape[1]))) for side in sides]
    return np.concatenate((sides[0], _empty(height, BAND_GAP_PX), sides[1]), axis=1)


def _empty(height_px: int, width_px: int) -> U8:
    return np.broadcast_to(np.array(GROUND, np.uint8), (height_px, width_px, 3))
