"""The Textual app: drains the link on one timer, paints at most four times a second, and carries keys to screens."""

import gc
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.filter import NoColor
from textual.screen import Screen
from textual.theme import Theme

from console import themes
from console.actions import ACTIONS, Action
from console.clock import Clock
from console.errors import ConsoleError
from console.fleet import Fleet, LiveSeen, LogSeen, Report
from console.lock import Lock
from console.port import ConsoleLink
from console.present.commandline import VIEW_WORDS, parse
from console.present.commandline import Order as Typed
from console.present.groups import group_views
from console.present.header import Me
from console.present.keys import key_table
from console.present.states import Outlook, outlook
from console.present.text import Line, Span, line, safe
from console.present.views import Subject
from console.screens.deck_screen import DeckScreen
from console.screens.fleet import FleetScreen
from console.widgets.backlog import is_behind
from hubagent.wire.commands import allows

if TYPE_CHECKING:
    from console.config import Settings
    from console.present.plans import Choice

DRAIN_SECONDS = 0.25  # reports are taken four times a second, and news is painted then
PAINT_SECONDS = 1.0  # without news: the ages
NOTICE_SECONDS = 8.0
LEAVE_SECONDS = 3.0
COMPLETENESS_SECONDS = 86_400.0  # how far back the completeness statement reads


@dataclass(frozen=True, slots=True)
class Appearance:
    """How the console looks: chosen before the app is built, as Textual asks for it then."""

    theme: Theme
    is_ascii: bool = False
    is_colourless: bool = False
    themes_dir: Path | None = None


