"""The documentation keeps up with the program: parameters, options, links."""

import dataclasses
import re
from pathlib import Path

import pytest

from performer.audio.features import feature_names
from performer.audio.knobs import ear_params
from performer.choosing import SafeFile
from performer.choreography.lfo import lfo_params
from performer.choreography.modulation import MADE
from performer.choreography.motion import bend_params, motion_params
from performer.cli import Play
from performer.params import FREE_INPUTS, PRESET_PADS, Kind, base_params
from performer.routes import CURVES, DRAWN, MODES, RouteFile
from performer.setlist import file as files
from performer.stage.compositor import effect_params, stage_params
from performer.stage.keys import KEYS, WINDOW_KEYS
from performer.triggers import TriggerFile

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PARAMS = [
    *base_params(),
    *ear_params([]),
    *lfo_params(),
    *motion_params(),
    *bend_params(),
    *stage_params(),
    *effect_params()[0],
]


FAMILIES = {name: f"`{each[0]}` to `{each[-1]}`" for each in (FREE_INPUTS, PRESET_PADS) for name in each}


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    """The anchors that a forge makes of a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("param", PARAMS, ids=lambda param: param.id)
def test_every_parameter_stands_in_the_table_with_its_range_and_default(param):
    name = FAMILIES.get(param.id, f"`{param.id}`")
    rows = [line for line in text_of("docs/setlists.md").splitlines() if line.startswith(f"| {name} |")]
    assert len(rows) == 1, f"docs/setlists.md, All parameters: expected one row for {param.id}"
    _, _, span, unit, default, what, _ = (cell.strip() for cell in rows[0].split("|"))
    if param.kind in (Kind.TRIGGER, Kind.TEXT):
        expected = ("trigger" if param.kind is Kind.TRIGGER else "name", "", "")
    elif param.kind is Kind.BOOL:
        expected = ("0 or 1", "", f"{param.default:g}")
    else:
        expected = (f"{param.low:g} to {param.high:g}", param.unit, f"{param.default:g}")
    assert (span, unit, default) == expected
    assert what == param.help + (" *(hand)*" if param.by_hand else "")


def test_every_key_of_a_setlist_is_explained():
    text = text_of("docs/setlists.md")
    kinds = (
        files.SetlistFile,
        files.AudioFile,
        files.VoiceFile,
        files.CueFile,
        files.KeyframeFile,
        SafeFile,
        RouteFile,
        files.BindFile,
        files.ControlFile,
        files.AbletonFile,
        files.LiveKnobFile,
        TriggerFile,
    )
    keys = {name for kind in kinds for name in kind.__struct_encode_fields__}
    assert [key for key in sorted(keys) if f"\n| `{key}` |" not in text] == []


def test_every_feature_curve_and_mode_is_named():
    text = text_of("docs/setlists.md")
    assert [name for name in (*feature_names(), *MADE, *DRAWN, *CURVES, *MODES) if f"`{name}`" not in text] == []


def test_every_option_of_play_is_mentioned():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    options = [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(Play) if field.name != "setlist"]
    assert [option for option in options if not re.search(rf"{option}(?![\w-])", text)] == []


def test_every_key_of_the_window_is_in_the_readme():
    named = {row.split("|")[1].strip().lower() for row in text_of("README.md").splitlines() if row.startswith("| ")}
    assert sorted({*KEYS, *WINDOW_KEYS} - named) == []


@pytest.mark.skipif(not (ROOT / "performer").is_dir(), reason="away from the checkout, pages point to files left there")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_points_to_something(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for target in re.findall(r"!?\[[^\]]*\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []
