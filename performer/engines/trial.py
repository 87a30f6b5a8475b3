"""The trial of engines: which of them draw a species right, and which of those is the fastest.

Held once for a species, a machine and its libraries, against the eager engine, and remembered. Half precision can leave its
range where styles are strong, so its engines are looked at longer, over latents as far out as a show can ask for: without
truncation, with strong noise, bent, and anywhere between siblings. A number that is none shows as a black or white
patch, which no picture of these survives.

Thread: whoever activates engines. No clock of its own; the engines' is used.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median

import numpy as np

from performer import cuda
from performer.clock import Clock
from performer.engines import cache
from performer.engines.engine import Engine, EngineError, Progress
from performer.flow import NOISE_MAPS, STRAIGHT, U8, DevicePixels, LatentFrame
from performer.generators.checkpoint import Checkpoint
from performer.generators.mapping import Mapping

ORACLE = "eager"
LEAST_PSNR_DB = 40.0  # of bytes, over a whole picture: what the eye does not tell apart
LEAST_TILE_DB = 12.0  # over the worst of its tiles: a hole is worse, however small a part of the whole
TILES = 32  # on each side
LATENTS_HALF = 200  # looked at where an engine is in half precision
LATENTS_FULL = 24  # elsewhere; what differs there is rounding, and shows at once
FIRST_LATENTS = 4  # after which engines that are far too slow need not be looked at any longer
TOO_SLOW = 4.0  # times the fastest so far
PATIENCE_HALF_S, PATIENCE_S = 60.0, 12.0  # of an engine; a slow oracle must not keep the doors shut
LONGEST_PICTURE_S = 60.0
STRONG_NOISE = 4.0
FOLDER = "trials"  # of the cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the trial found out about one engine."""

    engine: str
    ms: float = 0.0  # median time of a picture
    psnr_db: float = 0.0  # of its worst picture against the oracle's; infinite where all are the same
    latents: int = 0  # looked at
    fault: str = ""  # why it must not play; empty where it may

    @property
    def may_pass(self) -> bool:
        """Whether its fault is of the kind that another start may not have."""
        return any(sign in self.fault.lower().replace(" ", "") for sign in ("outofmemory", "nopictureafter"))

    def __str__(self) -> str:
        if self.fault:
            return f"{self.engine} left out: {self.fault}"
        if self.engine == ORACLE:
            return f"{self.engine} {self.ms:.2f} ms"
        likeness = "no difference" if self.psnr_db == float("inf") else f"{self.psnr_db:.0f} dB"
        return f"{self.engine} {self.ms:.2f} ms, {likeness} over {self.latents} latents"


def remembered(
    candidates: Sequence[type[Engine]], checkpoint: Checkpoint, siblings: Sequence[Checkpoint]
) -> list[Verdict] | None:
    """The verdicts of an earlier trial of these engines on this species and machine; None where there was none."""
    stored = cache.fetch(FOLDER, _key(candidates, checkpoint, siblings))
    if stored is None:
        return None
    try:
        return [Verdict(**each) for each in json.loads(stored)]
    except (ValueError, TypeError):
        return None


def remember(
    verdicts: Sequence[Verdict],
    candidates: Sequence[type[Engine]],
    checkpoint: Checkpoint,
    siblings: Sequence[Checkpoint],
) -> None:
    """Keep the verdicts for the next start."""
    text = json.dumps([asdict(verdict) for verdict in verdicts])
    cache.store(FOLDER, _key(candidates, checkpoint, siblings), text.encode())


