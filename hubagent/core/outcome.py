"""What became of something that was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """Done, or not and why; `gate` names the condition that refused it, `took_s` seconds it took."""

    ok: bool
    why: str = ""
    gate: str = ""
    took_s: float | None = None
    score: Mapping[str, Any] | None = None  # what a drill showed
