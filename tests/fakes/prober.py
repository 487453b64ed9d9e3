"""A prober whose answers a test sets."""

from hubagent.edges.probes import Answer

WELL = Answer(True)


class FakeProber:
    """Answers every question with `answer`; `asked` keeps what was asked."""

    def __init__(self, answer: Answer = WELL) -> None:
        self.answer = answer
        self.asked = []

    async def check(self, kind, target, timeout_s, pid=None) -> Answer:
        """The set answer."""
        self.asked.append((kind, tuple(target)))
        return self.answer
