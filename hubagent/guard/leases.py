"""Which group may run its active services, under which token and until when; pure."""

Token = tuple[int, str]  # (epoch, holder): compared in this order


class Hold:
    """What a holder says of its authority at `at`: TERM at `term_at`, KILL at `deadline`, in seconds of CLOCK_BOOTTIME."""

    __slots__ = ("at", "deadline", "group", "term_at", "token")

    def __init__(self, group: str, token: Token, term_at: float, deadline: float, at: float) -> None:
        self.group, self.token, self.at = group, token, at
        self.term_at, self.deadline = min(term_at, deadline), deadline

    @property
    def key(self) -> tuple[str, Token]:
        """Whose authority it is."""
        return self.group, self.token


class Lease:
    """One group's authority, as it was said last."""

    __slots__ = ("deadline", "has_termed", "term_at", "token")

    def __init__(self, hold: Hold) -> None:
        self.token = hold.token
        self.term_at, self.deadline = hold.term_at, hold.deadline
        self.has_termed = False


class Leases:
    """The live leases of all groups, and the highest token each group has ever shown."""

    def __init__(self, tokens: dict[str, Token] | None = None) -> None:
        self.tokens = dict(tokens or {})
        self._live: dict[str, Lease] = {}
        self._last: dict[str, Hold] = {}

    def is_news(self, group: str, token: Token) -> bool:
        """Tell whether this token rises: then it is made durable before it is obeyed."""
        return token > self.tokens.get(group, (0, ""))

    def replace(self, hold: Hold) -> str:
        """Set the group's deadline; a lower token, or an older word of the same, is refused and changes nothing."""
        group, token, last = hold.group, hold.token, self._last.get(hold.group)
        if token < self.tokens.get(group, (0, "")):
            epoch, holder = self.tokens[group]
            return f"token ({token[0]}, {token[1]}) is below ({epoch}, {holder})"
        if last is not None and last.token == token and hold.at < last.at:
            return "overtaken by what was said after it"  # authority that was given up must not come back to life
        self.tokens[group] = token
        self._last[group], self._live[group] = hold, Lease(hold)
        return ""

    def raise_to(self, group: str, token: Token) -> Token | None:
        """Take note of a higher token that has no deadline yet; what was the highest before, for `put_back`."""
        before = self.tokens.get(group)
        self.tokens[group] = token
        return before

    def put_back(self, group: str, before: Token | None) -> None:
        """Forget a token that could not be made durable; a live deadline stays what it is."""
        if before is None:
            self.tokens.pop(group, None)
        else:
            self.tokens[group] = before

    def refusal(self, group: str, token: Token, now: float) -> str:
        """Why an active service of this group may not start now; empty when it may."""
        lease = self._live.get(group)
        if token < self.tokens.get(group, (0, "")):
            return f"token ({token[0]}, {token[1]}) is below the highest seen"
        if lease is None or now >= lease.term_at:
            return "no live deadline for this group"
        if lease.token != token:
            return "the live deadline belongs to another token"
        return ""

    def due_terms(self, now: float) -> list[str]:
        """Groups whose services must be asked to stop now, each named once for each deadline."""
        groups = [name for name, lease in self._live.items() if now >= lease.term_at and not lease.has_termed]
        for name in groups:
            self._live[name].has_termed = True
        return groups

    def due_kills(self, now: float) -> list[tuple[str, Token]]:
        """Groups whose authority ends now; they are forgotten, their tokens are not."""
        groups = [(name, lease.token) for name, lease in self._live.items() if now >= lease.deadline]
        for name, _ in groups:
            del self._live[name]
        return groups

    def end(self, group: str, now: float) -> float | None:
        """Shorten a live deadline to the grace that lies before it, from now; the grace, None where none is live."""
        lease = self._live.get(group)
        if lease is None or now >= lease.deadline:
            return None
        grace_s = lease.deadline - max(lease.term_at, now)
        lease.term_at, lease.deadline = min(lease.term_at, now), min(lease.deadline, now + grace_s)
        return grace_s

    def deadline(self) -> float | None:
        """When one of the above has something to say next."""
        return min(
            (lease.deadline if lease.has_termed else lease.term_at for lease in self._live.values()), default=None
        )
