"""A run of training: from a prepared set to a species, interrupted and gone on with as often as need be.

A run lives in a folder of its own:

    run.json               how it is trained; the same command goes on with it, another is refused
    NAME.safetensors       the species as it is now, ready to play
    state.safetensors      everything that a run needs to go on, bit for bit
    latents.safetensors    from which latent each picture of the set is drawn
    samples/000120.png     pictures of the same latents, after so many thousand pictures seen
    samples/000120.safetensors    the species as it was then, to be picked
    training.mp4           those pictures as a film
    log.jsonl              what was measured, a line every few steps; TensorBoard reads tensorboard/
    real.png               pictures of the set, to compare with

Thread: main. Several processes (torchrun) share the work; the first one writes.
"""

import ctypes
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
import torch.distributed as distributed
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as safetensors_of
from torch import Tensor

import performer
from performer import resources
from performer.files import write_whole
from performer.flow import F32, U8
from performer.generators import checkpoint as species
from performer.generators import light
from performer.generators.checkpoint import Checkpoint, Provenance
from performer.refusal import Refused
from performer.training import fresh, lite0, matching
from performer.training.codes import SMALL_PX, codes_of
from performer.training.dataset import load as manifest_of
from performer.training.film import write_film
from performer.training.journal import GAUGED, Gauge, Journal, listed, progress
from performer.training.pictures import FEW, FEWEST, Pictures, files_of, read
from performer.training.sheet import png, sheet
from performer.training.teacher import Crew, Method, Teacher