def held(
    engines: Sequence[Engine],
    checkpoint: Checkpoint,
    siblings: Sequence[Checkpoint],
    *,
    clock: Clock,
    progress: Progress,
) -> list[Verdict]:
    """Try engines, the oracle among them, on the same latents: the verdicts, the best first.

    One after the other beside the oracle, so that a small card need not hold them all. All are closed afterwards. Never
    raises for what an engine does: that is a verdict. Raises EngineError where the oracle itself fails, or nobody waits
    for the end.
    """
    (oracle,) = [engine for engine in engines if engine.name == ORACLE]
    spent_ms: list[float] = []  # of the oracle
    verdicts: list[Verdict] = []
    try:
        oracle.activate(checkpoint, siblings=siblings, progress=progress)
        for engine in engines:
            if engine is oracle:
                continue
            try:
                found = _tried(engine, oracle, spent_ms, verdicts, checkpoint, siblings, clock=clock, progress=progress)
            finally:
                with contextlib.suppress(Exception):  # of a card that no longer answers
                    engine.close()
            verdicts.append(found)
        for latent in latents(checkpoint, siblings, count=max(FIRST_LATENTS - len(spent_ms), 0)):
            await_picture(oracle, latent, clock=clock)
            spent_ms.append(oracle.infer_ms)
    except EngineError:
        raise
    except Exception as error:
        raise EngineError(f"{ORACLE}: {error}") from error
    finally:
        with contextlib.suppress(Exception):
            oracle.close()
    verdicts.append(Verdict(engine=ORACLE, ms=median(spent_ms), psnr_db=float("inf"), latents=len(spent_ms)))
    return sorted(verdicts, key=lambda verdict: (bool(verdict.fault), verdict.ms))


def _tried(
    engine: Engine,
    oracle: Engine,
    oracle_ms: list[float],
    verdicts: Sequence[Verdict],
    checkpoint: Checkpoint,
    siblings: Sequence[Checkpoint],
    *,
    clock: Clock,
    progress: Progress,
) -> Verdict:
    """The verdict about one engine; what the oracle takes is added to `oracle_ms`. `verdicts` are those so far."""
    fault = partial(Verdict, engine=engine.name)
    _go_on(engine, oracle)
    try:
        engine.activate(checkpoint, siblings=siblings, progress=progress)
    except Exception as error:
        _go_on(engine, oracle)
        return fault(fault=str(error))
    count, patience_s = (LATENTS_HALF, PATIENCE_HALF_S) if engine.half else (LATENTS_FULL, PATIENCE_S)
    best_ms = min((verdict.ms for verdict in verdicts if not verdict.fault), default=float("inf"))
    spent_ms: list[float] = []
    psnr_db = float("inf")
    began_s, said_s = clock.now_s(), float("-inf")
    for number, latent in enumerate(latents(checkpoint, siblings, count=count)):
        _go_on(engine, oracle)
        if clock.now_s() - said_s > 1.0:
            progress(f"checking {engine.name} against {ORACLE}: {number} of {count} pictures")
            said_s = clock.now_s()
        expected = drawn(oracle, latent, clock=clock)
        oracle_ms.append(oracle.infer_ms)
        try:
            picture = drawn(engine, latent, clock=clock)
        except Exception as error:
            return fault(fault=f"it fails ({error})")
        spent_ms.append(engine.infer_ms)
        psnr_db = min(psnr_db, psnr_of(picture, expected))
        if (worst_db := worst_tile_of(picture, expected)) < LEAST_TILE_DB:
            return fault(fault=f"a part of its picture is not {ORACLE}'s ({worst_db:.0f} dB)")
        if psnr_db < LEAST_PSNR_DB:
            told = f"{psnr_db:.1f} dB; expected {LEAST_PSNR_DB:.0f} at least"
            return fault(fault=f"it draws other pictures than {ORACLE} ({told})")
        if number + 1 < FIRST_LATENTS:
            continue
        if median(spent_ms) > TOO_SLOW * min(best_ms, median(oracle_ms)) or clock.now_s() - began_s > patience_s:
            break
    return Verdict(engine=engine.name, ms=median(spent_ms), psnr_db=psnr_db, latents=len(spent_ms))


