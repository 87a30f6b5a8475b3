"""The panel, in a real browser, beside a real show, at the size of a phone and of a desk."""

import json
import os
import re
import shutil
import signal
import socket
import time
import tomllib
import urllib.request

import pytest

from tests.control.test_osc import message
from tests.show.conftest import SETLIST
from tests.show.program import Program, free_port, free_tcp_port

sync_api = pytest.importorskip("playwright.sync_api")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZES = {"phone": (390, 844), "desk": (1280, 800)}
PATIENCE_S = 10.0
LAST = """
[[route]]
name = "calm"
from = "mix.all.level"
to = "latent.fine"
[preset.dim]
latent.noise = 0.25
[[cue]]
id = "3"
name = "The <end>"
notes = "& nothing else"
fade = 0
"""


@pytest.fixture(scope="module")
def browser():
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield made
        made.close()


class Played:
    """A show that plays, and its ports."""

    def __init__(self, folder, *more):
        self.osc, self.http = free_port(), free_tcp_port()
        self.setlist = folder / "show.toml"
        self.setlist.write_text(SETLIST + LAST)
        words = ["play", "show.toml", "--headless", "--size", "160x90", "--fps", "20"]
        ports = ["--osc-port", str(self.osc), "--http-port", str(self.http)]
        self.program = Program([*words, *ports, *more], cwd=folder)
        self.program.wait_for("first light after")

    def value(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/perf/{path}?VALUE", timeout=5) as answer:
            return json.load(answer)["VALUE"][0]

    def until(self, path, wanted):
        end = time.monotonic() + PATIENCE_S
        while (value := self.value(path)) != (pytest.approx(wanted, abs=1e-3) if isinstance(wanted, float) else wanted):
            assert time.monotonic() < end, f"{path} is {value}, not {wanted}"
            time.sleep(0.02)

    def send(self, address, *args):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.sendto(message(address, *args), ("127.0.0.1", self.osc))


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    made = Played(tmp_path_factory.mktemp("panel"))
    with made.program:
        yield made


@pytest.fixture(params=SIZES)
def page(request, browser, played):
    width, height = SIZES[request.param]
    context = browser.new_context(viewport={"width": width, "height": height}, has_touch=request.param == "phone")
    made, faults = context.new_page(), []
    made.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    made.on("pageerror", lambda error: faults.append(str(error)))
    made.goto(f"http://127.0.0.1:{played.http}/")
    made.wait_for_selector("body.connected", timeout=1e3 * PATIENCE_S)
    played.send("/perf/cue/goto", "1")
    played.until("cue/current", "1")
    played.until("cue/standby", "2")
    yield made
    context.close()
    assert faults == []


def fader(page, name):
    return page.locator(f'input[aria-label="{name}"]').first


def drag(page, name, value):
    """As a finger does: the value, and the event."""
    fader(page, name).evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', { bubbles: true })); }", value
    )


def test_cues_are_listed_gone_to_and_marked(page, played):
    assert page.locator("#cues [data-cue]").count() == 3
    assert page.inner_text('#cues button[data-cue="3"]').split("\n") == ["The <end>", "& nothing else"]
    assert "next: " in page.inner_text("#standby")
    page.click("#go")
    played.until("cue/current", "2")
    page.wait_for_selector('#cues button.on[data-cue="2"]')
    page.locator('#cues button[data-cue="3"]').click()  # it stands by; nothing begins by a slip of the thumb
    played.until("cue/standby", "3")
    page.wait_for_selector('#cues button.next[data-cue="3"]')
    assert played.value("cue/current") == "2"
    page.click("#go")
    played.until("cue/current", "3")
    page.wait_for_function("() => document.getElementById('standby').textContent === 'the last cue'")
    page.click('[data-press="cue/prev"]')
    played.until("cue/current", "2")


