"""`performer bridge`: two species in, a bridge and its contact sheet out.

Thread: main.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress as Bar

from performer import __version__, bridges, resources
from performer.bridges import SIDES, SUFFIX, Bridge, Side
from performer.bridging import pairing
from performer.bridging.descriptors import Metric, descriptor
from performer.bridging.drawing import Drawing, Latents, Spread
from performer.bridging.refining import refine
from performer.bridging.sampling import Plan, Progress, Samples, describe
from performer.bridging.sheet import COLUMNS, Shown, sheet
from performer.files import write_whole
from performer.flow import F32, F64, U8
from performer.generators import checkpoint as species
from performer.generators.checkpoint import Checkpoint
from performer.refusal import Refused
from performer.training.sheet import png

LEAST_SAMPLES, MOST_SAMPLES = 32, 10_000  # beyond, the distances of all to all fill a laptop
SHARE = 4  # samples for each pair, at least
TAME = 0.95  # the part of the drawn animals that is nearer to the mean than refined ones may be
PARTIAL = ".samples"  # the ending of the file that an interrupted run goes on from
SAID_EVERY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeOptions:
    """What the command line may say of a bridge."""

    first: str  # a species: a path, or the name of a bundled one
    second: str
    out: Path | None = None  # <first>--<second>.bridge.safetensors in the current folder
    pairs: int = 12
    samples: int = 2000  # of each species
    truncation: tuple[float, float] = (0.8, 1.0)  # lowest and highest psi
    descriptor: str = "figure"
    steps: int = 60  # of refinement; 0 for none
    seed: int = 0
    device: str = ""  # cpu or cuda; by default a card where there is one


def make(options: BridgeOptions, *, announce: Callable[[str], None]) -> Path:
    """Find the pairs of two species that look most alike; write the bridge and its sheet; the path of the bridge.

    On the processor the same species and options give the same file, to the bit, also where the run was interrupted on
    the way; a card adds in another order now and then, and its refinement ends a little elsewhere.

    Raises:
        Refused: no such species, twice the same one, an option out of range, a descriptor that is not there, a place that
            cannot be written or is taken, species that draw nothing but one picture.
    """
    _check(options)
    checkpoints = [_species(name) for name in (options.first, options.second)]
    if checkpoints[0].content_hash == checkpoints[1].content_hash:
        raise Refused(f"{options.first} and {options.second}: the same species twice; expected two species")
    out = _out(options, checkpoints)
    sheet_path = out.with_name(out.name.removesuffix(SUFFIX) + ".bridge.png")
    for path in (out, sheet_path):
        if path.exists():
            raise Refused(f"{path}: is there already, and nothing is overwritten; choose another name with --out")
    device = _device(options.device)
    describes, weights, eye = descriptor(options.descriptor, device=device)
    drawings = [Drawing(checkpoint, device=device) for checkpoint in checkpoints]
    plan = Plan(
        species=(checkpoints[0].content_hash, checkpoints[1].content_hash),
        samples=options.samples,
        seed=options.seed,
        truncation=options.truncation,
        descriptor=eye,
        device=device,
    )
    samples, known = Samples.resume(out.with_name(out.name + PARTIAL), plan)
    try:
        samples.save()  # what cannot be written is found out before an hour's work
        names = " and ".join(checkpoint.provenance.name for checkpoint in checkpoints)
        announce(f"looking at {options.samples:,} pictures each of {names}" + (f", {known:,} known" if known else ""))
        with _progress("looking", announce) as moved:
            describe(samples, drawings, describes, progress=moved)
        bridge, pairs, random = _bridge(options, drawings, samples, weights, describes, announce)
        bridges.save(out, bridge)
        write_whole(sheet_path, png(_sheet(bridge, drawings, pairs, random)))
    except OSError as error:
        raise Refused(
            f"--out {out}: cannot be written ({error.strerror or error}); expected a folder that is there and has room; "
            "choose another with --out"
        ) from None
    samples.path.unlink(missing_ok=True)
    nearer = sum(after < before for after, before in zip(bridge.distances, bridge.found, strict=True))
    announce(f"pairs    {len(bridge)}, {nearer} of them brought nearer by refinement")
    mean = float(np.mean(bridge.distances))
    announce(
        f"distance {mean:.2f} on average, before refinement {np.mean(bridge.found):.2f}; of random pairs "
        f"{bridge.random:.2f}: {mean / bridge.random:.0%} of that"
    )
    announce(f"sheet    {sheet_path}")
    announce(f"bridge   {out}")
    return out


RandomPair = tuple[int, int, float]  # numbers of two animals, and their distance


def _bridge(
    options: BridgeOptions,
    drawings: Sequence[Drawing],
    samples: Samples,
    weights: Sequence[float],
    describes: Callable,
    announce: Callable[[str], None],
) -> tuple[Bridge, list[Latents], list[RandomPair]]:
    """(the bridge, the animals that its pairs began as, some random pairs)."""
    blocks = [samples.of(side) for side in range(SIDES)]
    metric = Metric.of(blocks[0], blocks[1], weights)
    if not any(metric.scales):
        raise Refused(
            f"{options.first} and {options.second}: all their pictures look the same; expected pictures that differ; "
            "train them on, or try another --descriptor"
        )
    places = [metric.place(each) for each in blocks]
    chosen = pairing.choose(places[0], places[1], count=options.pairs)
    latents = [
        _joined([_animal(drawing, options, side, int(number)) for number in chosen[:, side]])
        for side, drawing in enumerate(drawings)
    ]
    spreads = [drawing.spread() for drawing in drawings]
    limits = [_limit(drawing, spreads[side], options, side) for side, drawing in enumerate(drawings)]
    with _progress("refining", announce) as moved:
        refined = refine(
            (latents[0].w, latents[1].w),
            drawings=drawings,
            spreads=spreads,
            limits=(limits[0], limits[1]),
            descriptor=describes,
            metric=metric,
            steps=options.steps,
            progress=moved,
        )
    order = np.argsort(refined.after, kind="stable")
    sides = [
        Side(
            name=drawing.checkpoint.provenance.name,
            content_hash=drawing.checkpoint.content_hash,
            family=drawing.checkpoint.family,
            w=refined.w[side][order],
            z=latents[side].z[order],
            psi=latents[side].psi[order],
            spread=spreads[side].deviation,
        )
        for side, drawing in enumerate(drawings)
    ]
    apart = pairing.distances(places[0], places[1])
    numbers = np.random.default_rng(options.seed).integers(0, options.samples, (COLUMNS, SIDES))
    bridge = Bridge(
        sides=(sides[0], sides[1]),
        distances=_floats(refined.after[order]),
        found=_floats(refined.before[order]),
        random=float(apart.mean()),
        seed=options.seed,
        samples=options.samples,
        truncation=options.truncation,
        descriptor=samples.plan.descriptor,
        made_with=f"performer {__version__}",
    )
    random = [(int(ours), int(theirs), float(apart[ours, theirs])) for ours, theirs in numbers]
    found = [Latents(each.z[order], each.psi[order], each.w[order]) for each in latents]
    return bridge, found, random


def _animal(drawing: Drawing, options: BridgeOptions, side: int, number: int) -> Latents:
    """The animal of a number, as it was drawn: in its batch, since sums over a batch come out by its size."""
    first = number - number % drawing.batch
    numbers = range(first, min(first + drawing.batch, options.samples))
    batch = drawing.latents(numbers, seed=options.seed, side=side, truncation=options.truncation)
    at = slice(number - first, number - first + 1)
    return Latents(batch.z[at], batch.psi[at], batch.w[at])


def _joined(animals: Sequence[Latents]) -> Latents:
    z, psi, w = (np.concatenate([getattr(each, name) for each in animals]) for name in ("z", "psi", "w"))
    return Latents(z, psi, w)


def _limit(drawing: Drawing, spread: Spread, options: BridgeOptions, side: int) -> F32:  # [pairs]
    """How far from the mean animal a refined one may be: as nearly all drawn animals are nearer."""
    drawn = drawing.latents(range(options.samples), seed=options.seed, side=side, truncation=options.truncation)
    far = spread.truncation(torch.from_numpy(drawn.w).to(drawing.device)).cpu().numpy()
    return np.full(options.pairs, np.quantile(far, TAME), np.float32)


def _sheet(bridge: Bridge, drawings: Sequence[Drawing], found: Sequence[Latents], random: Sequence[RandomPair]) -> U8:
    first, second = (_pictures(drawing, side.w) for drawing, side in zip(drawings, bridge.sides, strict=True))
    pairs = [
        Shown(
            first[number],
            second[number],
            f"{number}   {after:.2f}" + (f", found {before:.2f}" if after < before else ""),
        )
        for number, (after, before) in enumerate(zip(bridge.distances, bridge.found, strict=True))
    ]
    strangers = []
    for ours, theirs, apart in random:
        shown = []
        for side, (drawing, number) in enumerate(zip(drawings, (ours, theirs), strict=True)):
            animal = drawing.latents(
                range(number, number + 1), seed=bridge.seed, side=side, truncation=bridge.truncation
            )
            shown.append(_pictures(drawing, animal.w)[0])
        strangers.append(Shown(shown[0], shown[1], f"{apart:.2f}"))
    names = " and ".join(side.name for side in bridge.sides)
    return sheet(
        pairs,
        strangers,
        title=f"{names}: {len(bridge)} pairs, distance {np.mean(bridge.distances):.2f} on average ({bridge.descriptor})",
        random_title=f"random pairs: distance {bridge.random:.2f} on average",
    )


@torch.inference_mode()
def _pictures(drawing: Drawing, w: F32) -> list[U8]:  # [H, W, 3] each
    """In bytes, as PictureNetwork rounds."""
    found = []
    for first in range(0, len(w), drawing.batch):
        x = drawing.pictures(torch.from_numpy(w[first : first + drawing.batch].copy()).to(drawing.device))
        found += list((x * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())
    return found


def _floats(numbers: F64) -> tuple[float, ...]:
    return tuple(map(float, numbers))


# Before anything is drawn.


def _check(options: BridgeOptions) -> None:
    """Raises Refused."""
    low, high = options.truncation
    if not 0 < low <= high <= 2:
        raise Refused(f"--truncation {low:g} {high:g}: expected the lowest and the highest, above 0 and up to 2")
    if options.pairs * SHARE > options.samples:
        raise Refused(
            f"--pairs {options.pairs}: expected {options.samples // SHARE} at most, a quarter of the {options.samples} "
            "samples; ask for fewer, or for more --samples"
        )


def _species(name: str) -> Checkpoint:
    path = resources.find(name, beside=Path(), bundled=resources.CHECKPOINTS, suffix=".safetensors")
    if path is None:
        raise Refused(f"{name}: no such species; expected a .safetensors file, or the name of a bundled one")
    return species.load(path)


def _out(options: BridgeOptions, checkpoints: Sequence[Checkpoint]) -> Path:
    if options.out is None:
        stems = [checkpoint.path.stem for checkpoint in checkpoints if checkpoint.path is not None]
        return Path("--".join(stems) + SUFFIX)
    if not options.out.name.endswith(SUFFIX) or options.out.name == SUFFIX:
        raise Refused(f"--out {options.out}: expected a name that ends in {SUFFIX}")
    return options.out


def _device(asked: str) -> str:
    device = asked or ("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda"):
        raise Refused(f"--device {device}: expected cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise Refused(f"--device {device}: no NVIDIA card that torch can use; expected cpu here")
    return device


@contextmanager
def _progress(doing: str, announce: Callable[[str], None]) -> Iterator[Progress]:
    """A bar on a terminal, a line now and then elsewhere."""
    if sys.stderr.isatty():
        with Bar(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(doing, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    began_s, began_at, said_s = time.monotonic(), -1, -math.inf

    def say(done: int, total: int) -> None:
        nonlocal began_at, said_s
        now_s = time.monotonic()
        if began_at < 0:  # what an earlier run did says nothing of the pace of this one
            began_at = done
        elif now_s - max(said_s, began_s) > SAID_EVERY_S:
            said_s = now_s
            left_s = (total - done) * (now_s - began_s) / max(done - began_at, 1)
            announce(f"{doing}: {done:,} of {total:,}, {left_s:.0f} seconds left")

    yield say