def latents(checkpoint: Checkpoint, siblings: Sequence[Checkpoint], *, count: int) -> Iterator[LatentFrame]:
    """What a show can ask of a species, from the usual to the extreme; the same every time."""
    sizes = checkpoint.sizes
    rng = np.random.default_rng(20)
    mappings = [Mapping(each) for each in (checkpoint, *siblings)]
    steps = len(siblings)
    for number in range(count):
        way = number // 4 % (steps + 1)  # from a species to its neighbour; the last is all the way across
        at = 1 + way % steps if siblings and number % 2 else 0  # whose animal it is
        mapping = mappings[at]
        psi = (0.7, 1.0, 1.0, 0.5)[number % 4]
        z = rng.standard_normal((2, sizes.z_dim), np.float32)
        first, second = (mapping.ws_from_w(w, psi=psi) for w in mapping.w_from_z(z))
        crossed = number % 3 == 2  # one animal's form and another's colours
        ws = np.where(np.arange(sizes.num_ws)[:, None] < sizes.coarse, first, second) if crossed else first
        noise = np.eye(1, NOISE_MAPS, dtype=np.float32).repeat(sizes.noise_layers, axis=0)
        if number % 4 == 1:
            noise = noise * np.float32(STRONG_NOISE)
        elif number % 4 == 3:
            noise = rng.standard_normal(noise.shape, np.float32)
        bends = STRAIGHT
        if number % 10 == 9:
            bends = STRAIGHT + rng.uniform(-0.1, 0.1, STRAIGHT.shape).astype(np.float32)
            bends[:, 5:] = np.abs(bends[:, 5:])  # thresholds and dropped parts are not negative
        blend = np.zeros(sizes.num_ws, np.float32)
        if at and number % 4 == 3:  # a sibling alone
            blend[:] = at / steps
        elif at:  # anything between
            blend = rng.random(sizes.num_ws, np.float32)
            blend = blend if way == steps else (blend + np.float32(way)) / np.float32(steps)
        yield LatentFrame(ws=ws, noise=noise, bends=bends, blend=blend)


def psnr_of(picture: U8, expected: U8) -> float:
    """Peak signal-to-noise ratio of two pictures [H, W, 4], decibels; alpha is left out. Infinite where they are equal."""
    error = np.mean((picture[..., :3].astype(np.float32) - expected[..., :3]) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255.0**2 / error))


def worst_tile_of(picture: U8, expected: U8) -> float:
    """The same, of the tile that is least like what was expected. A picture has 32 x 32 tiles, smaller ones fewer."""
    height, width = (max(side // TILES, 1) for side in picture.shape[:2])
    rows, columns = picture.shape[0] // height, picture.shape[1] // width
    cropped = (slice(rows * height), slice(columns * width), slice(3))
    error = (picture[cropped].astype(np.float32) - expected[cropped]) ** 2
    worst = error.reshape(rows, height, columns, width, 3).mean((1, 3, 4)).max()
    return float("inf") if worst == 0 else float(10 * np.log10(255.0**2 / worst))


def drawn(engine: Engine, latent: LatentFrame, *, clock: Clock) -> U8:
    """[H, W, 4], the picture of `latent`; valid until the engine's next. Raises as `await_picture` does."""
    await_picture(engine, latent, clock=clock)
    image = engine.latest()
    assert image is not None, "an engine that has finished a picture has one"
    return cuda.downloaded(image.pixels) if isinstance(image.pixels, DevicePixels) else image.pixels


def await_picture(engine: Engine, latent: LatentFrame, *, clock: Clock) -> None:
    """Have `latent` drawn. Raises whatever the engine failed with; EngineError where it takes for ever."""
    done, end_s = engine.images, clock.now_s() + LONGEST_PICTURE_S
    engine.submit(latent)
    while engine.images == done:
        if engine.failure is not None:
            raise engine.failure
        if clock.now_s() > end_s:
            raise EngineError(f"no picture after {LONGEST_PICTURE_S:g} s")
        clock.sleep_until(clock.now_s() + 0.0002)


def _go_on(*engines: Engine) -> None:
    """Raise EngineError where nobody waits any more."""
    if any(engine.given_up for engine in engines):
        raise EngineError("given up")


def _key(candidates: Sequence[type[Engine]], checkpoint: Checkpoint, siblings: Sequence[Checkpoint]) -> str:
    return cache.key_of(checkpoint, *(kind.fingerprint() for kind in candidates), siblings=siblings)
