"""From a folder of pictures to a set to train on. Every file here is really made, and really read."""

import hashlib
import io
import json
import os
import signal
import struct
import subprocess
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from rich.console import Console

from performer.refusal import Refused
from performer.training import sheet
from performer.training.dataset import DatasetOptions, load, prepare
from tests.show.program import PATIENCE_S, Program, command, run
from tests.training.test_develop import INK, PAPER, PX, figure, near, painting, png16, red_cyan_profile


def fill(folder: Path, count: int, *, first: int = 0) -> list[Path]:
    """So many paintings as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed:03}.png" for seed in range(first, first + count)]
    for seed, path in enumerate(paths, first):
        painting(seed).save(path)
    return paths


def make(folder: Path, **options) -> tuple[Path, list[str]]:
    """The set beside the folder, and what was said."""
    said: list[str] = []
    values = {"out": folder.parent / "set", "size_px": PX, "held_out": 0.0, **options}
    return prepare(DatasetOptions(folder=folder, **values), announce=said.append), said


def encoded(image: Image.Image, kind: str) -> bytes:
    """The content of a picture file."""
    content = io.BytesIO()
    image.save(content, format=kind)
    return content.getvalue()


def whys(out: Path) -> dict[str, tuple[str, str]]:
    return {one.source: (one.kind, one.why) for one in load(out).left_out}


def squares(out: Path) -> dict[str, bytes]:
    """Names and contents of all squares, wherever they stand."""
    paths = [*(out / "pictures").iterdir(), *(out / "held-out").iterdir()]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}


def test_a_folder_becomes_a_set(tmp_path):
    folder = tmp_path / "moths"
    fill(folder / "deep" / "er", 3)
    painting(7, 200, 100).save(folder / "wide.webp", quality=95)
    painting(8, 70, 50).save(folder / "small.bmp")
    (folder / "no-ending").write_bytes(encoded(painting(9), "TIFF"))
    (folder / "SOURCES.md").write_text("Mother's drawings.")
    (folder / "LICENCE").write_text("Hers.")
    (folder / "index.csv").write_text("a,b\n")
    (folder / ".DS_Store").write_bytes(b"\0\0")
    out, said = make(folder, origin="mother", name="Moths of home")
    made = load(out)
    assert [one.source for one in made.pictures] == [
        "deep/er/000.png", "deep/er/001.png", "deep/er/002.png", "no-ending", "small.bmp", "wide.webp"
    ]  # fmt: skip
    for one in made.pictures:
        assert one.file == f"pictures/{one.source_sha256[:12]}.png" and len(one.phash) == 16
        with Image.open(out / one.file) as image:
            assert (image.mode, image.size, image.format) == ("RGB", (PX, PX), "PNG") and "srgb" in image.info
    assert (made.pictures[5].width_px, made.pictures[5].height_px) == (200, 100)
    assert (made.name, made.origin, made.licence) == ("Moths of home", "mother", "see LICENCE, SOURCES.md")
    assert made.texts == ["LICENCE", "SOURCES.md"] and (out / "SOURCES.md").read_text() == "Mother's drawings."
    assert made.files == 7 and "sources  shorter side 50 to 120 px, median 120" in said
    assert whys(out) == {"index.csv": ("no picture", "nothing in it is a picture")}
    assert Image.open(out / "sheet.png").size == (3 * 128 + 2 * 2, 2 * 128 + 2)
    assert sorted(path.name for path in out.iterdir()) == [
        "LICENCE", "SOURCES.md", "held-out", "pictures", "set.json", "sheet.png"
    ]  # fmt: skip
    text = "\n".join(said)
    assert "kept     6 pictures of 7 files: 6 to learn from, 0 held out" in text and "index.csv: nothing in it" in text
    assert "training wants more: some hundreds of pictures, and this set has 6" in text
    _, said = make(folder, out=tmp_path / "larger", size_px=128, least_px=40)
    assert "sources  shorter side 50 to 120 px, median 120; 5 pictures smaller than 128 px enlarged" in said


def test_the_same_folder_gives_the_same_set(tmp_path):
    folder = tmp_path / "pictures"
    fill(folder, 12)
    sets = [make(folder, out=tmp_path / name, held_out=0.3)[0] for name in ("one", "two")]
    assert squares(sets[0]) == squares(sets[1])
    assert (sets[0] / "set.json").read_bytes() == (sets[1] / "set.json").read_bytes()
    assert (sets[0] / "sheet.png").read_bytes() == (sets[1] / "sheet.png").read_bytes()


def test_what_is_no_folder_of_pictures_is_refused(tmp_path):
    with pytest.raises(Refused, match=r"nowhere: is not there; expected a folder of pictures"):
        make(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(Refused, match=r"empty: is empty; expected pictures"):
        make(empty)
    texts = tmp_path / "texts"
    texts.mkdir()
    for name in ("a.txt", "b.md"):
        (texts / name).write_text("words")
    with pytest.raises(Refused, match=r"none of its 2 files can be used \(2 no picture\); expected pictures.*a\.txt"):
        make(texts)
    with pytest.raises(Refused, match=r"a\.txt: is a file; expected a folder"):
        make(texts / "a.txt")
    Image.new("RGB", (90, 90), INK).save(texts / "blank.png")
    with pytest.raises(Refused, match=r"none of its 3 files can be used \(1 blank, 2 no picture\)"):
        make(texts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "texts"], "a set without pictures was left"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size_px": 100}, r"--size 100: expected one of 32, 64, 128, 256, 512, 1024"),
        ({"size_px": 2048}, r"--size 2048"),
        ({"background": "ivory"}, r"--background ivory: expected keep, auto, or a colour such as #f6f1e6"),
        ({"alike_bits": 40}, r"--alike 40: expected 0 to 16"),
        ({"held_out": 0.9}, r"--held-out 0\.9: expected 0 \(none\) to 0\.5"),
        ({"least_px": 0}, r"--least 0"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, options, message):
    fill(tmp_path / "pictures", 1)
    with pytest.raises(Refused, match=message):
        make(tmp_path / "pictures", **options)


def test_where_the_set_cannot_be_is_refused(tmp_path):
    folder = tmp_path / "pictures"
    fill(folder, 2)
    with pytest.raises(Refused, match=r"the pictures lie in it"):
        make(folder, out=folder)
    with pytest.raises(Refused, match=r"the pictures lie in it"):
        make(folder, out=tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.doc").write_text("mine")
    with pytest.raises(Refused, match=r"--out .*other: holds other things; expected a new folder, or a set"):
        make(folder, out=other)
    with pytest.raises(Refused, match=r"thesis\.doc: is a file; expected a new folder"):
        make(folder, out=other / "thesis.doc")
    with pytest.raises(Refused, match=r"thesis\.doc.*(cannot be written|cannot be read) \(Not a directory"):
        make(folder, out=other / "thesis.doc" / "set")
    assert [path.name for path in other.iterdir()] == ["thesis.doc"]
    out, _ = make(folder)
    with pytest.raises(Refused, match=r"is a set already; expected the pictures"):
        make(out)
    (out / "set.json").write_text("{")
    with pytest.raises(Refused, match=r"set\.json: is not the set\.json of a set"):
        make(folder)
    with pytest.raises(Refused, match=r"has no set\.json; expected a set"):
        load(other)


def test_what_cannot_be_used_is_left_out_with_its_reason(tmp_path):
    folder = tmp_path / "pictures"
    paths = fill(folder, 4)
    painting(10, 300, 300).save(folder / "whole.jpg", quality=90)
    content = (folder / "whole.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(content[: len(content) // 2])
    (folder / "cut.png").write_bytes(paths[0].read_bytes()[:-3000])
    (folder / "zero.png").write_bytes(b"")
    (folder / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    (folder / "drawing.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EOF\n")
    painting(11, 31, 200).save(folder / "tiny.png")
    huge = bytearray(png16(np.zeros((1, 1), np.uint16), colour_type=0))
    huge[16:24] = struct.pack(">II", 30000, 30000)
    huge[29:33] = struct.pack(">I", zlib.crc32(bytes(huge[12:29])))
    (folder / "huge.png").write_bytes(huge)
    Image.new("L", (99, 99), 255).save(folder / "empty page.jpg")
    Image.new("RGBA", (99, 99), (255, 0, 0, 0)).save(folder / "nothing.png")
    os.symlink(folder, folder / "loop")
    os.symlink(tmp_path / "nowhere.png", folder / "dead.png")
    os.mkfifo(folder / "pipe.png")
    out, said = make(folder)
    left = whys(out)
    assert left.pop("cut.jpg")[1].startswith("breaks off, or is damaged (image file is truncated")
    assert left.pop("cut.png")[0] == "broken"
    assert left == {
        "zero.png": ("broken", "nothing in it is a picture"),
        "phone.HEIC": ("no picture", ".heic files cannot be read here; save it as .png or .jpg"),
        "drawing.eps": ("no picture", ".eps files cannot be read here; save it as .png or .jpg"),
        "tiny.png": ("too small", "31x200 px; 32 px are the least for the shorter side (--least)"),
        "huge.png": ("too large", "30000x30000 px; 400 million pixels are the most: make it smaller"),
        "empty page.jpg": ("blank", "one colour, without content"),
        "nothing.png": ("blank", "one colour, without content"),
        "loop": ("unreadable", "a link to a folder; links are not followed"),
        "dead.png": ("unreadable", "a link that leads nowhere"),
        "pipe.png": ("no picture", "not an ordinary file"),
    }
    assert [one.source for one in load(out).pictures] == ["000.png", "001.png", "002.png", "003.png", "whole.jpg"]
    assert any("left out 3: broken" in text for text in said) and any("tiny.png: 31x200 px" in text for text in said)
    assert len(squares(out)) == 5
    assert Image.MAX_IMAGE_PIXELS is not None, "Pillow's own limit was not put back"
    assert len(load(make(folder, least_px=20)[0]).pictures) == 6


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="files have no owner's permissions here")
def test_what_may_not_be_read_is_left_out():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "pictures")
        paths = fill(folder, 2)
        fill(folder / "closed", 1, first=5)
        paths[0].chmod(0)
        (folder / "closed").chmod(0)
        Path(name).chmod(0o777)
        is_root = os.geteuid() == 0
        if is_root:  # who may read everything
            os.seteuid(65534)
        try:
            out, _ = make(folder)
            left = whys(out)
            with pytest.raises(
                Refused, match=r"--out .* cannot be written \(Permission denied\); expected a folder of"
            ):
                make(folder, out=Path("/performer-test-set"))
        finally:
            if is_root:
                os.seteuid(0)
            (folder / "closed").chmod(0o700)
    assert left == {
        "000.png": ("unreadable", "cannot be read: Permission denied"),
        "closed": ("unreadable", "cannot be read: Permission denied"),
    }


def test_what_is_odd_of_a_picture_is_said(tmp_path):
    folder = tmp_path / "pictures"
    fill(folder, 7)
    for path in sorted(folder.iterdir())[:6]:
        with Image.open(path) as image:
            image.load()
        image.save(path, icc_profile=red_cyan_profile())  # of another kind of picture
    _, said = make(folder)
    notes = [text for text in said if text.startswith("note")]
    assert (
        notes[0].startswith("note     000.png: its colour profile cannot be used (")
        and notes[5] == "note     and 1 more"
    )


def test_of_pictures_that_are_alike_the_largest_stays(tmp_path):
    folder = tmp_path / "pictures"
    fill(folder, 5)
    original = painting(50, 300, 240)
    original.save(folder / "b original.png")
    (folder / "z copy.png").write_bytes((folder / "b original.png").read_bytes())
    original.resize((100, 80)).save(folder / "a smaller.png")
    original.save(folder / "c recompressed.jpg", quality=40)
    ImageOps.mirror(original).save(folder / "mirrored.png")
    Image.merge("RGB", original.split()[::-1]).save(folder / "recoloured.png")
    out, _ = make(folder)
    kept = [one.source for one in load(out).pictures]
    assert kept == [*(f"00{n}.png" for n in range(5)), "b original.png", "mirrored.png", "recoloured.png"]
    left = whys(out)
    assert left["z copy.png"] == ("duplicate", "the same file as b original.png")
    assert left["a smaller.png"][1].startswith("like b original.png (")
    assert left["c recompressed.jpg"][1].startswith("like b original.png (")
    assert len(squares(out)) == 8
    exact, _ = make(folder, alike_bits=0)
    assert len(squares(exact)) == 10 and list(whys(exact)) == ["z copy.png"]


def test_odd_names_are_read_and_shown(tmp_path):
    folder = tmp_path / "[red] 100% ü\u202e"
    names = [b"two\nlines.png", "ä 蛾 [bold].png".encode(), b"\xff\xfe bytes.png", b"-dash.png", b" .png"]
    folder.mkdir()
    for seed, name in enumerate(names):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(encoded(painting(seed), "PNG"))
    (folder / "new\x1b[2J.txt").write_text("no picture")
    out, said = make(folder)
    sources = {one.source for one in load(out).pictures}
    assert sources == {r"two\nlines.png", "ä 蛾 [bold].png", r"\udcff\udcfe bytes.png", "-dash.png", " .png"}
    assert json.loads((out / "set.json").read_text(encoding="utf-8"))["name"] == r"[red] 100% ü\u202e"
    assert r"         new\x1b[2J.txt: nothing in it is a picture" in said
    done = run("dataset", str(folder), "--out", str(out), "--size", "64", "--held-out", "0", cwd=tmp_path)
    assert done.returncode == 0 and "5 of 5 pictures have been made before" in done.stdout, done.stdout


def _stamps(out: Path) -> dict[str, tuple[int, int]]:
    paths = [*(out / "pictures").iterdir(), *(out / "held-out").iterdir()]
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def test_a_second_run_makes_only_what_is_new(tmp_path):
    folder = tmp_path / "pictures"
    paths = fill(folder, 6)
    painting(3).save(folder / "003 again.jpg", quality=80)
    out, _ = make(folder, licence="hers", origin="mother")
    before = _stamps(out)
    _, said = make(folder)
    assert _stamps(out) == before and not any("making squares" in text for text in said)
    assert "6 of 7 pictures have been made before" in said
    assert (load(out).licence, load(out).origin) == ("hers", "mother")

    paths[0].rename(folder / "aaa.png")
    fill(folder, 2, first=10)
    paths[1].unlink()
    _, said = make(folder)
    after = _stamps(out)
    assert len(after) == 7 and sum(after.get(name) == stamp for name, stamp in before.items()) == 5
    assert "making squares of 64 px of 2 pictures" in said
    assert "note     1 picture left the set: the sources are gone, or are left out now" in said
    assert {one.source for one in load(out).pictures} == {
        "aaa.png", "002.png", "003.png", "004.png", "005.png", "010.png", "011.png"
    }  # fmt: skip

    paths[3].unlink()  # of two that are alike, the one that was kept: now the other is wanted
    make(folder)
    assert "003 again.jpg" in {one.source for one in load(out).pictures} and len(squares(out)) == 7
    painting(4, 400, 400).save(folder / "004 larger.png")
    make(folder)
    assert whys(out)["004 larger.png"][1].startswith("like 004.png"), "a set does not change under a training"


def test_another_way_to_make_squares_makes_all_anew(tmp_path):
    folder = tmp_path / "pictures"
    fill(folder, 4)
    out, _ = make(folder)
    next(iter((out / "pictures").iterdir())).unlink()
    names = set(squares(out))
    _, said = make(folder, size_px=32, square="crop")
    assert "--size was 64 and is 32 and --square was pad and is crop: all 4 pictures are made anew" in said
    assert set(squares(out)) == names, "deleted ones stay deleted, and names are the same"
    assert {Image.open(out / name).size for name in names} == {(32, 32)}
    assert (load(out).size_px, load(out).square) == (32, "crop")


def test_the_command_line_says_it_all(tmp_path):
    fill(tmp_path / "pictures", 3)
    (tmp_path / "pictures" / "SOURCES.md").write_text("Mother's drawings.")
    words = (
        "--size 32 --square crop --background #102030 --alpha ignore --least 20 --alike 0 --held-out 0.5 --name Moths"
    )
    done = run("dataset", "pictures", *words.split(), "--licence", "CC0", "--origin", "mother", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    made = load(tmp_path / "pictures-set")
    assert (made.size_px, made.square, made.background, made.alpha) == (32, "crop", "#102030", "ignore")
    assert (made.least_px, made.alike_bits, made.held_out) == (20, 0, 0.5)
    assert (made.name, made.licence, made.origin) == ("Moths", "CC0", "mother")
    assert "licence  CC0" in done.stdout and "set      pictures-set" in done.stdout
    next(iter((tmp_path / "pictures-set").glob("*/*.png"))).unlink()
    said: list[str] = []
    terminal = Console(file=io.StringIO(), force_terminal=True)
    options = DatasetOptions(folder=tmp_path / "pictures", out=tmp_path / "pictures-set", size_px=32, restore=True)
    prepare(options, announce=said.append, console=terminal)
    assert "squares" in terminal.file.getvalue() and len(squares(tmp_path / "pictures-set")) == 3


def test_terms_nobody_has_said_follow_the_texts(tmp_path):
    fill(tmp_path / "pictures", 2)
    out, _ = make(tmp_path / "pictures")
    assert load(out).licence.startswith("unknown: ask whoever made the pictures")
    (tmp_path / "pictures" / "LICENSE.txt").write_text("Free.")
    make(tmp_path / "pictures")
    assert load(out).licence == "see LICENSE.txt" and (out / "LICENSE.txt").read_text() == "Free."


def test_what_somebody_deletes_stays_deleted(tmp_path):
    folder = tmp_path / "pictures"
    fill(folder, 5)
    painting(2).save(folder / "002 again.jpg", quality=80)
    painting(2, 400, 400).save(folder / "002 larger.jpg", quality=90)
    out, _ = make(folder, alike_bits=8)
    files = {one.source: out / one.file for one in load(out).pictures}
    assert list(files) == ["000.png", "001.png", "002 larger.jpg", "003.png", "004.png"]
    kept = files["000.png"].read_bytes()
    files["000.png"].unlink()
    files["002 larger.jpg"].unlink()
    fill(folder, 1, first=9)
    for _ in range(2):
        _, said = make(folder, alike_bits=8)
        assert [one.source for one in load(out).pictures] == ["001.png", "003.png", "004.png", "009.png"]
        assert any("2 pictures that somebody deleted from the set; --restore brings them back" in text for text in said)
        assert "like 002 larger.jpg, which was deleted from the set" in whys(out)["002.png"][1]
    files["000.png"].write_bytes(kept)  # out of the bin again
    make(folder, alike_bits=8)
    assert [one.source for one in load(out).deleted] == ["002 larger.jpg"] and files["000.png"].exists()
    _, said = make(folder, alike_bits=8, restore=True)
    assert len(load(out).pictures) == 6 and files["002 larger.jpg"].exists() and not load(out).deleted
    assert "making squares of 64 px of 1 picture" in said
    for path in (out / "pictures").iterdir():
        path.unlink()
    _, said = make(folder, alike_bits=8)
    assert any("kept     0 pictures" in text for text in said) and len(load(out).deleted) == 6


def test_held_out_pictures_are_the_same_in_every_run(tmp_path):
    folder = tmp_path / "pictures"
    fill(folder, 40)
    out, _ = make(folder, held_out=0.25)
    held = {path.name for path in (out / "held-out").iterdir()}
    assert 3 <= len(held) <= 20
    assert not held & {path.name for path in (out / "pictures").iterdir()}
    assert {Path(one.file).name for one in load(out).pictures if one.file.startswith("held-out/")} == held
    fill(folder, 10, first=40)
    make(folder, held_out=0.25)
    assert held == {path.name for path in (out / "held-out").iterdir()} & {*squares_of_first(out, 40)}
    moved = sorted((out / "pictures").iterdir())[0]
    moved.rename(out / "held-out" / moved.name)  # by somebody's own hand
    stamps = _stamps(out)
    make(folder, held_out=0.25)
    assert (out / "held-out" / moved.name).exists() and not moved.exists() and _stamps(out) == stamps
    make(folder, held_out=0.0)
    assert not list((out / "held-out").iterdir()) and _stamps(out) == stamps, "moved, and not made again"


def test_of_few_pictures_none_is_held_out(tmp_path):
    folder = tmp_path / "pictures"
    fill(folder, 19)
    out, said = make(folder, held_out=0.5)
    assert not list((out / "held-out").iterdir())
    assert "kept     19 pictures of 19 files: 19 to learn from, 0 held out, for there are fewer than 20" in said
    fill(folder, 1, first=19)
    make(folder, held_out=0.5)
    assert 3 <= len(list((out / "held-out").iterdir())) <= 17, "decided anew, of the first ones too"
    (folder / "019.png").unlink()
    make(folder, held_out=0.5)
    assert not list((out / "held-out").iterdir()) and len(load(out).pictures) == 19


def squares_of_first(out: Path, count: int) -> list[str]:
    """Names of the squares of the paintings below a number."""
    return [Path(one.file).name for one in load(out).pictures if int(one.source[:3]) < count]


def test_somebodys_own_work_in_the_set_is_left_alone(tmp_path):
    folder = tmp_path / "pictures"
    fill(folder, 3)
    out, _ = make(folder)
    edited, *_ = sorted((out / "pictures").iterdir())
    Image.new("RGB", (PX, PX), INK).save(edited)
    painting(70, PX, PX).save(out / "pictures" / "mine.png")
    _, said = make(folder)
    assert near(np.asarray(Image.open(edited)).astype(int), INK, 0) and (out / "pictures" / "mine.png").exists()
    assert "note     1 file in the set that it has not made: left alone" in said
    assert not any("making squares" in text for text in said)


def test_a_set_within_the_folder_is_not_read(tmp_path):
    folder = tmp_path / "pictures"
    fill(folder, 3)
    out, _ = make(folder, out=folder / "set")
    for _ in range(2):
        make(folder, out=folder / "set")
        assert [one.source for one in load(out).pictures] == ["000.png", "001.png", "002.png"] and not whys(out)
    other, _ = make(folder, out=tmp_path / "other")
    assert len(load(other).pictures) == 3
    assert whys(other) == {"set": ("prepared set", "a set, which has been made of other pictures")}


def test_interrupted_it_goes_on_where_it_was(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise = np.random.default_rng(1).integers(0, 256, (60, 300, 300, 3), np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{number:02}.bmp")
    words = ("dataset", str(folder), "--out", "set", "--size", "512", "--held-out", "0")
    unfinished = tmp_path / "set" / "unfinished"
    with Program(words, cwd=tmp_path) as program:
        end_s = time.monotonic() + PATIENCE_S
        while not list(unfinished.glob("*.png")):
            assert time.monotonic() < end_s, program.said
            time.sleep(0.01)
        program.signal(signal.SIGINT)
        assert program.ended() == 130, program.said
    assert "run it again, and it goes on from there" in program.said and "Traceback" not in program.said
    made = {path.name: path.read_bytes() for path in unfinished.iterdir()}
    assert 0 < len(made) < 60 and all(name.endswith(".png") for name in made)
    assert not load(tmp_path / "set").finished and not load(tmp_path / "set").pictures
    for path in sorted(folder.iterdir())[30:]:  # the rest would only take its time
        if f"{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}.png" not in made:
            path.unlink()
    left = len(list(folder.iterdir()))
    out, said = make(folder, size_px=512)
    assert f"{len(made)} of {left} pictures have been made before" in said
    assert load(out).finished and len(load(out).pictures) == left and not unfinished.exists()
    assert all((out / "pictures" / name).read_bytes() == content for name, content in made.items())


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    resource = pytest.importorskip("resource")
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise = np.random.default_rng(1).integers(0, 256, (3, 300, 300, 3), np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{number:02}.bmp")
    words = command("dataset", str(folder), "--out", "set", "--size", "256")
    done = subprocess.run(
        words,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        # A limit to the size of files: writing beyond it fails as it does on a full disk.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )
    message = done.stdout
    assert done.returncode == 2, message
    assert (
        "--out set: set/unfinished/" in message
        and "cannot be written (File too large)" in message
        and "Traceback" not in message
    )
    assert "room for about 1 MB; make room and run it again, and it goes on from there" in message
    assert [path.name for path in (tmp_path / "set").rglob("*") if path.is_file()] == ["set.json"]
    out, _ = make(folder, size_px=256)
    assert len(load(out).pictures) == 3


def test_sheets_hold_pictures_of_all_shapes(tmp_path):
    pictures = [np.asarray(painting(seed, 40, 40)) for seed in range(4)]
    drawn = sheet.sheet([*pictures, np.asarray(figure(40, 20))], columns=3, px=40, gap_px=2, ground=(9, 9, 9))
    assert drawn.shape == (82, 124, 3) and drawn.dtype == np.uint8
    assert (drawn[:40, 42:82] == pictures[1]).all() and (drawn[42:, :40] == pictures[3]).all()
    assert (drawn[:, 40:42] == 9).all() and (drawn[42:, 84:] == 9).all(), "gaps, and the place that stays empty"
    assert (drawn[42:52, 42:82] == 9).all() and (drawn[52, 42] == PAPER).all(), "a wide one is shown whole"
    assert sheet.sheet([], columns=2, px=8).shape == (8, 16, 3)
    paths = fill(tmp_path, 4)
    assert sheet.sheet_of_files(paths, columns=2, px=30).shape == (60, 60, 3)
    (tmp_path / "x.png").write_bytes(b"no")
    (tmp_path / "y.png").write_bytes(paths[0].read_bytes()[:-3000])
    spoilt = [tmp_path / "x.png", paths[0], tmp_path / "y.png"]
    drawn = sheet.sheet_of_files(spoilt, columns=3, px=30)
    assert (drawn[:, :30] == 255).all() and np.ptp(drawn[:, 30:60]) > 100 and (drawn[:, 60:] == 255).all()
    assert [sheet.columns_for(count) for count in (0, 1, 4, 5, 100)] == [1, 1, 2, 3, 10]
