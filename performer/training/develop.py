"""Developing: a file of whatever kind becomes a square and what is known of its source, or says why it cannot.

Readers of pictures raise anything, so everything that can be wrong with a file comes out of here as `Unusable`. A
square is a PNG that carries its label, so that what has been made before can be told from the square alone.

Thread: any, within `patient_pillow`, which main enters.
"""

import contextlib
import hashlib
import io
import math
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, ImageCms
from PIL import Image as Pillow
from PIL.Image import Transpose

from performer.flow import U8
from performer.training.sheet import WHITE, Colour, fitted, png

RECIPE = 1  # counts up where squares come out otherwise than before
LABEL = "performer"  # the text in a square's PNG
MOST_PIXELS = 400_000_000  # of a source: 1.6 GB while it is read, unless it is a JPEG
LARGE_PIXELS = 50_000_000  # of these, one is read at a time
_LARGE = threading.Lock()
BLANK_LEVELS = 1.0  # standard deviation, of 255, of a picture without content
COLOURS = 8  # a picture's colours are the means of 8 by 8 fields
HASH_PX = 32  # the side of what the hash is taken of
GAP = 3.0  # how many times the wanted size a picture has at least, when it comes to be resampled
BORDER_PX = 2
OPAQUE = 250  # of 255: from here on a pixel's colour was meant to be seen
# By the orientation that EXIF gives; from 5 on the picture lies on its side.
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
}  # fmt: skip
Pillow.init()
# All that Pillow knows, without those for which it would start other programs, or which it cannot read by itself.
FORMATS = [name for name in Pillow.ID if name not in ("EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG")]
FOREIGN_SUFFIXES = re.compile(r"\.(eps|ps|ai|pdf|svg|wmf|emf|mp4|mov|avi|mkv|heic|heif|raw|cr2|cr3|nef|arw)")

Kind = Literal["unreadable", "no picture", "prepared set", "broken", "too large", "too small", "blank", "duplicate"]


class Unusable(Exception):
    """A file that cannot become a square; of what kind the reason is, and the reason in words."""

    def __init__(self, kind: Kind, why: str) -> None:
        super().__init__(kind, why)
        self.kind: Kind = kind
        self.why = why


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """How squares are made."""

    size_px: int
    square: Literal["crop", "pad"]
    background: str  # keep, auto or #rrggbb
    alpha: Literal["lay", "ignore"]
    recipe: int = RECIPE

    @property
    def method(self) -> str:
        """Where two agree in it, the same source gives the same square."""
        return f"{self.recipe} {self.size_px} {self.square} {self.background} {self.alpha}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file of the folder of pictures; from its sha256 on, as far as it has been looked at."""

    path: Path
    name: str  # its path in the folder, in letters that can be shown
    sha256: str = ""
    pixels: int = 0
    size_bytes: int = 0


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a source shows of itself once it has been read."""

    source_sha256: str
    phash: str  # 64 bits in hex: the signs of its coarsest waves
    colours: bytes  # u8 [8, 8, 3], sRGB: the means of its fields
    width_px: int  # of the source, upright
    height_px: int

    @property
    def signs(self) -> npt.NDArray[np.float32]:
        """Of its waves: f32 [64], each 1 or -1. The product of two pictures' is 64 less twice the bits that differ."""
        return np.unpackbits(np.frombuffer(bytes.fromhex(self.phash), np.uint8)).astype(np.float32) * 2 - 1

    @property
    def fields(self) -> npt.NDArray[np.float32]:
        """Their colours: f32 [64, 3], 0 to 255."""
        return np.frombuffer(self.colours, np.uint8).reshape(-1, 3).astype(np.float32)


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """What a square says of itself."""

    method: str
    facts: Facts


@contextlib.contextmanager
def patient_pillow() -> Iterator[None]:
    """Pillow without its own limit of size, for there is ours, and without its warnings, which name no file."""
    with warnings.catch_warnings(action="ignore"):
        limit, Pillow.MAX_IMAGE_PIXELS = Pillow.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Pillow.MAX_IMAGE_PIXELS = limit