LOGGED_EVERY = 50  # steps
SAVED_EVERY_S = 300.0
SHOWN = 48  # animals on a sheet, in rows of 8
SPARE_BYTES = 256 << 20  # that a run leaves free on its disk


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What the command line may say."""

    set: Path
    out: Path | None = None  # the set's name, in the current folder
    name: str = ""  # the set's
    source: str = ""  # a species to go on from: a file, or the name of a bundled one
    family: str = light.NAME
    size_px: int | None = None  # the set's
    width: float = 1.0
    images: int = 1_000_000  # to be seen
    critic: str = ""  # projected, where it can be had
    batch: int | None = None
    rate: float = 0.002
    shown: int | None = None  # images before the critic is asked
    gamma: float | None = None
    mirror: bool = True
    precision: str = ""
    device: str = ""
    threads: int | None = None
    seed: int = 0
    sheet_images: int = 20_000  # between sheets
    licence: str = ""
    origin: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """run.json: what must stay the same for a run to be gone on with."""

    name: str
    family: str
    size_px: int
    width: float
    method: Method
    source: str = ""  # the species that it went on from
    source_sha256: str = ""
    schema: int = 1


class Interrupted(Exception):
    """Somebody asked the run to end; everything has been saved."""


def train(options: TrainOptions, *, announce: Callable[[str], None]) -> Path:
    """Train, or go on training; the folder of the run. Raises Refused, Interrupted."""
    with _crew() as crew:
        run = _Run(options, crew, announce if crew.rank == 0 else _silence)
        run.until(options.images)
    return run.folder


def _silence(_: str) -> None:
    pass


class _Run:
    """One folder, one teacher."""

    def __init__(self, options: TrainOptions, crew: Crew, announce: Callable[[str], None]) -> None:
        self._options, self._crew, self._announce = options, crew, announce
        self.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise Refused(f"--device {self.device}: no NVIDIA card that torch can use; expected cpu here")
        if self.device == "cuda" and crew.count > 1:
            self.device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        files = files_of(options.set)
        manifest = manifest_of(options.set)
        if len(files) < FEWEST:
            raise Refused(
                f"{options.set}: {len(files)} pictures to learn from; expected {FEWEST} or more, and rather {FEW}; "
                "a species that others have trained can be taken further with few: --from SPECIES"
            )
        if len(files) < FEW:
            announce(
                f"{len(files)} pictures are few: it will learn some of them by heart; docs/training.md says what helps"
            )
        self.folder = options.out or Path(f"{options.name or manifest.name}-run")
        start, self.plan = self._planned(manifest.name, manifest.size_px)
        self.pictures = Pictures(files, size_px=self.plan.size_px, seed=self.plan.method.seed)
        self.path = self.folder / f"{self.plan.name}.safetensors"
        self._state_path = self.folder / "state.safetensors"
        self._provenance = Provenance(
            name=self.plan.name,
            origin=options.origin or manifest.origin or f"pictures of {options.set.name}",
            licence=options.licence or manifest.licence,
            trained=True,
            seed=self.plan.method.seed,
        )
        settle_memory()
        if self.device.startswith("cuda"):  # pictures are always of one size, and training forgives short floats
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        self.teacher = Teacher(start, self.plan.method, device=self.device, crew=crew)
        self._resume()
        self._codes = self._latents()
        self._gauge = Gauge(self.pictures, seed=self.plan.method.seed) if crew.rank == 0 else None
        self._stop = False

    # Before the first step.

    def _planned(self, set_name: str, set_px: int) -> tuple[Checkpoint, Plan]:
        """(what training starts from, how it goes on). Raises Refused."""
        options = self._options
        size_px = options.size_px or min(set_px, fresh.MOST_PX)
        if size_px > set_px:
            raise Refused(
                f"--size {size_px}: {options.set} holds pictures of {set_px} px; expected at most that; prepare it again "
                f"with `performer dataset … --size {size_px}`"
            )
        source = self._source()
        if source is None:
            start = fresh.species(options.family, size_px=size_px, seed=options.seed, width=options.width)
        else:
            start = fresh.grown(source, size_px=size_px, seed=options.seed)
        method = self._method(size_px, start)
        plan = Plan(
            name=options.name or set_name,
            family=start.family,
            size_px=size_px,
            width=options.width,
            method=method,
            source="" if source is None else source.provenance.name,
            source_sha256="" if source is None else source.content_hash,
        )
        return start, plan

    def _source(self) -> Checkpoint | None:
        """The species that training goes on from; None where it begins from nothing."""
        name = self._options.source
        if not name:
            return None
        path = resources.find(name, beside=Path(), bundled=resources.CHECKPOINTS, suffix=".safetensors")
        if path is None:
            raise Refused(f"--from {name}: no such species; expected a .safetensors file, or the name of a bundled one")
        return species.load(path)

    def _method(self, size_px: int, start: Checkpoint) -> Method:
        options = self._options
        critic = options.critic or ("projected" if lite0.is_there() else "plain")
        on_card = self.device.startswith("cuda")
        batch = options.batch or (64 if on_card else 16)
        shown = options.shown if options.shown is not None else (10_000 if options.source else 40_000)
        if batch % (8 * self._crew.count):
            raise Refused(f"--batch {batch}: expected a multiple of 8 for each of {self._crew.count} processes")
        return Method(
            critic=critic,
            batch=batch,
            rate=options.rate,
            shown=shown,
            # The published rule of thumb: Karras et al., "Training GANs with Limited Data" (2020), appendix C.
            gamma=options.gamma if options.gamma is not None else 2e-4 * size_px**2 / batch,
            precision=options.precision or best_precision(self.device),
            mirror=options.mirror,
            seed=options.seed,
        )

    def _resume(self) -> None:
        """Go on where the run was left, or begin it. Raises Refused."""
        try:
            if self._crew.rank == 0:
                self._open()
        except OSError as error:
            raise Refused(f"--out {self.folder}: cannot be written ({error.strerror or error})") from None
        self._crew.meet()
        if not self._state_path.is_file():
            return
        try:
            self.teacher.load(self._state_path)
        except (SafetensorError, KeyError, RuntimeError, OSError) as error:
            raise Refused(
                f"{self._state_path}: is damaged ({error}); move it away to begin anew from the set, or take the "
                f"species itself further: --from {self.path}"
            ) from None
        self._announce(f"going on after {self.teacher.seen // 1000} thousand pictures")

    def _open(self) -> None:
        """Make the folder of the run, or see that it is this run's. Raises Refused, OSError."""
        plan_path = self.folder / "run.json"
        if plan_path.is_file():
            self._same(plan_path)
            return
        if self.folder.exists() and any(self.folder.iterdir()):
            raise Refused(f"--out {self.folder}: holds other things; expected a new folder, or that of a run")
        (self.folder / "samples").mkdir(parents=True, exist_ok=True)
        self._room()
        write_whole(plan_path, msgspec.json.format(msgspec.json.encode(self.plan)))
        write_whole(self.folder / "real.png", self._real_sheet())

    def _same(self, path: Path) -> None:
        try:
            before = msgspec.json.decode(path.read_bytes(), type=Plan)
        except msgspec.DecodeError as error:
            raise Refused(f"{path}: is damaged ({error}); train into another folder: --out FOLDER") from None
        then, now = msgspec.to_builtins(before), msgspec.to_builtins(self.plan)
        then, now = then | then.pop("method"), now | now.pop("method")
        other = [f"{key} was {then.get(key)} and is {now[key]} now" for key in now if then.get(key) != now[key]]
        if other:
            raise Refused(
                f"{path}: this run was begun otherwise ({'; '.join(other)}); give the same options, or train into "
                "another folder: --out FOLDER"
            )

    def _room(self) -> None:
        size = sum(tensor.nbytes for tensor in self.teacher.state().values())
        free = shutil.disk_usage(self.folder).free
        if free < 2 * size + SPARE_BYTES:
            raise Refused(
                f"--out {self.folder}: {free >> 20} MiB are free on that disk; expected {(2 * size + SPARE_BYTES) >> 20} "
                "MiB; make room, or choose another with --out"
            )

    def _latents(self) -> F32:  # [pictures, 2, z_dim]
        """Of each picture and of its mirror image, found at the first start, and anew when the set has changed.

        Raises Refused.
        """
        path = self.folder / "latents.safetensors"
        names = json.dumps([file.name for file in self.pictures.files])
        if self._crew.rank == 0 and _latents_in(path, names) is None:
            content = safetensors_of({"latents": self._found_latents()}, metadata={"pictures": names})
            try:
                write_whole(path, content)
            except OSError as error:
                raise Refused(f"{path}: cannot be written ({error.strerror or error}); make room") from None
        self._crew.meet()
        latents = _latents_in(path, names)
        assert latents is not None
        return latents

    def _found_latents(self) -> F32:
        seed, start = self.plan.method.seed, self.teacher.checkpoint
        if self.plan.source_sha256:
            self._announce(
                f"looking for the animals of {self._options.source} that are like these {len(self.pictures)}"
            )
            return matching.alike(self.pictures, start, self.teacher.eyes, device=self.device, seed=seed)
        small = np.stack([read(file, SMALL_PX) for file in self.pictures.files])
        return codes_of(small, dimensions=start.sizes.z_dim, seed=seed)

    def _real_sheet(self) -> bytes:
        count = min(SHOWN, len(self.pictures))
        places = np.random.default_rng(self.plan.method.seed).permutation(len(self.pictures))[:count]
        return png(sheet(self.pictures.of(places), columns=8, px=self._tile_px))

    @property
    def _tile_px(self) -> int:
        return min(self.plan.size_px, 128)

    # The steps.

    def until(self, images: int) -> None:
        """Train until so many pictures have been seen. Raises Interrupted, Refused."""
        teacher, method, crew = self.teacher, self.plan.method, self._crew
        if teacher.seen >= images:
            self._announce(f"nothing to do: {teacher.seen // 1000} thousand pictures have been seen; see --kimg")
            return
        share = method.batch // crew.count
        try:
            journal = Journal(self.folder, seen=teacher.seen) if crew.rank == 0 else None
        except OSError as error:
            raise Refused(f"{self.folder}: log.jsonl cannot be written ({error.strerror or error})") from None
        logged: dict[str, list[Tensor]] = {}
        saved_s = logged_s = time.monotonic()
        sheet_images = self._options.sheet_images
        with self._asked_to_stop(), progress(self._announce, crew.rank == 0) as bar:
            while teacher.seen < images:
                first = teacher.seen + crew.rank * share
                places = self.pictures.places(first, share)
                for key, value in teacher.step(self.pictures.of(places), self._codes[places]).items():
                    logged.setdefault(key, []).append(value)
                if teacher.step_number % LOGGED_EVERY == 0:
                    means = torch.stack([torch.stack(values).float().mean() for values in logged.values()])
                    crew.average([means])
                    line = dict(zip(logged, means.tolist(), strict=True))
                    now_s = time.monotonic()
                    line["images_per_s"] = LOGGED_EVERY * method.batch / (now_s - logged_s)
                    logged_s, logged = now_s, {}
                    self._guard(line)
                    if journal is not None:
                        journal.write(teacher.seen, line)
                    bar(teacher.seen, images, line)
                stopping = self._agreed_to_stop()
                done = stopping or teacher.seen >= images
                shown = teacher.seen // sheet_images > (teacher.seen - method.batch) // sheet_images
                if crew.rank == 0 and (done or shown or time.monotonic() - saved_s > SAVED_EVERY_S):
                    self._save(with_sheet=shown or (done and not stopping))
                    if shown and journal is not None and self._gauge is not None:
                        figures = self._gauge.read(self._animals(GAUGED))
                        journal.write(teacher.seen, figures)
                        self._announce(f"after {teacher.seen / 1000:.0f} thousand: {listed(figures)}")
                    saved_s = time.monotonic()
                    logged_s = max(logged_s, saved_s) if shown else logged_s
                if stopping:
                    break
        if crew.rank == 0:
            self._film()
        if self._stop:
            raise Interrupted
        self._announce(f"species  {self.path}: performer play --species {self.path}")

    def _guard(self, line: dict[str, float]) -> None:
        if not all(np.isfinite(value) for value in line.values()):
            raise Refused(
                f"{self.folder}: the numbers have run away after {self.teacher.seen // 1000} thousand pictures; what was "
                f"saved before is whole; go on from it with half the rate: --from {self.path} --rate "
                f"{self.plan.method.rate / 2:g} --out OTHER"
            )

    def _agreed_to_stop(self) -> bool:
        """Whether any process has been asked to end, told to all of them, so that they end after the same step."""
        if self._crew.count > 1:
            asked = torch.tensor(float(self._stop), device=self.device)
            distributed.all_reduce(asked)
            self._stop = bool(asked > 0)
        return self._stop

    @contextmanager
    def _asked_to_stop(self) -> Iterator[None]:
        """While this holds, Ctrl-C and the end of the machine's day ask the run to finish its step and save."""

        def ask(*_: object) -> None:
            if self._stop:  # asked twice: at once
                raise KeyboardInterrupt
            self._stop = True

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # What a run leaves.

    def _save(self, *, with_sheet: bool) -> None:
        """The state, the species, and a sheet with a copy of it. Raises Refused where the disk is full; the rest stays."""
        kimg = self.teacher.seen // 1000
        try:
            self.teacher.save(self._state_path)
            tensors = self.teacher.species_tensors()
            pictures = self._animals(SHOWN if with_sheet else 1)
            start = self.teacher.checkpoint
            species.save(
                self.path,
                family=start.family,
                sizes=start.sizes,
                provenance=self._made(),
                tensors={key: value.astype(np.float16) for key, value in tensors.items()},
                options=start.options,
                preview=pictures[0],
            )
            if with_sheet:
                shown = self.folder / "samples" / f"{kimg:06d}"
                write_whole(shown.with_suffix(".png"), png(sheet(pictures, columns=8, px=self._tile_px)))
                write_whole(shown.with_suffix(".safetensors"), self.path.read_bytes())
        except OSError as error:
            raise Refused(
                f"{self.folder}: {error.filename or 'the run'} cannot be written ({error.strerror or error}) after "
                f"{kimg} thousand pictures; what was saved last is whole; make room and give the same command again"
            ) from None

    def _made(self) -> Provenance:
        plan = self.plan
        on = f", on from {plan.source}" if plan.source else ""
        how = (
            f"{len(self.pictures)} pictures, {self.teacher.seen // 1000} thousand seen, {plan.method.critic} critic{on}"
        )
        return msgspec.structs.replace(
            self._provenance,
            origin=f"{self._provenance.origin} ({how})",
            made_with=f"performer train {performer.__version__}",
        )

    def _animals(self, count: int) -> U8:  # [count, R, R, 3]
        """Always of the same latents, so that one sees them grow."""
        z = np.random.default_rng(self.plan.method.seed + 1).standard_normal(
            (count, self.teacher.checkpoint.sizes.z_dim), np.float32
        )
        return self.teacher.drawn(z, psi=1.0)

    def _film(self) -> None:
        sheets = sorted((self.folder / "samples").glob("*.png"))
        if len(sheets) > 1:
            try:
                write_film(self.folder / "training.mp4", sheets)
            except OSError as error:
                raise Refused(
                    f"{self.folder / 'training.mp4'}: cannot be written ({error.strerror or error})"
                ) from None


def _latents_in(path: Path, names: str) -> F32 | None:  # [pictures, 2, z_dim]
    """What was found before, for pictures of just these names."""
    try:
        with safe_open(path, framework="numpy") as file:
            return file.get_tensor("latents") if (file.metadata() or {}).get("pictures") == names else None
    except (OSError, SafetensorError):
        return None


def best_precision(device: str) -> str:
    """bfloat16 where the machine computes in it, single elsewhere: older cards and processors only imitate it."""
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "single"
    return "bfloat16" if torch.backends.mkldnn.is_available() and "avx512_bf16" in _processor() else "single"


def _processor() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def settle_memory() -> None:
    """Keep what was freed, on Linux: without it two fifths of the time on a processor goes into fetching memory anew."""
    try:
        settle = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    settle(-4, 0)  # M_MMAP_MAX: take large blocks from the heap, too
    settle(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: and never give it back


@contextmanager
def _crew() -> Iterator[Crew]:
    """The processes that torchrun has started; a single one without it."""
    count = int(os.environ.get("WORLD_SIZE", 1))
    if count == 1:
        yield Crew()
        return
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Crew(distributed.get_rank(), count)
    finally:
        distributed.destroy_process_group()
