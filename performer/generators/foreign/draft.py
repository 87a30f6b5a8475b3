"""What the reader of a layout hands back, before the last checks.

Thread: any.
"""

from dataclasses import dataclass, field
from typing import Any

from performer.flow import F32


@dataclass(slots=True, kw_only=True)
class Draft:
    """A generator under canonical keys; `notes` are sentences for people."""

    family: str
    source: str
    tensors: dict[str, F32]
    options: dict[str, Any]
    notes: list[str] = field(default_factory=list)
