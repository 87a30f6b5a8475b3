"""The doctor: what this machine can do for a show, what it lacks, and the remedy for each.

Thread: main. Everything is tried for real: a context is made, a port is bound, an engine is asked.
"""

import platform
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass

from rich.console import Console

from performer import __version__, cuda, resources
from performer.control.hands import RECEIVE_BUFFER_BYTES

LEAST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination."""

    what: str
    is_good: bool
    text: str
    remedy: str = ""  # what to do, where it is not good
    is_fault: bool = False  # without it no show plays; otherwise a show plays without the thing


def examine(*, osc_port: int) -> list[Finding]:
    """Look at everything. Never raises: what fails is a finding."""
    findings = []
    for part in (_python, _files, _gpu, _opengl, _display, _engines, _sound, _midi, _link, lambda: _ports(osc_port)):
        try:
            findings += part()
        except Exception as error:  # the doctor reports, also of its own accidents
            findings.append(Finding(getattr(part, "__name__", "check").strip("_"), False, repr(error), is_fault=True))
    return findings


def report(findings: list[Finding], *, console: Console) -> None:
    """Print the findings, each failing one with its remedy below it."""
    for finding in findings:
        mark, style = (
            ("ok", "green") if finding.is_good else ("FAIL", "bold red") if finding.is_fault else ("none", "yellow")
        )
        console.print(f"{mark:>5}", style=style, end="  ")
        console.print(f"{finding.what:<9} {finding.text}", markup=False)
        if finding.remedy and not finding.is_good:
            console.print(f"{'':>18}{finding.remedy}", markup=False, style="italic")
    faults = sum(finding.is_fault for finding in findings)
    console.print("a show can play" if not faults else f"a show cannot play: {faults} to mend", style="bold")


def _python() -> list[Finding]:
    text = f"{platform.python_version()} on {platform.platform()}; performer {__version__}"
    good = sys.version_info >= LEAST_PYTHON
    return [Finding("python", good, text, "install Python 3.11 or newer, then `make venv` again", is_fault=not good)]


def _files() -> list[Finding]:
    missing = [
        str(path) for path in (resources.SHADERS, resources.SETLISTS, resources.CHECKPOINTS) if not any(path.glob("*"))
    ]
    text = f"missing: {', '.join(missing)}" if missing else f"shaders, setlists and checkpoints in {resources.ROOT}"
    return [Finding("files", not missing, text, "install performer again", is_fault=bool(missing))]


def _gpu() -> list[Finding]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return [
            Finding("gpu", False, "no NVIDIA driver found", "none needed: the processor draws and generates, at 256 px")
        ]
    query = [tool, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        words = (done.stdout + done.stderr).strip().splitlines()
        return [
            Finding(
                "gpu", False, words[0] if words else "nvidia-smi fails", "install the NVIDIA driver again, then reboot"
            )
        ]
    return [Finding("gpu", True, line.strip()) for line in lines]


def _opengl() -> list[Finding]:
    from performer.stage.outputs.headless import Headless
    from performer.stage.outputs.output import NoDisplay
    from performer.stage.upload import fault_of_sharing

    try:
        display = Headless(size_px=(64, 64))
    except NoDisplay as error:
        return [
            Finding("opengl", False, str(error), "apt-get install libegl1 libgl1-mesa-dri, or your card's driver", True)
        ]
    kind = "drawn by the processor" if display.is_software else "drawn by the graphics card"
    findings = [Finding("opengl", True, f"{display.description}, OpenGL {display.ctx.info['GL_VERSION']}, {kind}")]
    if not cuda.lacking():
        fault = fault_of_sharing(display.ctx)
        way = "pictures go from the NVIDIA card to the display " + ("through the host" if fault else "directly")
        findings.append(Finding("opengl", not fault, way, fault))
    display.close()
    return findings


def _display() -> list[Finding]:
    from performer.stage.outputs.output import NoDisplay
    from performer.stage.outputs.window import monitor_names

    try:
        return [Finding("display", True, f"monitor {name!r}") for name in monitor_names()]
    except NoDisplay as error:
        return [
            Finding(
                "display", False, str(error), "without one a show plays headless; set DISPLAY, or log in at the screen"
            )
        ]


def _engines() -> list[Finding]:
    from performer.engines.engine import engines

    findings = []
    for name, engine in engines().items():
        state = engine.probe()
        text = f"{name}: {state.reason} ({engine.suits})" if state.available else f"{name}, for {engine.suits}"
        findings.append(Finding("engine", state.available, text, state.reason))
    if not any(finding.is_good for finding in findings):
        findings.append(Finding("engine", False, "none can run", "pip install openvino", is_fault=True))
    return findings


def _sound() -> list[Finding]:
    from performer.audio.source import SourceError, list_devices

    try:
        devices = list_devices()
    except SourceError as error:
        return [Finding("sound", False, str(error), "apt-get install libportaudio2; files still play without it")]
    heard = [d for d in devices if d.max_input_channels]
    findings = [
        Finding(
            "sound", True, f"input {d.name!r} ({d.host_api}), {d.max_input_channels} channels, {d.default_rate_hz:g} Hz"
        )
        for d in heard
    ]
    remedy = "plug one in, or start PulseAudio or PipeWire; files still play, against the clock"
    return findings or [Finding("sound", False, "no input device", remedy)]


def _midi() -> list[Finding]:
    from performer.control.midi import MidiPorts

    ports = MidiPorts(received=lambda *_: None, now_s=lambda: 0.0)
    try:
        ports.look()
        names, problem = ports.names, ports.problem
    finally:
        ports.close()
    what, _, remedy = (problem or "no controller; plug one in, at any time").partition("; ")
    findings = [Finding("midi", True, f"controller {name!r}") for name in names]
    return findings or [Finding("midi", False, what, remedy or "on Linux: modprobe snd-seq, or start JACK")]


def _link() -> list[Finding]:
    from performer.control.tempo import LinkPeer

    what, _, remedy = LinkPeer().problem.partition("; ")
    return [Finding("link", not what, what or "Ableton Link is there; transport.link joins it", remedy)]


def _ports(osc_port: int) -> list[Finding]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        granted = probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        try:
            probe.bind(("0.0.0.0", osc_port))
        except OSError as error:
            remedy = (
                f"close the program that has it, or play with --osc-port {osc_port + 1 if osc_port < 65535 else 9001}"
            )
            return [Finding("osc", False, f"port {osc_port}: {error.strerror}", remedy, is_fault=True)]
    small = granted < RECEIVE_BUFFER_BYTES // 4
    text = f"port {osc_port} is free; {granted // 1024} KiB for messages that wait"
    if small:
        return [Finding("osc", False, text, "for floods of OSC: sysctl -w net.core.rmem_max=4194304")]
    return [Finding("osc", True, text)]
