"""From a finger on the panel to the show: every control of the page, one after the other, while a show plays.

    python -m benchmarks.panel --json panel.json

Chromium, in a process of its own, touches each control of the panel in turn; the time runs from just before the touch is
handed to the browser until a frame has been shown that obeys it. What is asked for and never comes is named.

Thread: main; the browser is driven from a process of its own.
"""

import argparse
import multiprocessing
import shutil
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also when run by its path

from benchmarks import report, rig
from performer.audio.source import SourceSpec
from performer.show import Show

PATIENCE_S = 2.0
SIZES = {"phone": (390, 844), "desk": (1280, 800)}
Wanted = tuple[str, float | None]  # the parameter, and its value; None for a press


def controls(page: Any) -> Iterator[tuple[Any, str, Wanted | None]]:
    """(element, what to do in it, what the show is to obey) of everything on the page that plays."""
    page.evaluate(
        "() => { for (const d of document.querySelectorAll('#groups details')) { d.open = true; d.ontoggle(); } }"
    )
    for button in page.query_selector_all("[data-press]"):
        yield button, "e.click()", (button.get_attribute("data-press").replace("/", "."), None)
    yield page.query_selector("#go"), "e.click()", ("cue.go", None)
    yield page.query_selector("#tap"), "e.dispatchEvent(new Event('pointerdown'))", ("transport.tap", None)
    for button in page.query_selector_all("#cues button"):
        yield button, "e.click()", ("cue.load", None)
    for button in page.query_selector_all("#quantize button")[::-1]:
        yield button, "e.click()", ("cue.quantize", float(button.get_attribute("data-beats")))
    for button in page.query_selector_all("[data-switch]"):
        for value in (1.0, 0.0):
            yield button, "e.click()", (button.get_attribute("data-switch").replace("/", "."), value)
    for route in page.query_selector_all(".route"):
        name = route.get_attribute("data-route")
        for knob in ("mute", "solo"):
            for value in (1.0, 0.0):
                yield route.query_selector(f".{knob}"), "e.click()", (f"{knob}.{name}", value)
    for row in page.query_selector_all(".param"):
        name = row.get_attribute("data-id")
        press = row.query_selector("button.wide")
        if press is not None and press.text_content() in ("on", "off"):
            for _ in range(2):
                yield press, "e.click()", (name, 0.0 if press.text_content() == "on" else 1.0)
        elif press is not None:
            yield press, "e.click()", (name, None)
    for fader in page.query_selector_all("input[type=range]"):
        name = fader.get_attribute("aria-label")
        low, high, at = (float(fader.evaluate(f"e => e.{each}")) for each in ("min", "max", "value"))
        to = low + (0.37 if abs(at - low) > 0.5 * (high - low) else 0.74) * (high - low)
        value = fader.evaluate(
            "(e, v) => { const was = e.value; e.value = v; const got = e.value; e.value = was; return got; }", to
        )
        move = f"e.value = {value}; e.dispatchEvent(new Event('input', {{ bubbles: true }}))"
        yield fader, move, (name, float(value))


def touch(http_port: int, orders: Connection) -> None:
    """Entry point of the browser's process: touches everything, and sends what it found."""
    from playwright.sync_api import sync_playwright

    found = next(path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for name, (width, height) in SIZES.items():
            page = browser.new_page(viewport={"width": width, "height": height})
            page.goto(f"http://127.0.0.1:{http_port}/")
            page.wait_for_selector("body.connected")
            page.wait_for_selector(".route")
            for element, act, wanted in controls(page):
                orders.send(wanted)
                orders.recv()  # the show watches for it
                began_s = time.monotonic()
                element.evaluate(f"e => {{ {act} }}")
                seen_s = orders.recv()
                orders.send((name, wanted, None if seen_s is None else 1e3 * (seen_s - began_s)))
                orders.recv()
            page.close()
        browser.close()
    orders.send(None)


def obeys(show: Show, wanted: Wanted) -> bool:
    """Whether the newest frame is as it was asked for."""
    name, value = wanted
    if value is None:
        return any(press.param == name for press in show._controls.presses)
    param = show.table[name]
    return abs(float(show.params.knobs[show.table.row(name)]) - value) <= 2e-3 * (param.high - param.low)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    context = report.machine()
    source = SourceSpec(kind="file", path=str(rig.MUSIC), audible=False)
    took: dict[str, list[float]] = {name: [] for name in SIZES}
    slow: dict[str, float] = {}
    missed: list[str] = []
    with rig.show_of(
        "metamorphosis", size_px=rig.parsed_size(options.size), audio=source, headless=True, http=True
    ) as show:
        show.run(seconds=5.0)
        spawn = multiprocessing.get_context("spawn")
        orders, theirs = spawn.Pipe()
        browser = spawn.Process(target=touch, args=(show.hands.http_port, theirs), daemon=True)
        browser.start()
        show.frame_intervals_s = []
        while True:
            show.frame()
            if not orders.poll():
                continue
            wanted = orders.recv()
            if wanted is None:
                break
            orders.send(True)
            until_s = time.monotonic() + PATIENCE_S
            while True:
                show.frame()
                now_s = time.monotonic()
                if obeys(show, wanted) or now_s > until_s:
                    break
            orders.send(now_s if obeys(show, wanted) else None)
            size, (name, value), ms = orders.recv()
            orders.send(True)
            what = f"{size}: {name} {'' if value is None else f'to {value:g}'}".rstrip()
            if ms is None:
                missed.append(what)
            else:
                took[size].append(ms)
                slow[what] = round(ms, 1)
        figures: dict[str, Any] = {
            "controls": {size: len(each) for size, each in took.items()},
            "ms": {size: report.percentiles(each, 50, 95, 99) for size, each in took.items()},
            "never obeyed": missed,
            "over 100 ms": {what: ms for what, ms in slow.items() if ms > 100.0},
            "frame_ms": report.percentiles((1e3 * each for each in show.frame_intervals_s), 50, 95, 99),
            "machine": context,
            "commit": report.commit(),
        }
    report.publish("panel", figures, path=options.json)


if __name__ == "__main__":
    main()
