"""Making species ready: other people's checkpoints become species of our own, traits are found, graphs are exported.

Nothing in a foreign file is run; `performer.generators.foreign` says how it is read.

Thread: main, before any show.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image as Pillow

from performer.files import write_whole
from performer.generators import checkpoint as species
from performer.generators import family, foreign, traits
from performer.generators.checkpoint import Checkpoint, Provenance
from performer.refusal import Refused

STRIP_STEPS = (-4.0, -2.0, 0.0, 2.0, 4.0)  # deviations
STRIP_PX = 160
UNKNOWN_LICENCE = "unknown: ask whoever trained it before you show or share it"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What the command line may say of an import."""

    file: Path
    out: Path | None = None  # the file's own name, as .safetensors, in the current folder
    name: str = ""  # the file's own name
    licence: str = UNKNOWN_LICENCE
    origin: str = ""
    preview: bool = True


def import_species(options: ImportOptions, *, announce: Callable[[str], None]) -> Path:
    """Read a foreign checkpoint and write it as a species; the path of that. Raises Refused."""
    out = _new_file(options.out, of=options.file, suffix=".safetensors")
    read = foreign.read(options.file, progress=announce)
    checkpoint = Checkpoint(
        family=read.family,
        sizes=family.sizes_of(read.family, read.tensors, read.options),
        provenance=Provenance(
            name=options.name or options.file.stem,
            origin=options.origin or f"imported from {options.file.name}",
            licence=options.licence,
            trained=True,
            made_with="performer import",
            source=read.source,
            source_sha256=_sha256(options.file),
        ),
        tensors=read.tensors,
        content_hash="",
        path=options.file,
        options=read.options,
    )
    network = family.build(checkpoint)  # refuses what could not be played, before anything is written
    preview = None
    if options.preview:
        announce(f"drawing a preview of {checkpoint.sizes.width_px}x{checkpoint.sizes.height_px} px")
        from performer.generators.preview import picture_of  # late: it needs torch

        preview = picture_of(checkpoint, network=network)
    try:
        species.write(out, replace(checkpoint, preview=preview))
        if preview is not None:
            Pillow.fromarray(preview).save(out.with_suffix(".png"))
    except OSError as error:
        raise Refused(f"--out {out}: cannot be written ({error.strerror or error})") from None
    sizes = checkpoint.sizes
    announce(f"from     {read.source}")
    announce(
        f"family   {checkpoint.family}, {sizes.width_px}x{sizes.height_px} px, w of {sizes.w_dim} in {sizes.num_ws} rows"
    )
    if sizes.classes:
        announce(f"classes  {sizes.classes}; a setlist chooses one with `class`, 0 otherwise")
    for note in read.notes:
        announce(f"note     {note}")
    announce(f"licence  {checkpoint.provenance.licence}")
    announce(f"species  {out}: performer play --species {out}")
    return out


def find_traits(path: Path, *, count: int, announce: Callable[[str], None]) -> Path:
    """Find the traits of the species at `path`, write them into it, and draw them; the path of the strip.

    Traits that it has already are replaced. Raises Refused.
    """
    checkpoint = species.load(path)
    announce(f"looking for traits in {checkpoint.provenance.name}")
    names, directions = traits.find(checkpoint, count=count)
    checkpoint = replace(checkpoint, traits=names, trait_directions=directions)
    strip_path = path.with_name(f"{path.stem}-traits.png")
    announce(f"drawing {len(names)} traits, {len(names) * len(STRIP_STEPS)} pictures")
    from performer.generators.preview import strip  # late: it needs torch

    picture = strip(checkpoint, network=family.build(checkpoint), steps=STRIP_STEPS, most_px=STRIP_PX)
    try:
        species.write(path, checkpoint)
        Pillow.fromarray(picture).save(strip_path)
    except OSError as error:
        raise Refused(f"{path}: cannot be written ({error.strerror or error})") from None
    for number, name in enumerate(names, 1):
        announce(f"trait.{number:<3} {name}")
    announce(f"strip    {strip_path}: a trait a row, {', '.join(f'{step:+g}' for step in STRIP_STEPS)} deviations")
    return strip_path


def export_species(
    path: Path, *, out: Path | None, partner: Path | None, half: bool, announce: Callable[[str], None]
) -> Path:
    """Write the species at `path`, or all that lies between it and a sibling, as an ONNX graph; its path. Raises Refused."""
    out = _new_file(out, of=path, suffix=".onnx")
    checkpoint = species.load(path)
    sibling = None if partner is None else species.load(partner)
    if sibling is not None and (reason := species.stranger(checkpoint, sibling)):
        raise Refused(f"--partner {partner}: no sibling of {path}: {reason}; expected one that was trained on from it")
    from performer.generators import export, network  # late: they need torch

    announce(f"exporting {checkpoint.provenance.name} in {'half' if half else 'single'} precision")
    built = network.build(checkpoint, () if sibling is None else (sibling,), half=half)
    graph = export.to_onnx(built)
    try:
        write_whole(out, graph)
    except OSError as error:
        raise Refused(f"--out {out}: cannot be written ({error.strerror or error})") from None
    announce(f"inputs   {', '.join(built.inputs)}")
    announce(f"licence  {checkpoint.provenance.licence}")
    announce(f"graph    {out}, {len(graph) / 1e6:.1f} MB")
    return out


def _new_file(out: Path | None, *, of: Path, suffix: str) -> Path:
    """Where to write what is made of a file: `out`, or its name in the current folder. Raises Refused."""
    out = out or Path(f"{of.stem}{suffix}")
    if out.suffix != suffix:
        raise Refused(f"--out {out}: expected a name that ends in {suffix}")
    if out.exists():
        raise Refused(f"--out {out}: is there already, and nothing is overwritten; choose another name with --out")
    return out


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