class Hubdeck(App[int], inherit_bindings=False):
    """One operator's console over one fleet."""

    CSS_PATH = "console.tcss"
    TITLE = "hubdeck"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+c", "quit", show=False, priority=True, system=True)]
    ENABLE_COMMAND_PALETTE = True

    def __init__(
        self,
        link: ConsoleLink,
        clock: Clock,
        appearance: Appearance,
        *,
        is_unlocked: bool = False,
        own_keys: Mapping[str, str] | None = None,
    ) -> None:
        self._tone_defaults = dict(appearance.theme.variables)
        super().__init__(ansi_color=True if appearance.theme.ansi else None)
        if appearance.is_colourless:
            self._filters.append(NoColor())  # what Textual does for NO_COLOR, after the theme was chosen
        self.register_theme(appearance.theme)
        self.theme = appearance.theme.name
        self.link, self.clock, self.appearance = link, clock, appearance
        self.fleet = Fleet(clock.monotonic())
        self.lock = Lock(is_unlocked=is_unlocked)
        self.actions: tuple[Action, ...] = ACTIONS
        self.own_keys = dict(own_keys or {})
        self.keys: dict[str, str] = {}
        self.key_at = float("-inf")
        self.frozen_at: float | None = None
        self.said: tuple[Span, float] | None = None
        self.command_log: list[str] = []
        self.leave_asked_at = float("-inf")
        self._painted_at = float("-inf")
        self._bind_keys()

    # What screens read

    @property
    def is_ascii(self) -> bool:
        """Tell whether only ASCII may be drawn."""
        return self.appearance.is_ascii

    @property
    def me(self) -> Me:
        """Who sits here, and what they may do now."""
        return Me(self.link.identity, self.link.role, self.lock.is_unlocked, self.lock.until)

    @property
    def frozen_for(self) -> float | None:
        """Seconds since the view was frozen."""
        return None if self.frozen_at is None else self.clock.monotonic() - self.frozen_at

    @property
    def theme_names(self) -> Sequence[str]:
        """Themes that `:theme` knows."""
        return sorted(themes.available(self.appearance.themes_dir))

    def look(self) -> Outlook:
        """The fleet as a whole, now; frozen, as it was then."""
        now = self.clock.monotonic()
        return outlook(
            self.fleet, now if self.frozen_at is None else self.frozen_at, self.clock.wall(), is_ascii=self.is_ascii
        )

    def notice(self, now: float) -> Span | None:
        """What was said lately, or what makes the link useless."""
        if self.link.failure is not None:
            return Span(safe(self.link.failure), "crit")
        if self.said and self.clock.monotonic() - self.said[1] < NOTICE_SECONDS:
            return self.said[0]
        return None

    def active_hub(self, group: str) -> str:
        """The hub that is active in a group; empty where none is heard."""
        return next((view.active for view in group_views(self.fleet, self.look()) if view.name == group), "")

    # Textual's hooks

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Every tone has a value, whichever theme Textual is asked for."""
        return self._tone_defaults

    def get_default_screen(self) -> Screen[None]:
        """The first screen is the fleet's."""
        return FleetScreen()

    def on_mount(self) -> None:
        """Paint first, connect then."""
        self.set_interval(DRAIN_SECONDS, self.tick)
        self.call_after_refresh(self._begin)

    def on_unmount(self) -> None:
        """Nothing is left running."""
        self.link.stop()

    def get_system_commands(self, screen: Screen[object]):  # type: ignore[no-untyped-def]  # noqa: ANN201 - Textual's own type is private
        """The palette lists the actions of this screen, and themes."""
        from console.palette import entries

        yield from entries(self, screen)

    def _begin(self) -> None:
        self.paint_now()
        gc.enable()  # it was off while modules were read: nothing of them is ever garbage
        gc.freeze()
        self.link.start()
        self.link.check_copies()

    # Time

    def tick(self) -> None:
        """Take in what came; paint when there is news, and once a second in any case."""
        now = self.clock.monotonic()
        if self.lock.tick(now):
            self._bind_keys()
            self.say(self.lock.why, "warn")
        has_news = self.frozen_at is None and self._take(self.link.drain(), now)
        if has_news or now - self._painted_at >= PAINT_SECONDS - DRAIN_SECONDS / 2:
            self.paint_now()

    def paint_now(self) -> None:
        """Paint the screen on top, unless the terminal is behind."""
        if not self.is_running or not self.screen_stack or is_behind(self):
            return
        screen = self.screen
        if isinstance(screen, DeckScreen) and screen.is_mounted:
            self._painted_at = self.clock.monotonic()
            screen.paint(self.look())

    def _take(self, reports: Sequence[Report], now: float) -> bool:
        """Apply reports; True where one of them should not wait for the next second."""
        has_news = False
        for report in reports:
            has_news |= self._is_news(report)
            self.fleet.apply(report, now)
        return has_news

    def _is_news(self, report: Report) -> bool:
        if not isinstance(report, LiveSeen):
            return not isinstance(report, LogSeen) or bool(report.lines.lines)
        known = self.fleet.hub(report.live.hub).live
        return known is None or known.severity != report.live.severity or known.results != report.live.results

    # What keys and commands do

    def say(self, text: str, tone: str = "") -> None:
        """Say something in the status line for a while."""
        self.said = (Span(safe(text), tone), self.clock.monotonic())

    def act(self, action: Action, subjects: Sequence[Subject], choice: "Choice | None" = None) -> None:
        """Begin an action: choose, then preflight."""
        from console.acting import begin
        from console.present.plans import Choice

        self.set_frozen(is_frozen=False)
        if not self.lock.is_unlocked:
            self.say("read-only: :unlock 15m REASON", "warn")
        elif not allows(self.link.role, action.verb):
            self.say(
                f"{action.label} needs the role {action.min_role}; {self.link.identity} is {self.link.role}", "warn"
            )
        else:
            begin(self, action, choice or Choice(subjects=tuple(subjects)))

    def command(self, text: str) -> None:
        """Carry out what was typed after `:`."""
        typed = parse(text)
        if isinstance(typed, str):
            self.say(typed, "warn")
        else:
            self._carry_out(typed)

    def _carry_out(self, typed: Typed) -> None:
        from console.present.plans import Choice

        action = next((one for one in ACTIONS if one.name == typed.word), None)
        screen = self.screen
        if typed.word == "quit":
            self.exit(0)
        elif typed.word == "unlock":
            self.unlock(typed.seconds, typed.reason)
        elif typed.word == "lock":
            self.lock.close()
            self._bind_keys()
        elif typed.word == "theme":
            self.use_theme(typed.text)
        elif typed.word in VIEW_WORDS:
            self.show_view(typed.word)
        elif action is not None and action.changes:
            here = [Subject(typed.hub, typed.service, typed.group)]
            named = typed.hub or typed.group
            subjects = here if named else getattr(screen, "subjects", list)()
            self.act(action, subjects, Choice(typed.service, typed.group, typed.to, typed.reason, tuple(subjects)))
        elif action is not None and isinstance(screen, DeckScreen) and not screen.do(action.name):
            self.say(f"{action.label}: not here", "warn")

    def unlock(self, seconds: float, reason: str) -> None:
        """Ask a hub to note it in the audit; unlocked when one has."""
        hub = next(
            (one.id for one in self.fleet.hubs.values() if one.live and (one.age(self.clock.monotonic()) or 0) < 3), ""
        )
        if not hub:
            self.say("unlock: no hub is heard that could note it, and none that could be changed", "warn")
            return
        if not allows(self.link.role, "unlock"):
            self.say(f"unlock needs the role operator; {self.link.identity} is {self.link.role}", "warn")
            return
        self.lock.ask(self.link.send(hub, "unlock", {"seconds": seconds}, reason), seconds)
        self.say("unlock asked …")

    def use_theme(self, name: str) -> None:
        """Another theme, checked first."""
        try:
            theme = themes.load(themes.find(name, self.appearance.themes_dir))
        except ConsoleError as error:
            self.say(str(error), "warn")
            return
        self.register_theme(theme)
        self.theme = theme.name

    def show_view(self, name: str) -> None:
        """Back to the first screen, in this view."""
        while len(self.screen_stack) > 1:
            self.pop_screen()
        if isinstance(self.screen, FleetScreen):
            self.screen.show_view(name)

    def follow(self, subject: Subject) -> None:
        """Follow a service's output, choosing one where the row is a hub."""
        from console.acting import choose_service

        if not subject.hub:
            self.say("logs: put the cursor on a hub or a service", "warn")
        elif subject.service:
            self.link.follow(subject.hub, subject.service)
            self.say(f"following {subject.service}@{subject.hub}")
            self.show_view("logs")
        else:
            choose_service(self, "LOGS", (subject.hub,), lambda name: self.follow(subject._replace(service=name)))

    def open_hub(self, hub: str) -> None:
        """Open a hub's detail."""
        from console.screens.hub import HubScreen

        self.push_screen(HubScreen(hub))

    def show_completeness(self, hub: str) -> None:
        """What the servers hold of a hub, read now: complete or not, equal or not."""
        from console.present.copies import completeness_lines
        from console.screens.text import TextScreen

        asked = self.link.completeness(hub, self.clock.wall() - COMPLETENESS_SECONDS)

        def lines() -> Sequence[Line]:
            if not asked.done():
                return [line(Span("reading the streams of every hub server …", "dim"))]
            failure = asked.exception()
            if failure is not None:
                return [line(Span(safe(failure), "warn"))]
            return completeness_lines(asked.result(), "of the last 24 h")

        self.push_screen(TextScreen(f"COMPLETENESS {hub}", lines))

    def show_raw(self, hub: str) -> None:
        """The last message of a hub, made harmless."""
        from console.present.raw import raw_lines
        from console.screens.text import TextScreen

        if hub in self.fleet.hubs:
            self.push_screen(TextScreen(f"RAW {hub}", lambda: raw_lines(self.fleet.hub(hub))))

    def show_help(self) -> None:
        """Every key as it is now."""
        from console.present.help import help_lines
        from console.screens.text import TextScreen

        self.push_screen(TextScreen("HELP", lambda: help_lines(self.actions, self.keys, is_ascii=self.is_ascii)))

    def open_palette(self) -> None:
        """Everything by name."""
        self.action_command_palette()

    def close_screen(self) -> None:
        """Back to the screen below."""
        if len(self.screen_stack) > 1:
            self.pop_screen()

    def leave(self) -> None:
        """Quit at the second press, so that one `q` too many ends nothing."""
        now = self.clock.monotonic()
        if now - self.leave_asked_at < LEAVE_SECONDS:
            self.exit(0)
        self.leave_asked_at = now
        self.say("q again to quit")

    def toggle_freeze(self) -> None:
        """Freeze the view, or let it go on."""
        self.set_frozen(is_frozen=self.frozen_at is None)

    def set_frozen(self, *, is_frozen: bool) -> None:
        """A frozen view takes in nothing; the link keeps the latest meanwhile."""
        self.frozen_at = self.clock.monotonic() if is_frozen else None

    def log_command(self, text: str) -> None:
        """Remember what was sent, as a command line."""
        self.command_log.append(text)

    def explain_locked(self, key: str) -> bool:
        """Tell why a key that changes something does nothing now."""
        whole = key_table(self.actions, self.own_keys, may_change=True)
        if key not in whole or key in self.keys:
            return False
        self.say(f"{key} changes things; this console is read-only: :unlock 15m REASON", "warn")
        return True

    def _bind_keys(self) -> None:
        self.keys = key_table(self.actions, self.own_keys, may_change=self.lock.is_unlocked)


def appearance_of(
    settings: "Settings", environ: Mapping[str, str] | None = None, *, is_ascii: bool = False
) -> Appearance:
    """How the console looks by its settings and the terminal: NO_COLOR and monochrome choose the theme first."""
    environ = os.environ if environ is None else environ
    extra = Path(settings.themes_dir) if settings.themes_dir else None
    is_colourless = settings.monochrome or bool(environ.get("NO_COLOR"))
    name = themes.MONOCHROME if is_colourless else settings.theme or themes.DEFAULT
    return Appearance(themes.load(themes.find(name, extra)), is_ascii or settings.ascii, is_colourless, extra)
