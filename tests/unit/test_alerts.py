"""Alerts: every move of the table, and what is told of it."""

import pytest

from hubagent.core.alerts import (
    DEFAULTS,
    MISSING_S,
    MOVES,
    Acknowledged,
    AlertCleared,
    AlertPolicy,
    AlertRaised,
    Alerts,
    Measured,
    Phase,
    PoliciesChanged,
    say,
    with_defaults,
)

MEM = AlertPolicy("memory", "mem.ratio", above=0.9, clear=0.8, for_s=10.0)


def feed(alerts: Alerts, *values: tuple[float, float | None], column: str = "mem.ratio"):
    """Give (time, value) pairs; return (time, effect name) of what came back."""
    told = []
    for now, value in values:
        effects = alerts.handle(Measured({column: value}, 1000.0 + now), now)
        told += [(now, type(effect).__name__) for effect in effects]
    return told


def test_raised_only_after_the_hold_time():
    """A short peak is no alert."""
    alerts = Alerts((MEM,))
    assert feed(alerts, (0, 0.95), (9, 0.95), (9.5, 0.85), (10, 0.95), (19, 0.95)) == []
    assert feed(alerts, (20, 0.95)) == [(20, "AlertRaised")]
    assert alerts.raised()[0].since == 1020.0


def test_cleared_only_when_quiet_for_the_hold_time():
    """Between clear and threshold nothing changes; a fall back begins the count anew."""
    alerts = Alerts((MEM,))
    feed(alerts, (0, 0.95), (10, 0.95))
    assert feed(alerts, (20, 0.85), (40, 0.79), (45, 0.85), (46, 0.79), (55, 0.79)) == []
    assert feed(alerts, (56, 0.79)) == [(56, "AlertCleared")]
    assert alerts.raised() == []


def test_past_again_while_easing_stays_raised_without_a_second_alert():
    """One alert for one trouble."""
    alerts = Alerts((MEM,))
    feed(alerts, (0, 0.95), (10, 0.95))
    assert feed(alerts, (11, 0.7), (12, 0.95), (30, 0.95)) == []
    assert len(alerts.raised()) == 1


def test_no_hold_time_raises_at_once():
    """for_s 0 means the first row."""
    policy = AlertPolicy("low", "processes", below=10.0, for_s=0.0)
    assert feed(Alerts((policy,)), (0, 5), column="processes") == [(0, "AlertRaised")]


def test_a_value_that_goes_missing_keeps_the_alert_for_a_minute_then_clears_it():
    """A gap in measuring is no recovery; an unmounted disk does not stay red."""
    alerts = Alerts((MEM,))
    feed(alerts, (0, 0.95), (10, 0.95))
    assert feed(alerts, (11, None), (10 + MISSING_S, None)) == []
    (effect,) = alerts.handle(Measured({}, 0.0), 11 + MISSING_S)
    assert effect == AlertCleared("memory", "mem.ratio no longer measured", "mem.ratio", None)
    assert alerts.raised() == []


def test_a_missing_value_ends_a_pending_hold():
    """Held means measured all the time."""
    assert feed(Alerts((MEM,)), (0, 0.95), (5, None), (6, 0.95), (15, 0.95)) == []


def test_each_key_of_a_pattern_has_an_alert_of_its_own():
    """Two full disks are two alerts, worst first."""
    alerts = Alerts(DEFAULTS)
    row = {"disk[/].ratio": 0.92, "disk[/var].ratio": 0.99}
    for now in range(31):
        alerts.handle(Measured(row, float(now)), float(now))
    assert [alert.name for alert in alerts.raised()] == ["disk-full /var", "disk-filling /", "disk-filling /var"]


def test_the_text_names_value_limit_and_time():
    """An operator reads what is wrong, in the column's unit."""
    effects = Alerts((MEM,)).handle(Measured({"mem.ratio": 0.95}, 0.0), 0.0)
    assert effects == []
    alerts = Alerts((MEM,))
    alerts.handle(Measured({"mem.ratio": 0.95}, 0.0), 0.0)
    (raised,) = alerts.handle(Measured({"mem.ratio": 0.953}, 0.0), 10.0)
    assert raised == AlertRaised("memory", "warning", "mem.ratio 95.3 %, above 90 % for 10 s", "mem.ratio", 0.953)


def test_an_acknowledged_alert_names_who_saw_it_and_stays():
    """Seen is not solved."""
    alerts = Alerts((MEM,))
    feed(alerts, (0, 0.95), (10, 0.95))
    alerts.handle(Acknowledged("memory", "ada"), 11.0)
    assert alerts.raised()[0].acked_by == "ada"


def test_changed_policies_clear_what_they_raised_and_keep_the_others():
    """A reload forgets nothing that did not change."""
    other = AlertPolicy("memory-full", "mem.ratio", above=0.94, for_s=0.0)
    alerts = Alerts((MEM, other))
    feed(alerts, (0, 0.95), (10, 0.95))
    effects = alerts.handle(PoliciesChanged((MEM,)), 11.0)
    assert [effect.name for effect in effects] == ["memory-full"]
    assert [alert.name for alert in alerts.raised()] == ["memory"]
    assert feed(alerts, (12, 0.95)) == []


def test_a_given_policy_replaces_the_default_of_its_name():
    """The built-in thresholds can be moved."""
    mine = AlertPolicy("disk-full", "disk[*].ratio", above=0.5)
    policies = with_defaults((mine,))
    assert [policy for policy in policies if policy.name == "disk-full"] == [mine]
    assert len(policies) == len(DEFAULTS)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"above": 1.0, "below": 0.5},
        {"above": float("nan")},
        {"above": 0.5, "clear": 0.6},
        {"below": 0.5, "clear": 0.4},
        {"above": 0.5, "for_s": -1.0},
        {"above": 0.5, "metric": "cpu.totl"},
    ],
)
def test_a_policy_checks_itself_when_built(wrong):
    """Nonsense is refused before it watches anything."""
    with pytest.raises(ValueError):
        AlertPolicy(**({"name": "x", "metric": "cpu.total"} | wrong))


def test_the_table_allows_exactly_these_moves():
    """Every row, and nothing besides."""
    assert {phase for phase, _ in MOVES} == set(Phase)
    raising = [(before, seen) for (before, seen), after in MOVES.items() if after is Phase.RAISED]
    assert raising == [(Phase.PENDING, "held"), (Phase.EASING, "between"), (Phase.EASING, "past")]


@pytest.mark.parametrize(
    ("value", "column", "said"),
    [
        (0.5, "cpu.total", "50 %"),
        (1536.0, "mem.used", "1.5 KiB"),
        (3 * 1024**4, "mem.used", "3.0 TiB"),
        (10.0, "net[eth0].rx", "10 B/s"),
        (0.25, "agent.loop_lag_max", "0.25 s"),
        (12.0, "processes", "12"),
    ],
)
def test_values_are_said_in_their_unit(value, column, said):
    """Each unit has its own words."""
    assert say(value, column) == said
