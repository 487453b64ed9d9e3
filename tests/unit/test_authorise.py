"""The pipeline of gates that a command passes before anything acts."""

import msgspec
import pytest

from hubagent.core.authorise import Again, Facts, Granted, Received, Refused, authorise
from hubagent.core.freshness import HELLO_FIRST, HELLO_SEQS_MAX, LIVE_SEQS_MAX, Allowance, Freshness
from hubagent.wire import subjects
from hubagent.wire.commands import COMMAND_BYTES_MAX
from hubagent.wire.signing import CHUNK, payload_hash
from tests.support.commanding import command, key, make_roster, sign, signed

NOW = 100.0


def judge(raw, signature, *, hub="alpha", roster=None, epochs=None, seen=None, now=NOW, freshness=None):
    """Ask with everything as it should be but what the test changes."""
    if freshness is None:
        freshness = Freshness("boot-1")
        freshness.note("boot-1", 7, NOW)
    facts = Facts(hub, roster or make_roster(), epochs or {}, (seen or {}).get)
    return authorise(Received(raw, signature), facts, freshness, now)


def refused(verdict, gate):
    """Check the gate and that there are words for it."""
    assert isinstance(verdict, Refused), verdict
    assert verdict.gate == gate, verdict
    assert verdict.why
    return verdict


def test_a_good_command_is_granted():
    """Signed by an operator, addressed here, fresh and new."""
    raw, signature = signed(command())
    verdict = judge(raw, signature)
    assert verdict == Granted(command(), "operator", payload_hash(raw))


def test_size_is_asked_before_anything_is_parsed():
    """Oversize is refused as such, signed or not."""
    raw = b"{" * (COMMAND_BYTES_MAX + 1)
    refused(judge(raw, sign(raw, "ana")), "size")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not json",
        b"\xff\xfe{}",
        b"[" * 16_000,
        b'{"a":' * 3_000,
        b"{}",
        b"null",
        b'{"v":1,"cmd_id":"cmd-00000001","verb":"restart","hub":"alpha","hub_boot":"boot-1","hub_seq":'
        + b"9" * 5_000
        + b',"operator":"ana"}',
    ],
)
def test_what_is_no_command_is_refused_by_form(raw):
    """Broken, deep, empty or huge JSON ends in one gate and no other exception."""
    refused(judge(raw, sign(raw, "ana")), "form")


def test_deep_args_are_refused_by_form():
    """A signed command that nests for no reason is refused too."""
    args = {"service": "web"}
    for _ in range(10):
        args = {"x": args}
    refused(judge(*signed(command(args={"service": "web", **args}))), "form")


HOSTILE = ["*", ">", "$JS", "a b", "a\r\nb", "a\0b", "", "a" * 10_000, "аlpha", "../x", "x/y"]


@pytest.mark.parametrize("bad", [*HOSTILE, "a.b", "Alpha"])
@pytest.mark.parametrize("field", ["hub", "operator"])
def test_hostile_ids_are_refused_by_form(field, bad):
    """Names that could be subjects, headers, paths or look-alikes never reach anything."""
    _refused_by_form(command(**{field: bad}))


@pytest.mark.parametrize("bad", [*HOSTILE, "a.b", "Alpha"])
@pytest.mark.parametrize("field", ["service", "group"])
def test_hostile_names_in_args_are_refused_by_form(field, bad):
    """The same for what a command is about."""
    _refused_by_form(command(args={"service": "web", field: bad}))


@pytest.mark.parametrize("bad", [*HOSTILE])
def test_hostile_versions_and_command_ids_are_refused_by_form(bad):
    """The same for a release to go to, and for the id that becomes a signature's subject."""
    _refused_by_form(command(args={"service": "web", "to": bad}))
    _refused_by_form(command(cmd_id=bad))


def _refused_by_form(one):
    raw = msgspec.json.encode(one)
    assert refused(judge(raw, sign(raw, "ana")), "form").why.isprintable()


@pytest.mark.parametrize(
    "args",
    [{}, {"service": 7}, {"service": "web", "force": "all"}, {"service": "web", "force": ["a b"]}, {"service": None}],
)
def test_args_that_do_not_fit_the_verb_are_refused_by_form(args):
    """What a verb needs is there and is a name."""
    refused(judge(*signed(command(args=args))), "form")


@pytest.mark.parametrize("verb", ["arm", "maintenance"])
@pytest.mark.parametrize("value", [None, "yes", 1, [], {}])
def test_switches_take_their_own_words_only(verb, value):
    """Neither `on` nor `auto` is guessed."""
    args = {"group": "core", "on": value, "auto": value}
    refused(judge(*signed(command(verb=verb, args=args, operator="root"))), "form")


def test_preflight_needs_the_verb_it_is_about():
    """Asking for the gates of nothing, or of preflight itself, is malformed."""
    refused(judge(*signed(command(verb="preflight", args={"service": "web"}))), "form")
    refused(judge(*signed(command(verb="preflight", args={"verb": "preflight"}))), "form")
    asked = {"verb": "restart", "service": "web"}
    assert isinstance(judge(*signed(command(verb="preflight", args=asked))), Granted)


def test_an_unknown_verb_is_refused():
    """The table of verbs is closed."""
    refused(judge(*signed(command(verb="shell", args={}))), "verb")
    refused(judge(*signed(command(verb="__init__", args={}))), "verb")


def test_an_unsigned_command_is_refused():
    """X1: No signature, no action."""
    raw, _ = signed(command())
    assert refused(judge(raw, None), "signature").operator == ""
    refused(judge(raw, ""), "signature")


