"""Leads: which hand drives a parameter, so that two that move the same one do not fight.

Who moves a parameter first leads it. A stream that repeats its value moves nothing: it neither leads nor disturbs who does.
Another source takes the lead by moving once the leader has stood still for `LEAD_S`, or at once from one of its own machine
that has said one thing and no more: a command that sends a message and ends has another port each time. A source may also
ask for the lead, and then keeps it until it lets go.

Thread: the control process. Time is an argument.
"""

import math
from dataclasses import dataclass

LEAD_S = 1.0
_VALUES_KEPT = 8192  # of streams: a sender that invents addresses of its own must not fill the memory


@dataclass(slots=True)
class Lead:
    """Who drives one parameter."""

    source: str  # host:port, or what else names a hand
    moved_s: float
    is_kept: bool = False  # asked for: nobody takes it by moving
    is_single: bool = True  # it has moved it once

    @property
    def host(self) -> str:
        """Its machine."""
        return self.source.rpartition(":")[0]


class Leads:
    """The leads of all parameters, by row."""

    def __init__(self) -> None:
        self.of: dict[int, Lead] = {}
        self._told: dict[tuple[int, str], float] = {}

    def admits(self, row: int, value: float, *, at_s: float, source: str) -> bool:
        """Whether this value of this source is to be followed; who moves becomes the leader where it may."""
        key = (row, source)
        moved = self._told.get(key) != value
        if moved and key not in self._told and len(self._told) >= _VALUES_KEPT:
            self._told.clear()
        self._told[key] = value
        lead = self.of.get(row)
        if lead is not None and lead.source == source:
            if moved:
                lead.moved_s, lead.is_single = at_s, False
            return True
        if not moved or (lead is not None and not self._may_take(lead, at_s=at_s, source=source)):
            return False
        self.of[row] = Lead(source, at_s)
        return True

    def _may_take(self, lead: Lead, *, at_s: float, source: str) -> bool:
        if lead.is_kept:
            return False
        is_command = lead.is_single and bool(lead.host) and lead.host == source.rpartition(":")[0]
        return is_command or at_s - lead.moved_s >= LEAD_S

    def take(self, row: int, *, at_s: float, source: str) -> None:
        """Give the lead to who asks for it, until it lets go."""
        self.of[row] = Lead(source, at_s, is_kept=True)

    def let_go(self, row: int) -> None:
        """Nobody leads any more: who moves next does."""
        self.of.pop(row, None)

    def taken_back(self, row: int) -> None:
        """What was done to a parameter was taken back: whose stream repeats itself does not do it again, and is told."""
        lead = self.of.get(row)
        if lead is not None and lead.is_kept:
            lead.moved_s = -math.inf
        else:
            self.let_go(row)

    def gone(self, source: str) -> None:
        """A source has left: it leads nothing any more."""
        for row in [row for row, lead in self.of.items() if lead.source == source]:
            del self.of[row]

    def newest(self) -> tuple[int, Lead] | None:
        """The parameter that was moved last, and who moved it."""
        return max(self.of.items(), key=lambda item: item[1].moved_s, default=None)

    def driver(self, row: int, *, now_s: float, within_s: float) -> str:
        """Who has moved this parameter in the last `within_s`; empty for nobody."""
        lead = self.of.get(row)
        return lead.source if lead is not None and now_s - lead.moved_s <= within_s else ""