def look(file: Source, *, least_px: int) -> Source:
    """What a file is, by its header and its size; pixels are not read. Raises Unusable."""
    path = file.path
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would make us wait for ever
            raise Unusable("no picture", "not an ordinary file")
        with path.open("rb") as content:
            width, height = _sides_of(content, suffix=path.suffix.lower())
            if width * height > MOST_PIXELS:
                most = f"{MOST_PIXELS // 1_000_000} million pixels are the most: make it smaller"
                raise Unusable("too large", f"{width}x{height} px; {most}")
            if min(width, height) < least_px:
                least = f"{least_px} px are the least for the shorter side (--least)"
                raise Unusable("too small", f"{width}x{height} px; {least}")
            content.seek(0)
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    except OSError as error:
        is_dead = path.is_symlink() and isinstance(error, FileNotFoundError)
        why = "a link that leads nowhere" if is_dead else f"cannot be read: {error.strerror or error}"
        raise Unusable("unreadable", why) from None
    return replace(file, sha256=sha256, pixels=width * height, size_bytes=status.st_size)


def _sides_of(file: BinaryIO, *, suffix: str) -> tuple[int, int]:
    try:
        with Pillow.open(file, formats=FORMATS) as image:
            return image.size
    except Exception as error:
        if FOREIGN_SUFFIXES.fullmatch(suffix):
            raise Unusable("no picture", f"{suffix} files cannot be read here; save it as .png or .jpg") from None
        is_none = isinstance(error, Pillow.UnidentifiedImageError)
        why = "nothing in it is a picture" if is_none else f"cannot be read: {error}"
        raise Unusable("broken" if suffix in Pillow.registered_extensions() else "no picture", why) from None


