"""What an operator types after `/`: words, `!inverse`, `label=value`."""

from collections.abc import Mapping
from typing import NamedTuple


class Filter(NamedTuple):
    """Terms that must all hold; empty lets everything through."""

    text: str = ""

    def holds(self, words: str, labels: Mapping[str, str] | None = None) -> bool:
        """Tell whether a row of these words and labels stays."""
        low = words.lower()
        return all(_holds(term, low, labels or {}) for term in self.text.split())


def _holds(term: str, words: str, labels: Mapping[str, str]) -> bool:
    if term.startswith("!") and len(term) > 1:
        return not _holds(term[1:], words, labels)
    key, equals, value = term.partition("=")
    if equals and key:
        return labels.get(key, "").lower() == value.lower()
    return term.lower() in words