def test_a_cue_is_disarmed_and_armed_again(page, played):
    row = page.locator(".cue").nth(1)
    assert row.locator(".arm").inner_text() == "disarm"
    row.locator(".arm").click()
    played.until("cue/disarmed", "2")
    page.wait_for_selector('#cues button.out[data-cue="2"]')
    assert row.locator("[data-cue] span").inner_text() == "(2)"
    played.until("cue/standby", "3")
    page.wait_for_selector('#cues button.next[data-cue="3"]')
    page.click('[aria-label="arm 2"]')
    played.until("cue/disarmed", "")
    page.wait_for_selector('[aria-label="disarm 2"]')
    played.until("cue/standby", "2")


def test_a_cue_waits_for_the_bar_and_is_taken_back(page, played):
    page.click('#quantize button[data-beats="16"]')
    played.until("cue/quantize", 16)
    page.click("#go")
    played.until("cue/waiting", "2")
    page.wait_for_function("() => /begins in \\d+ beats?$/.test(document.getElementById('standby').textContent)")
    page.click('[data-press="cue/prev"]')
    played.until("cue/waiting", "")
    assert played.value("cue/current") == "1"
    page.click('#quantize button[data-beats="0"]')
    page.wait_for_selector('#quantize button.on[data-beats="0"]')
    played.until("cue/quantize", 0)


def route(page, name):
    return page.locator(f'[data-route="{name}"]')


def test_routes_are_muted_soloed_and_scaled_and_have_meters(page, played):
    assert page.locator(".route").count() == 2
    route(page, "kick").locator(".mute").click()
    played.until("mute/kick", True)
    page.wait_for_selector('[data-route="kick"].silent .mute.on')
    route(page, "kick").locator(".mute").click()
    played.until("mute/kick", False)
    route(page, "calm").locator(".solo").click()
    played.until("solo/calm", True)
    route(page, "calm").locator(".solo").click()
    played.until("solo/calm", False)
    drag(page, "route.kick", 0.5)
    played.until("route/kick", 0.5)
    drag(page, "route.kick", 1.0)
    played.until("route/kick", 1.0)
    page.wait_for_function(
        "() => { const m = /scaleX\\(([\\d.]+)/.exec(document.querySelector('[data-route=\"calm\"] .in b').style.transform);"
        " return m && Number(m[1]) > 0.01; }",
        timeout=1e3 * PATIENCE_S,
    )


def test_a_route_is_added_edited_removed_taken_back_and_saved(page, played):
    page.click("#route-add")
    page.wait_for_selector('[data-route="new1"] .edit')
    page.fill('input[aria-label="new1 from"]', "lfo.1")
    page.keyboard.press("Tab")
    page.fill('input[aria-label="new1 to"]', "latent.fine")
    page.keyboard.press("Tab")
    page.wait_for_function(
        "() => document.querySelector('[data-route=\"new1\"] small').textContent === 'lfo.1 → latent.fine'"
    )
    page.fill('input[aria-label="new1 amount"]', "1,5")
    page.keyboard.press("Tab")
    page.select_option('select[aria-label="new1 curve"]', "exp")
    page.check('input[aria-label="new1 invert"]')
    page.click("#save")
    page.wait_for_function("() => document.getElementById('toast').textContent === 'saved in show.toml'")
    saved = tomllib.loads(played.setlist.read_text())["route"][-1]
    assert saved == {
        "name": "new1", "from": "lfo.1", "to": "latent.fine", "amount": 1.5, "curve": "exp", "invert": True,
    }  # fmt: skip
    page.fill('input[aria-label="new1 from"]', "lfo.9")
    page.keyboard.press("Tab")
    page.wait_for_selector("#toast.bad")
    assert "did you mean" in page.inner_text("#toast")
    assert page.input_value('input[aria-label="new1 from"]') == "lfo.1"  # as it is
    page.click('[data-route="new1"] .remove')
    page.wait_for_selector('[data-route="new1"]', state="detached")
    page.click("#route-undo")
    page.wait_for_selector('[data-route="new1"]')
    played.send("/perf/sys/route/remove", "new1")  # by another hand
    page.wait_for_selector('[data-route="new1"]', state="detached")
    page.click("#save")
    page.wait_for_function("() => document.getElementById('toast').textContent === 'saved in show.toml'")
    assert tomllib.loads(played.setlist.read_text()) == tomllib.loads(SETLIST + LAST)


def test_a_look_is_saved_glided_to_and_taken_back(page, played):
    drag(page, "preset.time", 0.0)
    played.until("preset/time", 0.0)
    page.wait_for_selector('[data-preset="dim"]')
    page.click('[data-preset="dim"]')
    played.until("latent/noise", 0.25)
    played.until("preset/current", "dim")
    page.wait_for_selector('[data-preset="dim"].on')
    page.click("#undo")
    played.until("latent/noise", 1.0)
    page.wait_for_function("() => document.getElementById('toast').textContent === 'taken back: preset dim'")
    page.click("#redo")
    played.until("latent/noise", 0.25)
    played.send("/perf/latent/coarse", 1.5)
    played.until("latent/coarse", 1.5)
    page.fill("#preset-name", "bright")
    page.click("#preset-save")
    page.wait_for_selector('[data-preset="bright"]')
    page.wait_for_function("() => document.getElementById('toast').textContent === 'saved in show.toml'")
    saved = tomllib.loads(played.setlist.read_text())["preset"]
    assert saved == {"dim": {"latent": {"noise": 0.25}}, "bright": {"latent.noise": 0.25, "latent.coarse": 1.5}}
    page.keyboard.press("Control+z")  # that it was saved
    page.wait_for_selector('[data-preset="bright"]', state="detached")
    page.keyboard.press("Control+Shift+z")
    page.wait_for_selector('[data-preset="bright"]')
    hold(page, "bright")
    assert page.inner_text("#preset-opened") == "bright"
    page.click("#preset-b")
    played.until("preset/b", 2)
    page.wait_for_function("() => document.querySelector('[data-preset=\"bright\"] small').textContent === 'B'")
    page.click("#preset-b")
    played.until("preset/b", 0)
    page.click("#preset-remove")
    page.wait_for_selector('[data-preset="bright"]', state="detached")
    assert page.locator("#preset-menu").is_hidden()
    page.wait_for_function("() => document.getElementById('toast').textContent === 'saved in show.toml'")
    end = time.monotonic() + PATIENCE_S
    while "bright" in tomllib.loads(played.setlist.read_text())["preset"]:
        assert time.monotonic() < end
        time.sleep(0.02)
    page.click("#surprise")
    page.click("#undo")
    page.wait_for_function("() => document.getElementById('toast').textContent === 'taken back: surprise'")


def hold(page, name):
    """A finger that stays."""
    button = page.locator(f'[data-preset="{name}"]')
    box = button.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.wait_for_selector("#preset-menu:visible")
    page.mouse.up()


def test_the_programme_is_seen_and_moves(page):
    page.wait_for_function("() => document.getElementById('preview').dataset.serial", timeout=1e3 * PATIENCE_S)
    serial = page.evaluate("() => Number(document.getElementById('preview').dataset.serial)")
    page.wait_for_function(f"() => Number(document.getElementById('preview').dataset.serial) > {serial}")
    width, height, brightest = page.evaluate(
        "() => { const c = document.getElementById('preview'); const d = c.getContext('2d').getImageData(0, 0, c.width,"
        " c.height).data; return [c.width, c.height, Math.max(...d.filter((_, i) => i % 4 < 3))]; }"
    )
    assert width / height == pytest.approx(160 / 90, abs=0.02)
    assert brightest > 30


def test_a_fader_moves_its_knob_and_follows_others(page, played):
    drag(page, "macro.1", 0.7)
    played.until("macro/1", 0.7)
    played.send("/perf/macro/2", 0.25)
    page.wait_for_function(
        "() => Math.abs(document.querySelector('input[aria-label=\"macro.2\"]').value - 0.25) < 0.01"
    )
    page.wait_for_selector('.param.driven[data-id="macro.2"]')  # the lamp of who drives
    drag(page, "out.dimmer", 0.5)
    played.until("out/dimmer", 0.5)
    drag(page, "out.dimmer", 1.0)
    played.until("out/dimmer", 1.0)


