"""Facts: everything that hands may read, by address, and what of it changed.

Thread: the control process.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from performer.control.osc import float_message, int_message, message, switch_message
from performer.control.query import READ, Leaf, Value, param_leaves
from performer.exchange import SharedLatest
from performer.flow import F32
from performer.params import Kind, ParamTable
from performer.routes import names_in

LEAST_FEATURE, LEAST_PART = 1e-3, 1e-5  # smaller changes are told to nobody: of a feature; of a parameter's range
Encoder = Callable[[float], bytes]


class Changes:
    """Numbers of which only what changed is told."""

    def __init__(self, encoders: Sequence[Encoder], least: F32) -> None:
        self._encoders = encoders
        self._least = least  # [n], a smaller change is told to nobody
        self._sent = np.full(len(encoders), np.inf, np.float32)

    def goes_on(self, before: "Changes") -> None:
        """Take over what was told of the first of these."""
        self._sent[: len(before._sent)] = before._sent

    def of(self, values: F32) -> list[tuple[int, bytes]]:
        """(row, datagram) of each of `values` [n] that changed since it was last told."""
        changed = []
        for row in np.flatnonzero(~(np.abs(values - self._sent) < self._least)).tolist():
            self._sent[row] = values[row]
            changed.append((row, self._encoders[row](float(values[row]))))
        return changed


class Facts:
    """What the knobs are at, what is heard, and how the show is."""

    def __init__(
        self,
        *,
        table: ParamTable,
        prefix: str,
        state: SharedLatest,
        features: Sequence[tuple[SharedLatest, tuple[int, ...]]],
        feature_names: Sequence[str],
        voices: Sequence[str],
        cues: Sequence[tuple[str, str]],
        preset_name: Callable[[int], str] = lambda number: "",
        edition: int = 0,
    ) -> None:
        """edition: how often the setlist was taken anew; what the show tells of another one means something else."""
        self._table, self._state, self._cues, self._features = table, state, cues, features
        self._edition, self._newest = edition, None
        self._encoders = [_encoder(param.kind)(table.address(param, prefix=prefix)) for param in table.params]
        self._typed = [
            switch_message(table.address(param, prefix=prefix)) if param.kind is Kind.BOOL else encoder
            for param, encoder in zip(table.params, self._encoders, strict=True)
        ]
        self._is_told = [not param.kind.is_command for param in table.params]
        self.rows = [row for row, is_told in enumerate(self._is_told) if is_told]  # of what has a value
        spans = np.array([LEAST_PART * (param.high - param.low) for param in table.params], np.float32)
        self._knobs = Changes(self._encoders, np.maximum(spans, 1e-7))
        heard = [[f"{prefix}/audio/{voice}/{name.replace('.', '/')}" for name in feature_names] for voice in voices]
        least = np.full(len(feature_names), LEAST_FEATURE, np.float32)
        self._heard = [Changes([float_message(address) for address in addresses], least) for addresses in heard]
        self._places = {
            address: (voice, column)
            for voice, addresses in enumerate(heard)
            for column, address in enumerate(addresses)
        }
        self._routes = names_in(table)
        meters = [f"{prefix}/meter/{name}/{end}" for name in self._routes for end in ("in", "out")]
        self._metered = Changes([float_message(address) for address in meters], np.full(len(meters), LEAST_FEATURE))
        self._meters = {address: place for place, address in enumerate(meters)}
        self._params = {table.address(param, prefix=prefix): row for row, param in enumerate(table.params)}
        self._figures: dict[str, Callable[[Any], float]] = {
            f"{prefix}/transport/beat": lambda state: float(state["beat"]),
            f"{prefix}/transport/phase": lambda state: float(state["beat"]) % 1.0,
            f"{prefix}/cue/wait": lambda state: float(state["wait_beats"]),
            f"{prefix}/sys/fps": lambda state: float(state["fps"]),
            f"{prefix}/sys/p99_ms": lambda state: float(state["frame_p99_ms"]),
            f"{prefix}/sys/latency_ms": lambda state: float(state["latency_ms"]),
        }
        self._figure_encoders = {address: float_message(address) for address in self._figures}
        self._texts: dict[str, Callable[[Any], str]] = {
            f"{prefix}/cue/current": lambda state: self._cues[int(state["cue"])][0],
            f"{prefix}/cue/name": lambda state: self._cues[int(state["cue"])][1],
            f"{prefix}/cue/standby": lambda state: self._cue_id(int(state["standby"])),
            f"{prefix}/cue/waiting": lambda state: self._cue_id(int(state["waiting"])),
            f"{prefix}/cue/disarmed": lambda state: self._cue_ids(state["disarmed"]),
            f"{prefix}/cue/absent": lambda state: self._cue_ids(state["absent"]),
            f"{prefix}/preset/current": lambda state: preset_name(int(state["preset"])),
            f"{prefix}/transport/leader": lambda state: _text(state["leader"]),
            f"{prefix}/sys/engine": lambda state: _text(state["engine"]),
            f"{prefix}/sys/state": lambda state: _text(state["state"]),
            f"{prefix}/sys/log": lambda state: _text(state["notice"]),
            f"{prefix}/sys/error": lambda state: self.refusal,
        }
        self.refusal = ""  # the newest message that was refused, and why
        self._sent_texts: dict[str, str] = {}
        self._prefix = prefix
        self.leaves = self._all_leaves()  # every address that is listed

    def _all_leaves(self) -> tuple[Leaf, ...]:
        helps = {
            "beat": "beats since the show began",
            "phase": "the part of a beat",
            "leader": "who leads the tempo",
            "fps": "frames a second",
            "p99_ms": "the slowest frame of a hundred",
            "latency_ms": "sound to light, in milliseconds; 0 while unknown",
            "engine": "what draws the pictures",
            "log": "the newest that was said to people",
            "cue/current": "id of the cue that plays",
            "preset/current": "name of the preset that was glided to last; empty for none, or after a surprise",
            "name": "its name",
            "standby": "id of the cue that GO starts; empty where the last one plays",
            "waiting": "id of the cue that was asked for and waits for its beat",
            "wait": "how long it waits, in beats",
            "disarmed": "ids of the cues that GO passes over, one a line",
            "absent": "ids of the cues whose species are not ready yet, one a line",
            "state": "playing, panic, freeze or blackout",
            "error": "the newest message that was refused, and why",
        }
        meter_help = {
            "in": "where in its range the source of the route is, 0..1",
            "out": "what the route brings, as a part of its target's range, -1..1",
        }
        return (
            *param_leaves(self._table, prefix=self._prefix),
            *(Leaf(address, "f", READ, "what is heard") for address in self._places),
            *(Leaf(address, "f", READ, meter_help[address.rpartition("/")[2]]) for address in self._meters),
            *(Leaf(address, "f", READ, helps[address.rpartition("/")[2]]) for address in self._figures),
            *(Leaf(address, "s", READ, _help_of(address, helps)) for address in self._texts),
        )

    def _cue_ids(self, marks: Any) -> str:
        """The ids of the cues that are marked, one a line."""
        return "\n".join(cue_id for (cue_id, _), is_so in zip(self._cues, marks, strict=False) if is_so)

    def _cue_id(self, index: int) -> str:
        return self._cues[index][0] if index >= 0 else ""

    def goes_on(self, before: "Facts") -> None:
        """Take over from those of the setlist before it was edited: what was told already is not told again."""
        self._knobs.goes_on(before._knobs)
        self._metered.goes_on(before._metered)
        self._heard, self._sent_texts, self.refusal = before._heard, before._sent_texts, before.refusal

    def _read(self) -> Any:
        """The newest that the show has told of this edition; None before it has."""
        state = self._state.read()
        if state is not None and int(state["edition"]) == self._edition:
            self._newest = state
        return self._newest

    def knobs(self) -> F32:
        """[P], what the knobs are at; the defaults before the first frame."""
        state = self._read()
        return self._table.defaults() if state is None else state["values"][: len(self._table)]

    def cue(self) -> int:
        """Index of the cue that plays; the first before the first frame."""
        state = self._read()
        return 0 if state is None else int(state["cue"])

    def begun(self) -> int:
        """How many cues have begun before the one that plays."""
        state = self._read()
        return 0 if state is None else int(state["begun"])

    def is_disarmed(self, cue: int) -> bool:
        """Whether a cue takes no part."""
        state = self._read()
        return state is not None and bool(state["disarmed"][cue])

    def value(self, address: str) -> Value:
        """The value of a leaf that can be read."""
        if address in self._params:
            return float(self.knobs()[self._params[address]])
        if address in self._places:
            voice, column = self._places[address]
            for features, rows in self._features:
                record = features.read()
                if record is not None and voice in rows:
                    return float(record["values"][rows.index(voice)][column])
            return 0.0
        state = self._read()
        if address in self._meters:
            return float(state["meters"].flat[self._meters[address]]) if state is not None else 0.0
        if address in self._figures:
            return self._figures[address](state) if state is not None else 0.0
        return self._texts[address](state) if state is not None else ""

    def datagram(self, address: str) -> bytes:
        """The same as OSC, a switch as `T` or `F`: for programs that know its type from the tree."""
        if address in self._params:
            return self.typed(self._params[address])
        value = self.value(address)
        return message(address, (value,)) if isinstance(value, str) else float_message(address)(value)

    def typed(self, row: int) -> bytes:
        """A row as OSC, a switch as `T` or `F`."""
        return self._typed[row](float(self.knobs()[row]))

    def value_of(self, row: int) -> bytes:
        """A row as OSC."""
        return self._encoders[row](float(self.knobs()[row]))

    def changed_knobs(self) -> list[tuple[int, bytes]]:
        """(row, datagram) of the knobs that moved."""
        state = self._read()
        if state is None:
            return []
        values = state["values"][: len(self._table)]
        return [(row, datagram) for row, datagram in self._knobs.of(values) if self._is_told[row]]

    def changed_features(self) -> list[bytes]:
        """What the room sounds like, where that changed."""
        datagrams = []
        for features, rows in self._features:
            record = features.read()
            if record is not None:
                for voice, values in zip(rows, record["values"], strict=True):
                    datagrams += [datagram for _, datagram in self._heard[voice].of(values)]
        return datagrams

    def changed_meters(self) -> list[bytes]:
        """What goes into routes and comes out of them, where that changed."""
        state = self._read()
        if state is None:
            return []
        return [datagram for _, datagram in self._metered.of(state["meters"].ravel()[: len(self._meters)])]

    def changed_state(self) -> list[bytes]:
        """How the show is; what is told in words where it changed."""
        state = self._read()
        if state is None:
            return []
        datagrams = [self._figure_encoders[address](figure(state)) for address, figure in self._figures.items()]
        for address, text_of in self._texts.items():
            text = text_of(state)
            if self._sent_texts.get(address) != text:
                self._sent_texts[address] = text
                datagrams.append(message(address, (text,)))
        return datagrams

    def texts(self) -> list[bytes]:
        """What is told in words; nothing before the first frame."""
        state = self._read()
        if state is None:
            return []
        return [message(address, (text_of(state),)) for address, text_of in self._texts.items()]


def _help_of(address: str, helps: Mapping[str, str]) -> str:
    """By the last two names of an address, or the last."""
    *_, above, name = address.split("/")
    return helps.get(f"{above}/{name}") or helps[name]


def _text(raw: bytes) -> str:
    return bytes(raw).decode("utf-8", "replace")


def _encoder(kind: Kind) -> Callable[[str], Encoder]:
    """Whole numbers and switches are told as whole numbers, for programs that show them as such."""
    return int_message if kind in (Kind.INT, Kind.BOOL) else float_message
