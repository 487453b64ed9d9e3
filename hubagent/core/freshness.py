"""Which seqs make a command fresh, and how many commands in a while: bounded memories of time."""

from collections import OrderedDict

from hubagent.wire.commands import FRESH_SECONDS

LIVE_SEQS_MAX = 1024  # 30 s of live at its fastest; when full the oldest is forgotten, and so refused
HELLO_SEQS_MAX = 64
HELLO_SECONDS = 1.0  # asked more often, hello repeats its last seq: asking cannot push others' seqs out
HELLO_FIRST = 1 << 40  # hello counts far above live, so that the two never meet; exact in JSON


class Freshness:
    """Which seqs of this boot were emitted at most 30 s ago, by the hub's own clock."""

    def __init__(self, boot: str) -> None:
        self.boot = boot
        self._live: OrderedDict[int, float] = OrderedDict()
        self._hello: OrderedDict[int, float] = OrderedDict()

    def note(self, boot: str, seq: int, now: float) -> None:
        """Remember that live has just emitted this seq."""
        if boot == self.boot:
            _remember(self._live, seq, now, LIVE_SEQS_MAX)

    def hello(self, now: float) -> int:
        """A seq to hand out: a new one, or the last while that is younger than a second."""
        last = next(reversed(self._hello), None)
        if last is not None and now - self._hello[last] < HELLO_SECONDS:
            return last
        seq = HELLO_FIRST if last is None else last + 1
        _remember(self._hello, seq, now, HELLO_SEQS_MAX)
        return seq

    def fault(self, boot: str, seq: int, now: float) -> str:
        """Why this boot and seq are not fresh; empty when they are."""
        if boot != self.boot:
            return "it names another run of this hub's agent; look at the hub again, then repeat"
        emitted = self._live.get(seq, self._hello.get(seq))
        if emitted is None:
            return f"seq {seq} is none this hub emitted in the last {FRESH_SECONDS:.0f} s"
        if now - emitted > FRESH_SECONDS:
            return f"seq {seq} is {now - emitted:.0f} s old, at most {FRESH_SECONDS:.0f} s"
        return ""


def _remember(seqs: OrderedDict[int, float], seq: int, now: float, seqs_max: int) -> None:
    seqs.setdefault(seq, now)
    while seqs and (len(seqs) > seqs_max or now - next(iter(seqs.values())) > FRESH_SECONDS * 2):
        seqs.popitem(last=False)


class Allowance:
    """A token bucket: at most `burst` at once and `rate` a second after that."""

    def __init__(self, rate: float, burst: float) -> None:
        assert rate > 0, "an allowance that never refills refuses for ever"
        assert burst >= 1, "an allowance below one allows nothing"
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, 0.0

    def take(self, now: float) -> bool:
        """Use one, or tell that none is left."""
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
