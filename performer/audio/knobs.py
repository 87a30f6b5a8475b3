"""The parameters of hearing, and the tuning that they make.

Thread: render. Owns: counts of presses.
"""

from collections.abc import Sequence

from performer.audio.analyser import Tuning
from performer.audio.levels import ADAPT_S
from performer.flow import F32, ControlEvent
from performer.params import Kind, Param, ParamTable

NO_GATE_DB = -90.0  # the gate's lowest place is off


def ear_params(voices: Sequence[str]) -> tuple[Param, ...]:
    """The knobs of hearing: of all voices, and of each."""
    own = []
    for name in voices:
        own += [
            Param(id=f"voice.{name}.gain", low=-40.0, high=40.0, unit="db", by_hand=True, help=f"gain of {name}"),
            Param(
                id=f"voice.{name}.gate", default=NO_GATE_DB, low=NO_GATE_DB, high=0.0, unit="db", by_hand=True,
                help=f"{name} is silent while quieter than this; {NO_GATE_DB:g} is off",
            ),
            Param(
                id=f"voice.{name}.delay", low=-0.5, high=0.5, unit="s", by_hand=True,
                help=f"how much later than the others {name} arrives; taken off its times",
            ),
            Param(
                id=f"voice.{name}.sensitivity", default=0.5, by_hand=True,
                help=f"how softly {name} may be struck: 0 hears hard hits alone, 1 the softest",
            ),
        ]  # fmt: skip
    return (
        Param(
            id="ears.hold",
            default=0.03,
            low=0.02,
            high=1.0,
            unit="s",
            curve="exp",
            by_hand=True,
            help="two hits of one kind are at least this far apart",
        ),
        Param(
            id="ears.hysteresis",
            default=0.5,
            low=0.05,
            high=0.95,
            by_hand=True,
            help="how far below its threshold a hit has to fall before the next",
        ),
        Param(
            id="ears.adapt",
            default=ADAPT_S,
            low=2.0,
            high=300.0,
            unit="s",
            curve="exp",
            by_hand=True,
            help="relative levels get used to music that is 10 dB softer in so long",
        ),
        Param(id="ears.freeze", kind=Kind.BOOL, by_hand=True, help="relative levels get used to nothing"),
        Param(id="ears.reset", kind=Kind.TRIGGER, help="relative levels, and learnt thresholds, begin anew"),
        Param(id="ears.learn", kind=Kind.TRIGGER, help="listen for four bars, then set the thresholds of hits by them"),
        *own,
    )


class Knobs:
    """Reads the tuning out of the parameters."""

    def __init__(self, table: ParamTable, voices: Sequence[str]) -> None:
        self._rows = {id: table.row(id) for id in ("ears.hold", "ears.hysteresis", "ears.adapt", "ears.freeze")}
        self._own = {
            knob: tuple(table.row(f"voice.{name}.{knob}") for name in voices)
            for knob in ("gain", "gate", "delay", "sensitivity")
        }
        self._resets = self._learns = self._taps = 0
        self._tap_s = self._tap_bpm = 0.0

    def tuning(self, values: F32, presses: Sequence[ControlEvent], *, tapped_bpm: float | None) -> Tuning:
        """The tuning of this frame.

        values: of all parameters. presses: triggers of this frame. tapped_bpm: the tempo that taps have made, if any.
        """
        for press in presses:
            self._resets += press.param == "ears.reset"
            self._learns += press.param == "ears.learn"
            if press.param == "transport.tap":
                self._taps += 1
                self._tap_s, self._tap_bpm = press.at_s, tapped_bpm or 0.0

        def of(knob: str) -> tuple[float, ...]:
            return tuple(round(float(values[row]), 6) for row in self._own[knob])

        def value(id: str) -> float:
            return round(float(values[self._rows[id]]), 6)

        return Tuning(
            gain_db=of("gain"),
            gate_db=tuple(gate if gate > NO_GATE_DB else float("-inf") for gate in of("gate")),
            delay_s=of("delay"),
            sensitivity=of("sensitivity"),
            hold_s=value("ears.hold"),
            hysteresis=value("ears.hysteresis"),
            adapt_s=value("ears.adapt"),
            is_frozen=value("ears.freeze") > 0,
            resets=self._resets,
            learns=self._learns,
            taps=self._taps,
            tap_bpm=self._tap_bpm,
            tap_s=self._tap_s,
        )
