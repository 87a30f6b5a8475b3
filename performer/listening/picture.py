"""The picture of a track: what the live ear heard, drawn over what the offline pass found.

Time runs in rows. Each row has, from above: the sections; the waveform, coloured by the bands as the live ear hears
them; its hits; its onsets over the offline ones; its beats over the offline ones; its tempo and confidence. A mark
without its twin on the other side is red.

Thread: any. Pillow alone; each row is drawn twice as large and made smaller, so that thin lines are even.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from performer.audio.agreement import Agreement, Live
from performer.audio.analyser import Analysis
from performer.audio.features import column
from performer.audio.prepared import Prepared
from performer.audio.source import Sound
from performer.flow import F64, U8

Colour = tuple[int, int, int]

SOFTWARE = "performer listen"  # in the picture: one that says so may be drawn anew
WIDTH_PX = 1920
GUTTER_PX, MARGIN_PX = 132, 24  # left of the rows, with names; around all
ROW_S, MOST_ROWS = 60.0, 24  # longer tracks have longer rows
SCALE = 2  # rows are drawn so much larger

GROUND: Colour = (15, 17, 21)
LANE: Colour = (22, 25, 31)
INK: Colour = (226, 230, 236)
DIM: Colour = (138, 146, 158)
FAINT: Colour = (62, 68, 78)
LIVE: Colour = (92, 200, 255)
OFFLINE: Colour = (124, 222, 140)
WRONG: Colour = (255, 76, 96)
DROP: Colour = (255, 92, 214)
HIT_LANES: dict[str, Colour] = {"kick": (255, 140, 66), "snare": (255, 214, 92), "hat": (150, 214, 255)}
BAND_COLOURS: dict[str, Colour] = {
    "bass.level": (255, 108, 58),
    "mid.level": (232, 200, 104),
    "midhigh.level": (120, 220, 160),
    "high.level": (110, 176, 255),
}
SECTION_COLOURS: tuple[Colour, ...] = (
    (86, 130, 214),
    (214, 148, 70),
    (98, 178, 118),
    (188, 104, 178),
    (206, 96, 92),
    (78, 176, 182),
    (176, 170, 84),
    (142, 122, 214),
)

# Lanes of a row: top and height in px.
SECTIONS = (0, 20)
WAVE = (22, 88)
HITS_TOP, HIT_PX = 115, 16
ONSETS = (HITS_TOP + 3 * HIT_PX + 4, 30)
BEATS = (ONSETS[0] + ONSETS[1] + 5, 34)
TEMPO = (BEATS[0] + BEATS[1] + 5, 46)
AXIS = (TEMPO[0] + TEMPO[1] + 2, 18)
ROW_PX = AXIS[0] + AXIS[1]
ROW_GAP_PX = 20
HEADER_PX, LEGEND_PX = 84, 56
TEMPO_SPAN = 0.30  # the lane shows the offline tempo, more and less by this part of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """All that is drawn."""

    sound: Sound
    prepared: Prepared
    analysis: Analysis
    live: Live
    agreement: Agreement
    begin_s: float = 0.0  # of the stretch that is shown
    end_s: float | None = None  # the end of the track


def draw(subject: Subject) -> U8:
    """The picture: u8 [H, WIDTH_PX, 3], sRGB."""
    begin_s = subject.begin_s
    end_s = min(subject.end_s or math.inf, subject.prepared.duration_s)
    count = max(1, min(math.ceil((end_s - begin_s) / ROW_S - 1e-6), MOST_ROWS))
    row_s = (end_s - begin_s) / count
    height = MARGIN_PX + HEADER_PX + count * (ROW_PX + ROW_GAP_PX) + LEGEND_PX + MARGIN_PX
    canvas = Pillow.new("RGB", (WIDTH_PX, height), GROUND)
    _header(canvas, subject)
    full_scale = _full_scale(subject.sound)
    for row in range(count):
        drawn = _Row(subject, begin_s + row * row_s, row_s, full_scale).drawn()
        canvas.paste(drawn, (0, MARGIN_PX + HEADER_PX + row * (ROW_PX + ROW_GAP_PX)))
    _legend(canvas, height - MARGIN_PX - LEGEND_PX)
    return np.asarray(canvas)


def png(drawn: U8) -> bytes:
    """The picture as the content of a PNG file that says who made it."""
    info = PngInfo()
    info.add_text("Software", SOFTWARE)
    content = io.BytesIO()
    Pillow.fromarray(drawn).save(content, format="PNG", pnginfo=info)
    return content.getvalue()


def clock(at_s: float, *, tenths: bool = False) -> str:
    """Minutes and seconds, rounded: `2:05`, or `2:05.3`."""
    parts = 10 if tenths else 1
    whole, part = divmod(round(at_s * parts), parts)
    return f"{whole // 60}:{whole % 60:02d}" + (f".{part}" if tenths else "")


def _font(px: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=px)


def _full_scale(sound: Sound) -> float:
    """What fills the lane of the waveform: the loudest sample but few."""
    step = max(1, len(sound.samples) // 2_000_000)
    return max(float(np.quantile(np.abs(sound.samples[::step]).max(axis=1), 0.9995)), 1e-4)


class _Row:
    """One row: `length_s` from `begin_s`."""

    def __init__(self, subject: Subject, begin_s: float, length_s: float, full_scale: float) -> None:
        self.subject, self.begin_s, self.length_s, self.full_scale = subject, begin_s, length_s, full_scale
        self.end_s = begin_s + length_s
        self.left = GUTTER_PX * SCALE
        self.wide = (WIDTH_PX - GUTTER_PX - MARGIN_PX) * SCALE
        self.image = Pillow.new("RGB", (WIDTH_PX * SCALE, ROW_PX * SCALE), GROUND)
        self.pen = ImageDraw.Draw(self.image, "RGBA")  # blends

    def drawn(self) -> Pillow.Image:
        """The row at its own size."""
        self._grounds()
        self._wave()
        self._hits()
        self._onsets()
        self._beats()
        self._tempo()
        self._drops()
        self._axis()
        return self.image.resize((WIDTH_PX, ROW_PX), Pillow.Resampling.BOX)

    def x(self, at_s: float) -> float:
        return self.left + (at_s - self.begin_s) / self.length_s * self.wide

    def text(self, x: float, y: float, text: str, colour: Colour, *, px: int = 12, anchor: str = "rm") -> None:
        """At x in large pixels and y in small ones."""
        self.pen.text((x, y * SCALE), text, font=_font(px * SCALE), fill=colour, anchor=anchor)

    def box(self, from_s: float, to_s: float, lane: tuple[float, float], colour: tuple[int, ...]) -> None:
        left, right = max(self.x(from_s), self.left), min(self.x(to_s), self.left + self.wide)
        if right > left:
            self.pen.rectangle((left, lane[0] * SCALE, right - 1, sum(lane) * SCALE - 1), fill=colour)

    def tick(
        self, at_s: float, top: float, bottom: float, colour: tuple[int, ...], *, wide: int = 3, dot: bool = False
    ) -> None:
        """An upright line from `top` to `bottom` in small pixels."""
        if self.begin_s <= at_s < self.end_s:
            x = round(self.x(at_s)) - wide // 2
            self.pen.rectangle((x, round(top * SCALE), x + wide - 1, round(bottom * SCALE) - 1), fill=colour)
            if dot:
                middle, reach = x + wide / 2, 4
                self.pen.ellipse((middle - reach, top * SCALE - 2, middle + reach, top * SCALE + 6), fill=colour)

    def _grounds(self) -> None:
        lanes = [WAVE, *((HITS_TOP + i * HIT_PX, HIT_PX - 2) for i in range(3)), ONSETS, BEATS, TEMPO]
        prepared = self.subject.prepared
        labels = list(dict.fromkeys(section.label for section in prepared.sections))
        for lane in lanes:
            self.box(self.begin_s, self.end_s, lane, LANE)
        for section in prepared.sections:
            colour = SECTION_COLOURS[labels.index(section.label) % len(SECTION_COLOURS)]
            for lane in lanes:
                self.box(section.start_s, section.end_s, lane, (*colour, 34))
            self.box(section.start_s, section.end_s, SECTIONS, (*colour, 255))
            left, right = max(self.x(section.start_s), self.left), min(self.x(section.end_s), self.left + self.wide)
            again = "… " if section.start_s < self.begin_s else ""  # it began in the row above
            words = f"{again}{section.label}   {clock(section.start_s, tenths=True)}   {section.loudness_db:.0f} dB"
            for text in (words, section.label):
                if _font(13 * SCALE).getlength(text) < right - left - 16:
                    self.text(left + 12, SECTIONS[0] + SECTIONS[1] / 2, text, (12, 14, 18), px=13, anchor="lm")
                    break
            self.tick(section.start_s, 0, TEMPO[0] + TEMPO[1], (*colour, 200), wide=2)
        if len(prepared.beats_s) > 1 and self.wide / self.length_s * 240.0 / prepared.bpm > 12 * SCALE:
            for downbeat_s in prepared.downbeats_s:
                for lane in lanes:
                    self.tick(downbeat_s, lane[0], sum(lane), (255, 255, 255, 22), wide=2)
        names = [("sections", SECTIONS, DIM), ("waveform", WAVE, DIM)]
        names += [(kind, (HITS_TOP + i * HIT_PX, HIT_PX - 2), HIT_LANES[kind]) for i, kind in enumerate(HIT_LANES)]
        for name, (top, height) in (("onsets", ONSETS), ("beats", BEATS)):
            names += [(f"{name}  live", (top, height / 2), LIVE), ("offline", (top + height / 2, height / 2), OFFLINE)]
        for name, (top, height), colour in names:
            self.text(self.left - 16, top + height / 2, name, colour)

    def _wave(self) -> None:
        """Peaks up and down, a column of two large pixels each."""
        sound, columns = self.subject.sound, self.wide // 2
        edges = np.round((self.begin_s + np.arange(columns + 1) * self.length_s / columns) * sound.rate_hz).astype(int)
        edges = np.minimum(edges, len(sound.samples))
        piece = np.asarray(sound.samples[edges[0] : edges[-1]]).mean(axis=1)
        if not len(piece):
            return
        starts = np.minimum(edges[:-1] - edges[0], len(piece) - 1)
        high = np.clip(np.maximum.reduceat(piece, starts) / self.full_scale, 0.0, 1.0)
        low = np.clip(-np.minimum.reduceat(piece, starts) / self.full_scale, 0.0, 1.0)
        colours = self._band_colours(self.begin_s + (np.arange(columns) + 0.5) * self.length_s / columns)
        middle, half = (WAVE[0] + WAVE[1] / 2) * SCALE, (WAVE[1] / 2 - 2) * SCALE
        for index in range(columns):
            if edges[index] >= len(sound.samples):
                break
            x = self.left + 2 * index
            top, bottom = middle - half * high[index], middle + half * low[index]
            self.pen.rectangle((x, top, x + 1, max(bottom, top + 1)), fill=tuple(int(part) for part in colours[index]))

    def _band_colours(self, at_s: F64) -> F64:
        """[n, 3]: the bands' colours mixed by their levels, as the live ear hears them."""
        analysis = self.subject.analysis
        if not len(analysis.centre_s):
            return np.tile(np.array(DIM, np.float64), (len(at_s), 1))
        hops = np.clip(np.searchsorted(analysis.centre_s, at_s), 0, len(analysis.centre_s) - 1)
        levels = analysis.values[hops, 0][:, [column(name) for name in BAND_COLOURS]].astype(np.float64)
        shares = levels**4 + 1e-6
        return shares / shares.sum(axis=1, keepdims=True) @ np.array(list(BAND_COLOURS.values()), np.float64)

    def _hits(self) -> None:
        for index, (kind, colour) in enumerate(HIT_LANES.items()):
            bottom = HITS_TOP + (index + 1) * HIT_PX - 2
            hits = self.subject.live.hits[kind]
            for at_s, strength in zip(hits.at_s, hits.strength, strict=True):
                self.tick(at_s, bottom - (3 + (HIT_PX - 5) * strength), bottom, colour)

    def _onsets(self) -> None:
        top, height = ONSETS
        middle = top + height / 2
        agreed = self.subject.agreement.onsets
        for at_s, right in zip(self.subject.live.hits["onset"].at_s, agreed.found, strict=True):
            self.tick(at_s, top + 2, middle - 0.5, LIVE if right else WRONG, wide=2)
        for at_s, found in zip(self.subject.prepared.onsets_s, agreed.true, strict=True):
            self.tick(at_s, middle + 0.5, top + height - 2, OFFLINE if found else WRONG, wide=2)

    def _beats(self) -> None:
        live, prepared, agreed = self.subject.live, self.subject.prepared, self.subject.agreement.beats
        top, height = BEATS
        middle = top + height / 2
        for at_s, down, right in zip(live.beats_s, live.is_downbeat, agreed.found, strict=True):
            self.tick(at_s, middle - (height / 2 - 1 if down else height / 4), middle - 0.5, LIVE if right else WRONG)
        for number, (at_s, found) in enumerate(zip(prepared.beats_s, agreed.true, strict=True)):
            down = number % prepared.beats_per_bar == prepared.first_downbeat
            bottom = middle + (height / 2 - 1 if down else height / 4)
            self.tick(at_s, middle + 0.5, bottom, OFFLINE if found else WRONG)

    def _tempo(self) -> None:
        live, prepared = self.subject.live, self.subject.prepared
        top, height = TEMPO
        centre_bpm = prepared.bpm or 120.0
        low_bpm, high_bpm = centre_bpm * (1 - TEMPO_SPAN), centre_bpm * (1 + TEMPO_SPAN)

        def y(bpm: float) -> float:
            part = (min(max(bpm, low_bpm), high_bpm) - low_bpm) / (high_bpm - low_bpm)
            return (top + height - 3 - part * (height - 6)) * SCALE

        shown = np.flatnonzero((live.centre_s >= self.begin_s) & (live.centre_s < self.end_s))
        shown = shown[:: max(1, len(shown) // (self.wide // 2))]
        xs = [self.x(at_s) for at_s in live.centre_s[shown].tolist()]
        tempi_bpm = live.bpm[shown].tolist()
        floor = float((top + height) * SCALE - 1)
        if len(xs) > 1:
            tops = [floor - part * height * SCALE for part in live.confidence[shown].tolist()]
            area = [(xs[0], floor), *zip(xs, tops, strict=True), (xs[-1], floor)]
            self.pen.polygon(area, fill=(*LIVE, 52))
        line = _tempo_line(prepared.beats_s, self.begin_s, self.end_s)
        if len(line) > 1:
            self.pen.line([(self.x(at_s), y(bpm)) for at_s, bpm in line], fill=(*OFFLINE, 255), width=3)
        steps = zip(zip(xs, tempi_bpm, strict=True), zip(xs[1:], tempi_bpm[1:], strict=True), strict=False)
        named = False  # the stretch beyond the lane has its number
        for (x_before, before_bpm), (x, bpm) in steps:
            beyond = bpm > 0 and not low_bpm <= bpm <= high_bpm
            if bpm > 0 and before_bpm > 0:
                self.pen.line((x_before, y(before_bpm), x, y(bpm)), fill=WRONG if beyond else LIVE, width=4)
            if beyond and not named:
                place = y(bpm) / SCALE + (9 if bpm > high_bpm else -9)
                self.text(x + 6, place, f"{bpm:.0f}", WRONG, px=11, anchor="lm")
            named = beyond
        self.text(self.left - 16, top + 8, "tempo", DIM)
        if prepared.bpm:
            self.text(self.left - 16, top + height / 2 + 1, f"{centre_bpm:.1f}", OFFLINE)
            self.text(self.left - 16, top + height - 7, f"±{TEMPO_SPAN:.0%}", DIM, px=11)

    def _drops(self) -> None:
        for drop in self.subject.prepared.drops:
            if self.begin_s <= drop.at_s < self.end_s:
                x = self.x(drop.at_s)
                self.tick(drop.at_s, 0, TEMPO[0] + TEMPO[1], (*DROP, 220), wide=4)
                self.pen.polygon([(x - 14, 0), (x + 14, 0), (x, 24)], fill=DROP)
                words = f"drop {drop.strength:.1f}"
                reach = _font(13 * SCALE).getlength(words) + 20
                left = x - reach if x + reach > self.left + self.wide else x
                self.pen.rectangle((left, WAVE[0] * SCALE, left + reach, (WAVE[0] + 18) * SCALE), fill=(*GROUND, 220))
                self.text(left + 10, WAVE[0] + 9, words, DROP, px=13, anchor="lm")

    def _axis(self) -> None:
        step_s = next((step for step in (1, 2, 5, 10, 30, 60) if self.wide / self.length_s * step >= 70 * SCALE), 60)
        minor_s = {1: 0.25, 2: 0.5, 5: 1, 10: 2, 30: 5, 60: 10}[step_s]
        for number in range(math.ceil(self.begin_s / minor_s), math.ceil(self.end_s / minor_s)):
            self.tick(number * minor_s, AXIS[0], AXIS[0] + 3, FAINT, wide=2)
        for number in range(math.ceil(self.begin_s / step_s), math.ceil(self.end_s / step_s)):
            self.tick(number * step_s, AXIS[0], AXIS[0] + 5, DIM, wide=2)
            self.text(self.x(number * step_s), AXIS[0] + 12, clock(number * step_s), DIM, px=11, anchor="mm")


def _tempo_line(beats_s: tuple[float, ...], begin_s: float, end_s: float) -> list[tuple[float, float]]:
    """(time in s, beats per minute) of the offline beats, over four beats each."""
    spans = zip(beats_s, beats_s[4:], strict=False)
    return [((a + b) / 2, 240.0 / (b - a)) for a, b in spans if begin_s <= (a + b) / 2 < end_s]


def summary(prepared: Prepared) -> str:
    """One line: length, tempo, meter, and how much was found."""
    tempo = "no beat"
    if prepared.bpm:
        kind = "an even grid" if prepared.even else "by hand"
        tempo = f"{prepared.bpm:.2f} bpm, {kind}   {prepared.beats_per_bar} beats a bar"
    sections, drops = len(prepared.sections), len(prepared.drops)
    return (
        f"{clock(prepared.duration_s)}   {tempo}   {sections} section{'s' * (sections != 1)}   "
        f"{drops} drop{'s' * (drops != 1)}"
    )


def verdict(agreement: Agreement) -> str:
    """One line: how the live ear did."""
    onsets, beats = agreement.onsets, agreement.beats
    parts = [
        f"onsets F {onsets.f:.2f} (precision {onsets.precision:.2f}, recall {onsets.recall:.2f}) {onsets.off_ms:+.0f} ms"
    ]
    if len(beats.true):
        level = f", {agreement.level} the tempo" if agreement.level else ", on the off-beat" * agreement.between
        parts.append(f"beats F {beats.f:.2f} {beats.off_ms:+.0f} ms at {agreement.bpm:.1f} bpm{level}")
        lock = "never locks" if agreement.locked_s is None else f"locks after {agreement.locked_s:.1f} s"
        parts.append(lock)
    return "   ".join(parts)


def _header(canvas: Pillow.Image, subject: Subject) -> None:
    pen = ImageDraw.Draw(canvas)
    pen.text((MARGIN_PX, MARGIN_PX), subject.prepared.name, font=_font(24), fill=INK)
    pen.text((MARGIN_PX, MARGIN_PX + 32), f"offline   {summary(subject.prepared)}", font=_font(14), fill=OFFLINE)
    pen.text((MARGIN_PX, MARGIN_PX + 52), f"live         {verdict(subject.agreement)}", font=_font(14), fill=LIVE)


def _legend(canvas: Pillow.Image, top: int) -> None:
    pen = ImageDraw.Draw(canvas)
    font = _font(12)
    sides: list[tuple[Colour | None, str]] = [
        (LIVE, "the live ear, as it hears a show"),
        (OFFLINE, "the offline pass, with hindsight"),
        (WRONG, "no twin on the other side (onsets 50 ms, beats 70 ms); tempo beyond the lane"),
        (DROP, "drop, with its strength"),
    ]
    sounds: list[tuple[Colour | None, str]] = [(None, "waveform:")]
    sounds += [(colour, name.partition(".")[0]) for name, colour in BAND_COLOURS.items()]
    sounds += [(None, "hits, tall where strong:"), *((colour, kind) for kind, colour in HIT_LANES.items())]
    for line, row in enumerate((sides, sounds)):
        x, y = GUTTER_PX, top + 8 + 22 * line
        for colour, words in row:
            if colour is not None:
                pen.rectangle((x, y + 2, x + 11, y + 11), fill=colour)
                x += 18
            pen.text((x, y + 7), words, font=font, fill=DIM, anchor="lm")
            x += font.getlength(words) + (24 if colour else 12)
    words = "tall beats begin a bar, as do the faint uprights   shaded: how sure the live ear is of the tempo"
    pen.text((WIDTH_PX - MARGIN_PX, top + 37), words, font=font, fill=DIM, anchor="rm")
