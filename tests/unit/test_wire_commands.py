"""The contract of commands and replies, and the one table of verbs."""

import msgspec
import pytest

from hubagent.wire.codec import decode, encode
from hubagent.wire.commands import ROLES, VERBS, Command, Gate, Reply, allows

# As a console of contract version 1 sent it; the fields' meaning never changes.
RECORDED = (
    b'{"v":1,"cmd_id":"0190c0de-1","verb":"rollback","hub":"alpha","hub_boot":"b1","hub_seq":42,"operator":"ana",'
    b'"args":{"service":"web","to":"1.0"},"reason":"errors since 1.1","epoch":3}'
)


def test_a_recorded_command_reads_as_it_was_meant():
    """Every field of version 1 is understood."""
    expected = Command(
        1, "0190c0de-1", "rollback", "alpha", "b1", 42, "ana", {"service": "web", "to": "1.0"}, "errors since 1.1", 3
    )
    assert expected == decode(RECORDED, Command)
    assert encode(expected) == RECORDED


def test_a_newer_console_may_send_more():
    """Unknown fields are ignored."""
    assert decode(RECORDED[:-1] + b',"mood":"good"}', Command).cmd_id == "0190c0de-1"


def test_a_reply_leaves_out_what_is_empty():
    """Accepted is short; a refusal carries gate and why."""
    assert encode(Reply("c1", "accepted")) == b'{"cmd_id":"c1","state":"accepted"}'
    assert decode(encode(Reply("c1", "refused", "fresh", "old", again=True)), Reply).again


def test_gates_travel_in_the_data_of_a_reply():
    """What preflight answers can be read back as gates."""
    gate = Gate("lease-held", False, "STANDBY", "ACTIVE", "alpha is STANDBY")
    reply = decode(encode(Reply("c1", "accepted", data={"gates": msgspec.to_builtins([gate])})), Reply)
    assert [gate] == msgspec.convert(reply.data["gates"], list[Gate])


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_each_verb_is_allowed_from_its_role_upwards(verb):
    """Default deny: below the role, unknown roles and unknown verbs may nothing."""
    lowest = ROLES.index(VERBS[verb])
    assert [index >= lowest for index in range(len(ROLES))] == [allows(role, verb) for role in ROLES]
    assert not allows("owner", verb)
    assert not allows("admin", verb + "x")


def test_a_viewer_may_change_nothing():
    """Every verb needs at least the operator."""
    assert not [verb for verb in VERBS if allows("viewer", verb)]