def develop(source: Source, *, method: Method) -> tuple[bytes, Facts, str]:
    """The PNG of a picture's square, what is known of the picture, and a remark or none. Raises Unusable."""
    try:
        whole, (width, height), remark = _read(source.path, method)
        laid, ground = _laid(whole, method.background)
        square = _squared(laid, method, ground)
        # Of the whole picture, so that squares made otherwise do not hide that two sources are the same.
        small = Pillow.fromarray(laid).resize((HASH_PX, HASH_PX), Pillow.Resampling.LANCZOS, reducing_gap=GAP)
    except MemoryError:
        raise Unusable("too large", "there is not enough memory for it") from None
    except Exception as error:
        raise Unusable("broken", f"breaks off, or is damaged ({error})") from None
    if laid.std((0, 1)).max() < BLANK_LEVELS:
        raise Unusable("blank", "one colour, without content")
    facts = Facts(
        source_sha256=source.sha256,
        phash=f"{hash_of(np.asarray(small)):016x}",
        colours=np.asarray(small.reduce(HASH_PX // COLOURS)).tobytes(),
        width_px=width,
        height_px=height,
    )
    label = msgspec.json.encode(Label(method=method.method, facts=facts)).decode()
    return png(square, texts={LABEL: label}), facts, remark


def label_of(path: Path) -> Label | None:
    """What a square says of itself, or None: another program has written it."""
    try:
        with Pillow.open(path, formats=["PNG"]) as image:
            return msgspec.json.decode(image.info.get(LABEL, ""), type=Label)
    except (OSError, SyntaxError, ValueError, msgspec.DecodeError):
        return None


def hash_of(
    picture: U8,  # [32, 32, 3], sRGB: a whole picture, whatever its shape
) -> int:
    """The perceptual hash, 64 bits: for each of its 8 by 8 coarsest cosine waves, whether it is above the median."""
    grey = picture @ np.array([0.299, 0.587, 0.114])
    waves = np.cos(np.pi / HASH_PX * np.outer(np.arange(8), np.arange(HASH_PX) + 0.5))
    strength = (waves @ grey @ waves.T).ravel()
    # The mean grey, the first, would say nothing: it takes no part in the median.
    return int.from_bytes(np.packbits(strength > np.median(strength[1:])).tobytes(), "big")


def _read(path: Path, method: Method) -> tuple[Pillow.Image, tuple[int, int], str]:
    """A source at its size in the square (crop: beyond it), upright, RGB or RGBA in sRGB; its own size, upright; a remark.

    Lanczos on the sRGB values as they stand: what the programs do that made the pictures, and what trained networks
    expect of theirs. In linear light fine dark lines on white, which is what drawings are, would grow thin and pale.
    A picture that is far too large is first made smaller by whole numbers, to three times the wanted size at least,
    which cannot be told from the straight way and takes a fraction of its time and memory; a JPEG is even decoded so.
    """
    orientation, remark = 1, ""
    with Pillow.open(path, formats=FORMATS) as image:
        width, height = image.size
        with _LARGE if width * height > LARGE_PIXELS else contextlib.nullcontext():
            scale = method.size_px / (max(width, height) if method.square == "pad" else min(width, height))
            wanted = max(1, round(width * scale)), max(1, round(height * scale))
            box = (0.0, 0.0, float(width), float(height))
            if image.format in ("JPEG", "MPO"):
                drafted = image.draft(None, (math.ceil(wanted[0] * GAP), math.ceil(wanted[1] * GAP)))
                box = drafted[1] if drafted is not None else box
            image.load()
            try:
                orientation = int(image.getexif().get(ExifTags.Base.Orientation, 1))
            except Exception as error:  # cameras and programs write anything into EXIF
                remark = f"its EXIF data is damaged ({error}); taken as it lies"
            profile = image.info.get("icc_profile")
            plain = _plain(image, with_alpha=method.alpha == "lay")
            factor = int(min(box[2] / wanted[0], box[3] / wanted[1]) / GAP)
            if factor > 1:
                plain = plain.reduce(factor)
                box = (0.0, 0.0, box[2] / factor, box[3] / factor)
            coloured, complaint = _in_srgb(plain, profile)
            whole = coloured.resize(wanted, Pillow.Resampling.LANCZOS, box=box)
    if orientation in TURNS:
        whole = whole.transpose(TURNS[orientation])
        if orientation >= 5:
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
    wanted = "L" if mode in ("1", "L", "LA") else "RGB"
    if with_alpha and image.has_transparency_data:
        wanted += "A"
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
            srgb, intent = ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC
            flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
            colour = ImageCms.profileToProfile(colour, own, srgb, intent, "RGB", flags=flags) or colour
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
    ground: Colour = WHITE
    if background.startswith("#"):
        ground = tuple(bytes.fromhex(background[1:]))
    else:
        strips = (pixels[:BORDER_PX], pixels[-BORDER_PX:], pixels[:, :BORDER_PX], pixels[:, -BORDER_PX:])
        border = np.concatenate([strip.reshape(-1, pixels.shape[2]) for strip in strips])
        if whole.mode == "RGBA":
            border = border[border[:, 3] >= OPAQUE]
        if len(border):
            ground = tuple(round(value) for value in np.median(border[:, :3], axis=0).tolist())
    if whole.mode == "RGB":
        return pixels, ground
    alpha = pixels[..., 3:].astype(np.float32) / 255
    return np.rint(pixels[..., :3] * alpha + np.array(ground, np.float32) * (1 - alpha)).astype(np.uint8), ground


def _squared(
    laid: U8,  # [H, W, 3]; crop: the shorter side is the square's, pad: the longer
    method: Method,
    ground: Colour,
) -> U8:
    """The square: u8 [size, size, 3]."""
    size_px, (height, width) = method.size_px, laid.shape[:2]
    top, left = abs(size_px - height) // 2, abs(size_px - width) // 2
    if method.square == "crop":
        return laid[top : top + size_px, left : left + size_px]
    if method.background == "keep":
        return np.pad(laid, ((top, size_px - height - top), (left, size_px - width - left), (0, 0)), mode="edge")
    return fitted(laid, px=size_px, ground=ground)