def test_an_altered_byte_is_refused():
    """X1: The signature is over the received bytes."""
    raw, signature = signed(command())
    refused(judge(raw.replace(b"web", b"wet"), signature), "signature")
    refused(judge(raw + b" ", signature), "signature")


def test_a_wrong_key_is_refused():
    """X1: Another operator's signature does not speak for ana."""
    refused(judge(*signed(command(), by="root")), "signature")


@pytest.mark.parametrize("signature", ["AAAA", "\0", "é" * 88, "A" * 88, "=" * 88])
def test_garbage_for_a_signature_is_refused(signature):
    """Whatever the header holds, the answer is the same gate."""
    refused(judge(signed(command())[0], signature), "signature")


def test_a_signature_of_another_kind_of_thing_is_refused():
    """The domain is part of what is signed."""
    raw, _ = signed(command())
    refused(judge(raw, key("ana").sign(CHUNK, subjects.command("alpha"), raw)), "signature")


def test_a_stranger_is_refused():
    """Who is not in the roster may nothing."""
    refused(judge(*signed(command(operator="eve"), by="ana")), "operator")


def test_a_revoked_operator_is_refused():
    """A key listed as revoked is as good as none."""
    refused(judge(*signed(command()), roster=make_roster(revoked=("ana",))), "operator")


def test_a_role_too_low_is_refused():
    """A viewer restarts nothing, an operator arms nothing; the audit may name them, for they signed."""
    assert refused(judge(*signed(command(operator="vic"))), "role").operator == "vic"
    refused(judge(*signed(command(verb="arm", args={"group": "core", "auto": "armed"}))), "role")


def test_a_selector_that_leaves_this_hub_out_is_refused():
    """An operator of beta commands beta."""
    refused(judge(*signed(command(operator="bea"))), "selector")


def test_a_replay_at_another_hub_is_refused():
    """X3: The signature holds, the address does not."""
    refused(judge(*signed(command(hub="beta"))), "hub")


def test_another_boot_is_stale():
    """X4: A command to an earlier run of the agent is never carried out by a later one."""
    refused(judge(*signed(command(hub_boot="boot-0"))), "fresh")


def test_a_seq_never_emitted_is_stale():
    """A guessed seq of the future is not fresh either."""
    refused(judge(*signed(command(hub_seq=8))), "fresh")


def test_a_seq_is_fresh_for_30_seconds():
    """X4: At 30 s it is, after that it is not."""
    assert isinstance(judge(*signed(command()), now=NOW + 30), Granted)
    refused(judge(*signed(command()), now=NOW + 30.1), "fresh")


def test_the_same_bytes_again_get_the_stored_reply():
    """X2: A console may ask through both servers."""
    raw, signature = signed(command())
    assert judge(raw, signature, seen={"cmd-00000001": payload_hash(raw)}) == Again("cmd-00000001")


def test_the_same_id_with_other_bytes_is_refused():
    """An id stands for one command only."""
    refused(judge(*signed(command()), seen={"cmd-00000001": "other"}), "repeated")


def test_a_replay_after_a_restart_is_refused():
    """X2: The new boot refuses it; under the new boot's own freshness its id is still known."""
    raw, signature = signed(command())
    later = Freshness("boot-2")
    later.note("boot-2", 7, NOW)
    seen = {"cmd-00000001": payload_hash(raw)}
    refused(judge(raw, signature, seen=seen, freshness=later), "fresh")
    refused(judge(*signed(command(hub_boot="boot-2")), seen=seen, freshness=later), "repeated")


def test_a_stale_epoch_is_refused():
    """What an old leader decided is not carried out."""
    old = command(verb="failover", args={"group": "core"}, epoch=4)
    refused(judge(*signed(old), epochs={"core": 5}), "epoch")
    assert isinstance(judge(*signed(msgspec.structs.replace(old, epoch=5)), epochs={"core": 5}), Granted)
    refused(judge(*signed(command(epoch=5)), epochs={"core": 5}), "epoch")


def test_hello_makes_a_command_fresh_and_asking_often_costs_nothing():
    """Hello hands out seqs of its own, one a second."""
    freshness = Freshness("boot-1")
    seqs = {freshness.hello(NOW + tenth / 10) for tenth in range(20)}
    assert seqs == {HELLO_FIRST, HELLO_FIRST + 1}
    assert isinstance(judge(*signed(command(hub_seq=HELLO_FIRST)), freshness=freshness), Granted)


def test_the_memory_of_seqs_is_bounded():
    """However fast live runs, only so many are kept, and the newest are."""
    freshness = Freshness("boot-1")
    for seq in range(LIVE_SEQS_MAX * 2):
        freshness.note("boot-1", seq, NOW)
    for second in range(HELLO_SEQS_MAX * 4):
        freshness.hello(NOW + second)
    assert len(freshness._live) <= LIVE_SEQS_MAX
    assert len(freshness._hello) <= HELLO_SEQS_MAX
    assert not freshness.fault("boot-1", LIVE_SEQS_MAX * 2 - 1, NOW)
    assert freshness.fault("boot-1", 0, NOW)


def test_a_seq_noted_twice_keeps_its_first_time():
    """Nothing can make an old seq young again."""
    freshness = Freshness("boot-1")
    freshness.note("boot-1", 7, NOW)
    freshness.note("boot-1", 7, NOW + 100)
    assert freshness.fault("boot-1", 7, NOW + 100)


def test_an_allowance_bursts_and_refills():
    """At most the burst at once, then the rate."""
    allowance = Allowance(rate=2.0, burst=3.0)
    assert [allowance.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [allowance.take(10.5), allowance.take(10.5)] == [True, False]
