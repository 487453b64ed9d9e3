"""The action records: one key each, the wire's roles, and a command line that can be typed."""

import pytest

from console import actions, cli
from hubagent.wire.commands import VERBS

KEPT_ALONE = {f"ctrl+{one}" for one in "absqzhim"}


def test_no_key_means_two_things():
    """Aliases included."""
    keys = [key for one in actions.ACTIONS for key in (one.key, *one.also)]
    assert len(keys) == len(set(keys))


def test_upper_case_changes_and_lower_case_looks():
    """Nothing that changes something sits on a lower-case or ctrl key; the terminal's own keys are left alone."""
    for one in actions.ACTIONS:
        if one.changes:
            assert one.key.isupper()
            assert len(one.key) == 1
            assert one.is_dangerous
        assert one.key not in KEPT_ALONE


def test_every_changing_action_is_a_verb_with_its_role():
    """The wire's table decides who may."""
    for one in actions.CHANGES:
        assert one.min_role == VERBS[one.verb]
    assert {one.min_role for one in actions.LOOKS} == {"viewer"}


def test_the_key_line_has_at_most_eight_keys():
    """More would not be read."""
    assert len([one for one in actions.ACTIONS if one.is_in_footer]) <= 8


def test_every_action_is_in_a_section_and_has_help():
    """Help lists all of them."""
    for one in actions.ACTIONS:
        assert one.section in actions.SECTIONS
        assert one.help
        assert actions.action(one.name) is one
    assert actions.action("no-such") is None


@pytest.mark.parametrize("one", actions.CHANGES, ids=lambda one: one.name)
def test_the_command_line_of_an_action_parses_to_the_same(one):
    """What the command log shows can be typed."""
    args = {"group": "core"} if one.scope == "group" else {"service": "web"}
    if one in (actions.FAILOVER, actions.ROLLBACK):
        args["to"] = "beta"
    line = actions.command_line(one, "alpha", args, "it's slow").split(" ", 1)
    import shlex

    options = cli.parser().parse_args(shlex.split(line[1]))
    assert options.command == one.name
    assert options.reason == "it's slow"
    assert (options.group if one.scope == "group" else options.targets) == (
        "core" if one.scope == "group" else ["web@alpha"]
    )
    assert getattr(options, "to", "") == args.get("to", "")