def test_switches_stay_as_they_are_set(page, played):
    for name in ("freeze", "blackout"):
        page.click(f'[data-switch="out/{name}"]')
        played.until(f"out/{name}", True)
        page.wait_for_selector(f'[data-switch="out/{name}"].on')
        page.click(f'[data-switch="out/{name}"]')
        played.until(f"out/{name}", False)


def test_taps_set_the_tempo(page, played):
    time.sleep(2.1)  # taps that come sooner go on with those of the test before
    before_s, after_s = [], []  # a tap falls between the two
    for _ in range(6):
        before_s.append(time.monotonic())
        page.locator("#tap").dispatch_event("pointerdown")
        after_s.append(time.monotonic())
        time.sleep(0.25)
    slowest, fastest = (0.97 * 300 / (after_s[-1] - before_s[0]), 1.03 * 300 / (before_s[-1] - after_s[0]))
    end = time.monotonic() + 3.0  # until the ear leads again
    while not slowest < played.value("transport/bpm") < fastest:
        assert time.monotonic() < end, (slowest, played.value("transport/bpm"), fastest)
        time.sleep(0.02)
    shown = page.wait_for_function("() => Number(document.getElementById('tempo').textContent)").json_value()
    assert slowest < shown < fastest


def test_everything_is_found_by_searching(page, played):
    page.fill("#search", "dimmer")
    page.wait_for_selector('#groups .param[data-id="out.dimmer"]:visible')
    shown = page.locator("#groups .param:visible").all()
    assert 0 < len(shown) < 5
    assert all("dimmer" in each.get_attribute("data-text") for each in shown)
    page.fill("#search", "walk.speed")
    row = page.locator('#groups .param[data-id="walk.speed"]')
    row.locator("input[type=range]").evaluate(
        "e => { e.value = 1.5; e.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    played.until("walk/speed", 1.5)


def test_a_fader_elsewhere_is_learnt_from_the_panel(page, played):
    page.locator('#macros .param[data-id="macro.8"] .learn').click()
    page.wait_for_selector('.param[data-id="macro.8"] .learn.on')
    start, address = time.monotonic(), f"/desk/{time.monotonic_ns()}"
    while time.monotonic() - start < 3.4:
        played.send(address, (time.monotonic() - start) % 1.0)
        time.sleep(0.02)
    page.wait_for_function(f"() => document.getElementById('log').textContent.includes('{address} moves macro.8')")
    played.send(address, 0.0)
    page.wait_for_function("() => document.querySelector('input[aria-label=\"macro.8\"]').value < 0.05")


def test_keys_do_what_they_do_in_the_window(page, played):
    page.keyboard.press(" ")
    played.until("cue/current", "2")
    page.keyboard.press("ArrowLeft")
    played.until("cue/current", "1")
    page.keyboard.press("ArrowDown")
    played.until("cue/standby", "3")
    page.keyboard.press("f")
    played.until("out/freeze", True)
    page.keyboard.press("f")
    played.until("out/freeze", False)
    page.focus("#search")
    page.keyboard.type("p b")  # typed, not played
    time.sleep(0.3)
    assert played.value("out/blackout") is False
    assert played.value("cue/current") == "1"


def test_figures_and_meters_are_alive(page):
    page.wait_for_function("() => Number(document.getElementById('fps').textContent) > 5", timeout=1e3 * PATIENCE_S)
    page.wait_for_function("() => parseFloat(document.getElementById('p99').textContent) > 1", timeout=1e3 * PATIENCE_S)
    assert page.inner_text("#engine") != ""
    assert page.locator(".meter").count() >= 5


def test_nothing_is_wider_than_the_screen_and_thumbs_find_their_buttons(page):
    wide, screen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= screen
    for button in page.locator("footer button").all():
        box = button.bounding_box()
        assert box["height"] >= 44 and box["width"] >= 44


def test_an_edited_setlist_is_seen_without_loading_the_page_again(page, played):
    before = played.setlist.read_text()
    edited = before.replace('name = "Test"', 'name = "Tonight"').replace('name = "The <end>"', 'name = "Almost"')
    edited = edited.replace("[preset.dim]", "[preset.blaze]\nlatent.noise = 2.0\n[preset.dim]")
    edited = edited.replace('name = "calm"', 'name = "calmer"') + '[[cue]]\nid = "4"\nname = "Encore"\nfade = 0\n'
    page.evaluate("window.stays = true")
    put(played.setlist, edited)
    page.wait_for_selector('#cues [data-cue="4"]', timeout=1e3 * PATIENCE_S)
    assert page.locator("#cues [data-cue]").count() == 4
    assert page.inner_text('#cues button[data-cue="3"]').startswith("Almost")
    page.wait_for_selector('[data-preset="blaze"]')
    page.wait_for_selector('[data-route="calmer"]')
    page.wait_for_selector('[data-route="calm"]', state="detached")
    assert page.inner_text("#name") == page.title() == "performer: Tonight"
    page.locator('#cues button[data-cue="4"]').click()
    played.until("cue/standby", "4")
    page.click("#go")
    played.until("cue/current", "4")
    drag(page, "route.calmer", 0.5)
    played.until("route/calmer", 0.5)
    put(played.setlist, edited.replace("fade = 0", "fade = no"))
    page.wait_for_function(  # and what plays goes on
        "() => /refused: .*show.toml/.test(document.getElementById('log').textContent)", timeout=1e3 * PATIENCE_S
    )
    played.send("/perf/cue/goto", "1")
    played.until("cue/current", "1")
    put(played.setlist, before)
    page.wait_for_selector('#cues [data-cue="4"]', state="detached", timeout=1e3 * PATIENCE_S)
    page.wait_for_selector('[data-route="calm"]')
    page.wait_for_selector('[data-preset="blaze"]', state="detached")
    assert page.title() == "performer: Test" and page.evaluate("window.stays") is True


def put(path, text):
    """As an editor saves."""
    beside = path.with_suffix(".part")
    beside.write_text(text)
    os.replace(beside, path)


def test_the_page_comes_back_when_the_control_process_does(page, played):
    end = time.monotonic() + PATIENCE_S  # what is being started holds the port for a moment, too
    while len(serving := [each for each in played.program.children() if serves(each, played.http)]) != 1:
        assert time.monotonic() < end, serving
    (control,) = serving
    os.kill(control.pid, signal.SIGKILL)
    page.wait_for_selector("body:not(.connected)", timeout=1e3 * PATIENCE_S)
    page.wait_for_selector("body.connected", timeout=1e3 * PATIENCE_S)
    drag(page, "macro.3", 0.4)
    played.until("macro/3", 0.4)


def serves(process, port):
    """Whether a process listens on a port."""
    return port in {each.laddr.port for each in process.net_connections(kind="tcp") if each.status == "LISTEN"}


def test_without_the_token_the_page_may_only_look(browser, tmp_path):
    guarded = Played(tmp_path, "--lan")
    with guarded.program:
        token = re.search(r"\?token=(\S+)", guarded.program.said)[1]
        page = browser.new_context().new_page()
        page.goto(f"http://127.0.0.1:{guarded.http}/")
        page.wait_for_selector("body.connected.readonly", timeout=1e3 * PATIENCE_S)
        drag(page, "macro.1", 0.7)
        time.sleep(0.3)
        assert guarded.value("macro/1") == 0.0
        page.goto(f"http://127.0.0.1:{guarded.http}/?token={token}")
        page.wait_for_selector("body.connected:not(.readonly)", timeout=1e3 * PATIENCE_S)
        drag(page, "macro.1", 0.7)
        guarded.until("macro/1", 0.7)
        assert page.goto(f"http://127.0.0.1:{guarded.http}/?token=wrong").status == 403


def test_the_page_runs_no_script_but_its_own(played, browser):
    with urllib.request.urlopen(
        urllib.request.Request(f"http://127.0.0.1:{played.http}/", headers={"Accept": "text/html"}), timeout=5
    ) as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy and "frame-ancestors 'none'" in policy
    page = browser.new_context().new_page()
    page.goto(f"http://127.0.0.1:{played.http}/")
    page.wait_for_selector("body.connected", timeout=1e3 * PATIENCE_S)
    page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.alien = 1'; document.body.append(s); }"
    )
    assert page.evaluate("() => window.alien === undefined")
