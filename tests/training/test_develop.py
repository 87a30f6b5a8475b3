"""From a file of whatever kind to a square. Every file here is really made, and really read."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from performer.training.develop import Facts, Method, Source, develop, hash_of, patient_pillow

PX = 64
INK, PAPER = (20, 40, 120), (246, 241, 230)


def painting(seed: int, width: int = 120, height: int = 120) -> Image.Image:
    """A picture that is like no other: soft patches of colour."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


def figure(width: int, height: int, *, alpha: bool = False) -> Image.Image:
    """An ink rectangle in the middle of paper; or of nothing, whose colour is garbage."""
    pixels = np.empty((height, width, 4), np.uint8)
    pixels[:] = (0, 255, 0, 0) if alpha else (*PAPER, 255)
    pixels[height // 4 : -height // 4, width // 4 : -width // 4] = (*INK, 255)
    return Image.fromarray(pixels if alpha else pixels[..., :3])


def near(pixels: np.ndarray, colour: tuple[int, ...], within: int = 2) -> bool:
    return bool((np.abs(pixels - np.array(colour)) <= within).all())


def developed(path: Path, **options: str) -> tuple[np.ndarray, Facts, str]:
    """The square of a file: i16 [64, 64, 3]; what is known of it, and the remark."""
    method = Method(size_px=PX, **{"square": "pad", "background": "auto", "alpha": "lay", **options})
    with patient_pillow():
        content, facts, remark = develop(Source(path=path, name=path.name), method=method)
    return np.asarray(Image.open(io.BytesIO(content))).astype(np.int16), facts, remark


def pixels_of(path: Path, **options: str) -> np.ndarray:
    return developed(path, **options)[0]


def square_of(image: Image.Image, path: Path, **options) -> np.ndarray:
    """Save a picture with `save` options, and make its square."""
    given = {key: options.pop(key) for key in list(options) if key in Method.__struct_fields__}
    image.save(path, **options)
    return pixels_of(path, **given)


def png16(values: np.ndarray, *, colour_type: int, transparent: bytes = b"") -> bytes:
    """A PNG of 16 bits, written by hand: Pillow cannot write all of them."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + (chunk(b"tRNS", transparent) if transparent else b"")
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def icc(space: bytes, pcs: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile, version 2."""
    directory, bodies = struct.pack(">I", len(tags)), b""
    for name, body in tags.items():
        offset = 128 + 4 + 12 * len(tags) + len(bodies)
        directory += name + struct.pack(">II", offset, len(body))
        bodies += body + b"\0" * (-len(body) % 4)
    header = b"\0" * 4 + struct.pack(">I", 0x02400000) + kind + space + pcs
    header += b"\0" * 12 + b"acsp" + b"\0" * 28 + s15f16(0.9642, 1.0, 0.8249) + b"\0" * 48
    whole = header + directory + bodies
    return struct.pack(">I", len(whole) + 4) + whole


def s15f16(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def swapped_profile() -> bytes:
    """RGB whose red light is sRGB's green, and the other way round."""
    lights = {b"gXYZ": (0.4361, 0.2225, 0.0139), b"rXYZ": (0.3851, 0.7169, 0.0971), b"bXYZ": (0.1431, 0.0606, 0.7141)}
    tags = {name: b"XYZ \0\0\0\0" + s15f16(*xyz) for name, xyz in lights.items()}
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256))
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return icc(b"RGB ", b"XYZ ", b"mntr", tags | {b"wtpt": b"XYZ \0\0\0\0" + s15f16(0.9642, 1.0, 0.8249)})


def red_cyan_profile() -> bytes:
    """CMYK whose cyan ink is red."""
    ramp = bytes(range(256))
    table = b"".join(
        bytes((max(0, 255 - 110 * c - 110 * m - 20 * y - 255 * k), 128 + 80 * c * (1 - k), 128 + 60 * c * (1 - k)))
        for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)
    )  # fmt: skip
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + s15f16(1, 0, 0, 0, 1, 0, 0, 0, 1) + ramp * 4 + table + ramp * 3
    return icc(b"CMYK", b"Lab ", b"prtr", {b"A2B0": lut, b"wtpt": b"XYZ \0\0\0\0" + s15f16(0.9642, 1.0, 0.8249)})


