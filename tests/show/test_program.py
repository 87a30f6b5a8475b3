"""The program from outside: what a person types, sees, and reads when something is wrong."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

from performer import resources
from tests.rig.xvfb import ask_to_close
from tests.show.conftest import SETLIST
from tests.show.program import Program, free_port, free_tcp_port, left_of, run

SMALL = ("--headless", "--size", "160x90", "--osc-port", "0")


def test_without_arguments_the_bundled_show_plays_headless_where_there_is_no_screen(tmp_path):
    done = run("play", "--seconds", "1", "--snapshot", "last.png", "--osc-port", str(free_port()), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for line in (
        "no display (",
        "playing headless",
        "setlist  Metamorphosis",
        "engine   openvino",
        "first light after",
    ):
        assert line in done.stdout
    picture = np.asarray(Image.open(tmp_path / "last.png")).astype(float)
    assert picture.shape == (720, 1280, 3)
    assert picture.mean() > 8 and picture.std() > 8, "a black or an even picture"


def test_frames_are_written_in_order(tmp_path):
    done = run("play", *SMALL, "--seconds", "1", "--frames", "stills", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    names = sorted(path.name for path in (tmp_path / "stills").iterdir())
    assert len(names) >= 10
    assert all(re.fullmatch(r"\d{6}\.png", name) for name in names)
    first, last = (np.asarray(Image.open(tmp_path / "stills" / name)).astype(int) for name in (names[4], names[-1]))
    assert np.abs(first - last).mean() > 0.5, "nothing moved"


def test_a_warm_start_needs_no_torch(tmp_path):
    assert run("play", *SMALL, "--seconds", "0", cwd=tmp_path).returncode == 0  # fills the cache
    (tmp_path / "torch.py").write_text("raise ImportError('torch was imported')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = run("play", *SMALL, "--seconds", "0.2", cwd=tmp_path, env={"PYTHONPATH": path})
    assert done.returncode == 0 and "engine   openvino" in done.stdout, done.stdout
    assert "building" not in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_windowed_show_cleanly(screen, setlist, tmp_path, number):
    with Program(["play", str(setlist), "--osc-port", "0", "--size", "320x180"], cwd=tmp_path) as program:
        program.wait_for("first light after")
        pids = [child.pid for child in program.children()]
        assert pids
        program.signal(number)
        assert program.ended() == 0
        assert "played " in program.said and "Traceback" not in program.said
    assert left_of(pids) == []


def test_closing_the_window_ends_the_show(screen, setlist, tmp_path):
    with Program(["play", str(setlist), "--osc-port", "0", "--size", "320x180"], cwd=tmp_path) as program:
        program.wait_for("first light after")
        found = subprocess.run(
            ["xdotool", "search", "--name", "^performer$"], check=True, capture_output=True, text=True, timeout=10
        )
        ask_to_close(int(found.stdout.split()[0]))
        assert program.ended() == 0, program.said
        assert "played " in program.said


def test_children_end_when_the_show_is_killed(setlist, tmp_path):
    with Program(["play", str(setlist), *SMALL[:3], "--osc-port", str(free_port())], cwd=tmp_path) as program:
        program.wait_for("first light after")
        # Python's resource tracker is not ours, and ends by itself as well.
        pids = [child.pid for child in program.children() if "spawn_main" in " ".join(child.cmdline())]
        assert len(pids) == 2
        program.signal(signal.SIGKILL)
        program.ended()
        assert left_of(pids) == []


def test_what_cannot_be_played_is_refused_with_status_2(tmp_path):
    (tmp_path / "notes.txt").write_text("these are words")
    whole = (resources.CHECKPOINTS / "embryo.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:50_000])
    (tmp_path / "cut.toml").write_text(SETLIST.replace('"embryo"', '"cut"'))
    (tmp_path / "misspelt.toml").write_text(SETLIST.replace("fade = 0", "fad = 0", 1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        port = taken.getsockname()[1]
        for words, expected in (
            (["--file", "notes.txt"], r"notes\.txt' is not audio .*expected a sound or video file"),
            (["--device", "Nagra"], r"audio\.device: 'Nagra'"),
            (["cut.toml"], r"cut\.safetensors: not a whole safetensors file"),
            (["misspelt.toml"], r"cue\[0\]\.fad: unknown key \(did you mean 'fade'\?\)"),
            (
                ["--osc-port", str(port)],
                rf"OSC port {port} .*another program, or another performer, has it; close that",
            ),
            (["--cue", "coda"], r"no cue 'coda'; expected one of: larva, spinning, pupa"),
            (["--engine", "warp"], r"warp.*openvino"),
            (["--fps", "0"], r"--fps 0: expected 1 to 1000"),
            (["--size", "10x10"], r"--size 10x10: expected WIDTHxHEIGHT"),
            (["--snapshot", "."], r"--snapshot \.: is a folder"),
            (["--frames", "notes.txt/stills"], r"--frames notes\.txt/stills: cannot be written \(Not a directory\)"),
            (["--file", "a.wav", "--input"], r"expected one source of sound"),
        ):
            done = run("play", "--headless", *words, cwd=tmp_path)
            said = " ".join(done.stdout.split())
            assert done.returncode == 2 and re.search(expected, said), f"{words}: {done.stdout}"
            assert "Traceback" not in said


def test_check_reads_everything_and_compiles_the_shaders(tmp_path):
    done = run("check", cwd=tmp_path)
    assert done.returncode == 0 and "good: 6 cues" in done.stdout and "2 shaders" in done.stdout, done.stdout
    shutil.copy(resources.SHADERS / "grade.vs", tmp_path / "broken.vs")
    text = (resources.SHADERS / "grade.fs").read_text()
    (tmp_path / "broken.fs").write_text(text.replace("void main() {", "void main() { nonsense;"))
    (tmp_path / "bad.toml").write_text(SETLIST.replace("[audio]", 'shaders = ["broken"]\n[audio]', 1))
    done = run("check", "bad.toml", cwd=tmp_path)
    said = " ".join(done.stdout.split())
    assert done.returncode == 2 and "broken.fs: does not compile" in said and "nonsense" in said, done.stdout


def test_the_doctor_tells_what_a_show_can_use(tmp_path):
    done = run("doctor", "--osc-port", str(free_port()), cwd=tmp_path)
    assert done.returncode == 0 and "a show can play" in done.stdout, done.stdout
    for part in (
        "python",
        "files",
        "gpu",
        "opengl",
        "display",
        "engine    openvino",
        "engine    eager",
        "sound",
        "midi",
        "link",
        "osc",
    ):
        assert re.search(rf"^ +(ok|none)  {part}", done.stdout, re.MULTILINE), part
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        done = run("doctor", "--osc-port", str(taken.getsockname()[1]), cwd=tmp_path)
    assert done.returncode == 1 and re.search(r"FAIL +osc", done.stdout), done.stdout


def test_the_show_is_served_to_programs_that_browse(setlist, tmp_path):
    osc, http = free_port(), free_tcp_port()
    words = [
        "play",
        str(setlist),
        *SMALL[:3],
        "--osc-port",
        str(osc),
        "--http-port",
        str(http),
        "--osc-prefix",
        "/left",
    ]
    with Program(words, cwd=tmp_path) as program:
        program.wait_for("first light after")
        assert f"panel    http://127.0.0.1:{http}/\n" in program.said
        assert "addresses under /left" in program.said
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/left/macro/1?VALUE", timeout=10) as answer:
            assert json.load(answer) == {"VALUE": [0.0]}


def test_other_machines_need_the_token_that_is_printed(setlist, tmp_path):
    http = free_tcp_port()
    with Program(["play", str(setlist), *SMALL, "--http-port", str(http), "--lan"], cwd=tmp_path) as program:
        program.wait_for("first light after")
        found = re.search(rf"panel    http://[\d.]+:{http}/\?token=(\S+)", program.said)
        assert found and len(found[1]) >= 12
        assert (
            len(re.findall(r"^[ \u2580\u2584\u2588]{20,}$", program.said, re.MULTILINE)) >= 12
        )  # for a phone's camera
        assert urllib.request.urlopen(f"http://127.0.0.1:{http}/?token={found[1]}", timeout=10).status == 200
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"http://127.0.0.1:{http}/?token=guessed", timeout=10)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--lan"], "--lan without --http-port: expected the port"),
        (["--osc-prefix", "perf"], "--osc-prefix 'perf': expected names with a slash before each"),
        (["--http-port", "70000"], "--http-port 70000: expected 0 to 65535"),
    ],
)
def test_what_cannot_be_served_is_refused(tmp_path, words, expected):
    done = run("play", "--headless", *words, cwd=tmp_path)
    assert done.returncode == 2 and expected in " ".join(done.stdout.split()), done.stdout


def test_a_setlist_is_begun_checked_and_printed(tmp_path):
    assert run("setlist", "new", "my-first", "--species", "pupa", cwd=tmp_path).returncode == 0
    text = (tmp_path / "my-first.toml").read_text()
    assert 'name = "My first"' in text and 'species = "pupa"' in text
    done = run("setlist", "new", "my-first.toml", cwd=tmp_path)
    assert done.returncode == 2 and "is there already" in done.stdout
    assert (tmp_path / "my-first.toml").read_text() == text
    done = run("setlist", "new", "other", "--species", "nobody", cwd=tmp_path)
    assert done.returncode == 2 and "'nobody' not found" in done.stdout
    assert not (tmp_path / "other.toml").exists()
    (tmp_path / "my-first.toml").write_text(text.replace('source = "device"', 'source = "silence"'))
    assert run("check", "my-first.toml", cwd=tmp_path).returncode == 0
    done = run("setlist", "show", "my-first.toml", cwd=tmp_path)
    said = " ".join(done.stdout.split())
    assert done.returncode == 0 and "The song" in said and "1 bar" in said and "melody" in said
    assert "routes of all cues: kick" in said
