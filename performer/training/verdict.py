"""How a figure is told: its name, what its value means in words, and the tables of a report.

The figures themselves stand in `measures.py`; nothing here changes one.

Thread: any. Pure.
"""

from dataclasses import asdict
from math import inf

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from performer.training.measures import Copies, Steadiness, Variety

NAME_WIDTH = 28  # letters

HEADINGS = {
    "distance": "How far from the real pictures (0 would be the same)",
    "variety": "How many different pictures there are (compare with the held-out ones)",
    "copies": "Whether it copies what it learnt from (1: no nearer to it than unseen pictures)",
    "walk": "How it moves on a slow walk",
}
NAMES = {
    "distance.kid": "the whole look (KID)",
    "distance.swd": "patches (SWD)",
    "distance.kid.lite0": "to a trained eye (KID)",
    "distance.fid.lite0": "to a trained eye (FID)",
    "variety.spread": "difference of any two",
    "variety.twins": "part that has a twin",
    "variety.density": "among real ones (density)",
    "variety.coverage": "kinds covered (coverage)",
    "copies.ratio": "distance to the nearest",
    "copies.near": "part that is very near",
    "walk.change": "change in a frame",
    "walk.jump": "largest change by the median",
    "walk.jerk": "change of the change",
    "walk.reversal": "part that is taken back",
    "walk.memory": "likeness of two changes",
    "walk.length": "perceptual path length",
}
# What a value below the number means. Of a distance: of the way from unseen pictures (0) to slightly blurred ones (1).
GRADES = {
    "distance": (
        (0.15, "as near as unseen ones"),
        (1, "nearer than blurred ones"),
        (4, "beyond blurred ones"),
        (inf, "far from real ones"),
    ),
    "variety.spread": (
        (0.6, "collapsed: they hardly differ"),
        (0.85, "they differ less than real ones"),
        (1.2, "they differ as real ones do"),
        (inf, "wild: some are like no real one"),
    ),
    "variety.twins": (
        (0.15, "the same do not come again"),
        (0.4, "some come again"),
        (inf, "collapsed: the same come again"),
    ),
    "variety.density": (
        (0.3, "most are like no real one"),
        (0.7, "many are like no real one"),
        (inf, "they lie where real ones lie"),
    ),
    "variety.coverage": (
        (0.5, "most kinds are missing"),
        (0.85, "some kinds are missing"),
        (inf, "nearly every kind is there"),
    ),
    "copies.ratio": (
        (0.4, "copies: see neighbours.png"),
        (0.75, "leans on them: neighbours.png"),
        (inf, "does not copy"),
    ),
    "copies.near": ((0.1, "few"), (inf, "some are copied: neighbours.png")),
    "walk.change": ((0.02, "stands still"), (inf, "in steps of a byte")),
    "walk.jump": ((2.5, "even"), (5, "uneven"), (inf, "jumps")),
    "walk.jerk": ((0.3, "glides"), (1, "restless"), (inf, "shakes")),
    "walk.reversal": ((0.05, "does not flicker"), (0.2, "flickers a little"), (inf, "flickers")),
    "walk.memory": ((0.3, "trembles"), (0.8, "flows unevenly"), (inf, "flows")),
    "walk.length": ((inf, "lower is smoother; 1 would be straight"),),
}
AS_FAR = 1.25  # times the distance of unseen pictures: no further
UNGRADED = "lower is better"

Found = Variety | Copies | Steadiness


class Figure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the report."""

    id: str
    name: str
    value: float
    words: str  # what it means, for whoever does not know the number
    deviation: float | None = None  # over subsets
    floor: float | None = None  # of held-out pictures in place of drawn ones
    blurred: float | None = None  # of held-out pictures, blurred a little


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`report.json`."""

    measures: int
    made_with: str
    species: str
    species_sha256: str
    set: str
    size_px: int
    psi: float  # of all that is measured, but for the walks
    walk_psi: float
    seed: int
    drawn: int
    real: int  # pictures that were learnt from; copies are looked for among all of them
    held_out: int
    matched: int  # of each, for figures that depend on the number
    frames: int
    notes: list[str]
    figures: list[Figure]


# A figure in words.


def distance(
    figure_id: str,
    values: list[float],  # of drawn pictures, and, where there are any, of unseen and of blurred ones
    deviation: float | None = None,
) -> Figure:
    """How far drawn pictures are from real ones, on the way from unseen pictures to blurred ones."""
    value, floor, blurred = _three(values)
    words = UNGRADED
    if floor is not None and blurred is not None and blurred > floor:  # where few are held out it may not be
        words = _graded("distance", (value - floor) / (blurred - floor))
    return Figure(
        id=figure_id,
        name=NAMES[figure_id],
        value=value,
        words=words,
        deviation=deviation,
        floor=floor,
        blurred=blurred,
    )


def detail(
    px: int,
    values: list[float],  # as above
) -> Figure:
    """A distance of one level: what blurred pictures have in the fine ones they have not in the coarse ones."""
    value, floor, blurred = _three(values)
    words = UNGRADED
    if floor is not None:
        times = value / max(floor, 1e-9)
        words = "as near as unseen ones" if times <= AS_FAR else f"{times:.1f} times unseen ones"
    return Figure(
        id=f"distance.swd.{px}",
        name=f"  details at {px} px",
        value=value,
        words=words,
        floor=floor,
        blurred=blurred,
    )


def _three(values: list[float]) -> tuple[float, float | None, float | None]:
    return (values[0], None, None) if len(values) == 1 else (values[0], values[1], values[2])


def figures(
    group: str,
    found: Found,
    floor: Found | None = None,  # the same of unseen pictures
) -> list[Figure]:
    """A figure for each number that was found, in order."""
    floors = {} if floor is None else asdict(floor)
    return [figure(f"{group}.{key}", value, floors.get(key)) for key, value in asdict(found).items()]


def figure(figure_id: str, value: float, floor: float | None = None) -> Figure:
    """A figure that is graded by its value alone, but for coverage."""
    # A few hundred unseen pictures do not cover everything either.
    judged = value / floor if figure_id == "variety.coverage" and floor else value
    return Figure(id=figure_id, name=NAMES[figure_id], value=value, words=_graded(figure_id, judged), floor=floor)


def _graded(figure_id: str, value: float) -> str:
    """The words of the first grade that `value` lies below."""
    grades = GRADES[figure_id]
    return next((words for below, words in grades if value < below), grades[-1][1])


# The report in tables.


def tables(report: Report) -> Group:
    """What the terminal shows: a table for each group; 80 letters wide at most."""
    parts: list[RenderableType] = [
        Text(
            f"{report.species}: {report.drawn:,} pictures drawn at truncation {report.psi:g}, "
            f"{report.real:,} real ones, {report.size_px} px",
            style="bold",
        )
    ]
    for group, heading in HEADINGS.items():
        figures = [figure for figure in report.figures if figure.id.startswith(f"{group}.")]
        if not figures:
            continue
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("", width=NAME_WIDTH)
        columns = [("drawn", "value"), ("held out", "floor"), ("blurred", "blurred")]
        columns = [
            (title, key) for title, key in columns if any(getattr(figure, key) is not None for figure in figures)
        ]
        for title, _ in columns:
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("")
        for figure in figures:
            table.add_row(figure.name, *(_short(getattr(figure, key)) for _, key in columns), figure.words)
        parts += [Text(), Text(heading, style="bold"), table]
    return Group(*parts)


def _short(value: float | None) -> str:
    """Three digits that count, as a person reads them."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