def test_depths_and_modes_are_read_right(tmp_path):
    ramp = np.linspace(0, 255, PX).round().astype(np.uint8)[None].repeat(PX, 0)
    grey = Image.fromarray(ramp)
    wanted = ramp[..., None].repeat(3, 2).astype(np.int16)
    colours = np.stack([ramp, ramp.T, 255 - ramp], -1)
    deep = ramp.astype(np.uint16) * 257
    assert near(square_of(grey, tmp_path / "grey.png") - wanted, (0,), 0)
    assert near(square_of(Image.fromarray(deep), tmp_path / "deep.png") - wanted, (0,), 0)
    assert near(square_of(Image.fromarray(deep), tmp_path / "tif.tif") - wanted, (0,), 0)
    floats = Image.fromarray(ramp.astype(np.float32) / 255)
    assert near(square_of(floats, tmp_path / "float.tif") - wanted, (0,), 0)
    whole = Image.fromarray(deep.astype(np.int32))
    assert near(square_of(whole, tmp_path / "int.tif") - wanted, (0,), 0)
    far = Image.fromarray(deep.astype(np.int32) * 100 - 5)
    assert near(square_of(far, tmp_path / "far.tif") - wanted, (0,), 0)
    (tmp_path / "rgb16.png").write_bytes(png16(colours.astype(np.uint16) * 257, colour_type=2))
    assert near(pixels_of(tmp_path / "rgb16.png") - colours, (0,), 1)
    palette = Image.fromarray(colours).quantize(64)
    exact = np.asarray(palette.convert("RGB")).astype(np.int16)
    assert near(square_of(palette, tmp_path / "palette.png") - exact, (0,), 0)
    bits = Image.fromarray(ramp > 127)
    exact = np.where(ramp > 127, 255, 0)[..., None]
    assert near(square_of(bits, tmp_path / "bits.png") - exact, (0,), 0)
    inks = Image.fromarray(np.stack([ramp, ramp.T, 255 - ramp, ramp * 0 + 30], -1), "CMYK")
    exact = np.asarray(inks.convert("RGB")).astype(np.int16)
    assert near(square_of(inks, tmp_path / "cmyk.jpg", quality=98, subsampling=0) - exact, (0,), 8)
    lab = Image.merge("LAB", (grey, Image.new("L", grey.size, 128), Image.new("L", grey.size, 128)))
    pixels = square_of(lab, tmp_path / "lab.tif")
    assert np.ptp(pixels, axis=2).max() <= 3 and pixels[0, 0].max() < 4 and pixels[0, -1].min() > 251


def test_transparent_parts_are_laid_on_the_background(tmp_path):
    clear = figure(80, 80, alpha=True)
    pixels = square_of(clear, tmp_path / "a.png")
    assert near(pixels[0, 0], (255, 255, 255), 0), "no border is opaque, and what lies under it is no colour"
    assert near(pixels[32, 32], INK, 0)
    assert (pixels[..., 1] <= 255).all() and not near(pixels[17, 17], (0, 255, 0), 60), "the colour underneath bled in"
    assert near(square_of(clear, tmp_path / "a.png", background="#F6F1E6")[0, 0], PAPER, 0)
    assert near(square_of(clear, tmp_path / "a.png", alpha="ignore")[0, 0], (0, 255, 0), 0)
    assert near(square_of(clear, tmp_path / "a.png", background="keep")[0, 0], (255, 255, 255), 0)

    pixels = np.asarray(clear).copy()
    pixels[:8] = (*PAPER, 255)  # an opaque strip along the border
    pixels[8:40, :8, 3] = 100
    assert near(square_of(Image.fromarray(pixels), tmp_path / "b.png")[60, 60], PAPER, 1)

    half = np.zeros((PX, PX, 2), np.uint8)
    half[:, 8:40] = (0, 128)
    pixels = square_of(Image.fromarray(half, "LA"), tmp_path / "c.png")
    assert near(pixels[30, 20], (127, 127, 127), 1) and near(pixels[30, 60], (255, 255, 255), 0)

    palette = figure(PX, PX).quantize(4)
    paper = palette.getpixel((0, 0))
    pixels = square_of(palette, tmp_path / "d.png", transparency=paper, background="#ff0000")
    assert near(pixels[0, 0], (255, 0, 0), 0) and near(pixels[32, 32], INK, 2)
    pixels = pixels_of(tmp_path / "d.png", background="#ff0000", alpha="ignore")
    assert near(pixels[0, 0], PAPER, 2)

    deep = np.full((PX, PX), 65535, np.uint16)
    deep[8:40] = 257 * 50
    (tmp_path / "e.png").write_bytes(png16(deep, colour_type=0, transparent=struct.pack(">H", 65535)))
    pixels = pixels_of(tmp_path / "e.png", background="#00ff00")
    assert near(pixels[60, 60], (0, 255, 0), 0) and near(pixels[20, 20], (50, 50, 50), 0)


def test_colour_profiles_are_followed(tmp_path):
    picture = figure(PX, PX)
    red = ImageOps.colorize(picture.convert("L"), black=(200, 50, 50), white=(255, 255, 255))
    for ending, options in (("png", {}), ("jpg", {"quality": 98, "subsampling": 0}), ("tif", {})):
        path = tmp_path / f"x.{ending}"
        pixels = square_of(red, path, icc_profile=swapped_profile(), **options)
        ours = np.asarray(red)[32, 32].astype(int)
        assert near(pixels[32, 32], (ours[1], ours[0], ours[2]), 6), (ending, pixels[32, 32])
        paper = np.asarray(red)[0, 0].astype(int)
        assert near(pixels[0, 0], (paper[1], paper[0], paper[2]), 3)
    clear = red.copy()
    clear.putalpha(Image.fromarray(np.where(np.arange(PX)[None] < 40, 255, 0).repeat(PX, 0).astype(np.uint8)))
    pixels = square_of(clear, tmp_path / "alpha.png", icc_profile=swapped_profile())
    assert near(pixels[32, 32], (ours[1], ours[0], ours[2]), 6), "where it is opaque"
    assert near(pixels[32, 60], (paper[1], paper[0], paper[2]), 3), "laid on the colour of the opaque border"

    inks = Image.fromarray(np.zeros((PX, PX, 4), np.uint8), "CMYK")
    inks.paste((255, 0, 0, 0), (16, 16, 48, 48))
    pixels = square_of(inks, tmp_path / "cmyk.jpg", icc_profile=red_cyan_profile(), quality=98)
    assert near(pixels[2, 2], (255, 255, 255), 3)
    assert pixels[32, 32, 0] > 200 and pixels[32, 32, 1:].max() < 80, "cyan as its profile has it"

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey = picture.convert("L")
    pixels = square_of(grey, tmp_path / "grey.jpg", icc_profile=srgb, quality=98)
    assert near(pixels[32, 32], (grey.getpixel((32, 32)),), 3)

    path = tmp_path / "bad.png"
    pixels = square_of(picture, path, icc_profile=red_cyan_profile())  # of another kind of picture
    assert near(pixels[32, 32], INK, 0) and developed(path)[2].startswith("its colour profile cannot be used (")


@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_pictures_stand_upright(tmp_path, ending):
    upright = painting(3, 128, 96)
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what undoes the turn that EXIF asks for
    made = []
    for orientation, turn in back.items():
        lying = upright if turn is None else upright.transpose(Image.Transpose(turn))
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.{ending}"
        lying.save(path, exif=exif, **({"quality": 97} if ending == "jpg" else {}))
        made.append(developed(path))
    stack = np.stack([pixels for pixels, _, _ in made])
    assert np.abs(stack - stack[0]).max() <= (14 if ending == "jpg" else 2)
    assert {(facts.width_px, facts.height_px) for _, facts, _ in made} == {(128, 96)}
    assert {(int(facts.phash, 16) ^ int(made[0][1].phash, 16)).bit_count() <= 4 for _, facts, _ in made} == {True}


def test_ways_to_make_a_square(tmp_path):
    wide = tmp_path / "wide.png"
    pixels = square_of(figure(160, 80), wide)
    assert near(pixels[:16], PAPER, 0) and near(pixels[48:], PAPER, 0), "padded with the colour of the border"
    assert near(pixels[32, 18:46], INK, 3) and near(pixels[32, :14], PAPER, 3) and near(pixels[27:37, 32], INK, 3)
    pixels = square_of(figure(160, 80), wide, background="#102030")
    assert near(pixels[:16], (16, 32, 48), 0) and near(pixels[17:20, 0], PAPER, 2)
    stripes = Image.fromarray(np.repeat(np.arange(0, 240, 3, np.uint8), 2)[None, :, None].repeat(80, 0).repeat(3, 2))
    pixels = square_of(stripes, wide, background="keep")
    assert (pixels[0] == pixels[16]).all() and (pixels[-1] == pixels[47]).all() and np.ptp(pixels[0]) > 200
    pixels = square_of(figure(160, 80), wide, square="crop")
    assert near(pixels[18:46, 4:60], INK, 3) and near(pixels[:14], PAPER, 3) and near(pixels[50:], PAPER, 3)
    tall = square_of(figure(80, 160), tmp_path / "tall.png", square="crop")
    assert near(tall.transpose(1, 0, 2) - pixels, (0,), 1)
    small = square_of(figure(40, 40), tmp_path / "small.png")
    assert near(small[32, 32], INK, 0) and small.shape == (PX, PX, 3)


def test_a_large_jpeg_is_decoded_small_and_looks_the_same(tmp_path):
    large = painting(5, 1500, 1037)
    exact = large.resize((PX, round(1037 * PX / 1500)), Image.Resampling.LANCZOS)
    for ending in ("jpg", "png"):
        pixels = square_of(large, tmp_path / f"x.{ending}")
        top = (PX - exact.height) // 2
        assert np.abs(pixels[top : top + exact.height] - np.asarray(exact).astype(int)).max() <= 6


def test_the_hash_forgives_size_and_not_mirrors():
    def bits(one: Image.Image, other: Image.Image) -> int:
        hashes = [hash_of(np.asarray(image.resize((32, 32), Image.Resampling.LANCZOS))) for image in (one, other)]
        return (hashes[0] ^ hashes[1]).bit_count()

    for seed in range(10):
        picture = painting(seed, 200, 200)
        assert bits(picture, picture.resize((77, 77))) <= 2
        assert bits(picture, ImageOps.mirror(picture)) > 12 and bits(picture, painting(seed + 10)) > 12


def test_the_first_picture_of_an_animation_counts(tmp_path):
    frames = [painting(seed).quantize(128) for seed in (1, 2, 3)]
    path = tmp_path / "moving.gif"
    pixels = square_of(frames[0], path, save_all=True, append_images=frames[1:])
    first = np.asarray(frames[0].convert("RGB").resize((PX, PX), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(pixels - first).mean() < 1
