"""Every row of both tables of the sender, and every refused move."""

from dataclasses import replace

import pytest

from hubagent.core import delivery as core
from hubagent.core.delivery import (
    BLOCKED,
    FENCED,
    MOVES,
    OFFLINE,
    RESYNC,
    STREAM,
    Acked,
    Adopted,
    Checked,
    Cursor,
    Denied,
    Doubted,
    Grew,
    Heard,
    KeepCursor,
    LinkLost,
    LinkUp,
    Listen,
    Load,
    Loaded,
    Note,
    Read,
    ReadDone,
    ReadFailed,
    ReadStream,
    Refused,
    Seen,
    Send,
    Sender,
    SenderPolicy,
    Settle,
    Settled,
    Unanswered,
)

NOW = 100.0
ACKED = Cursor(7, 5, 50, "MET/a")


def sender(cursor: Cursor = ACKED, policy: SenderPolicy | None = None) -> Sender:
    return Sender("central", "met", policy or SenderPolicy(), cursor, NOW)


def in_resync(cursor: Cursor = ACKED, policy: SenderPolicy | None = None) -> tuple[Sender, int]:
    one = sender(cursor, policy)
    (read,) = one.handle(LinkUp(), NOW)
    assert isinstance(read, ReadStream)
    return one, read.turn


def reading(**changes) -> Read:
    """A stream in step with ACKED, and a log whose last chunk is 7/9."""
    seen = Seen(7, 5, "hash5", 50)
    return replace(Read("MET/a", 1, 50, seen, False, 7, 9, "hash5"), **changes)


def judged(read: Read, cursor: Cursor = ACKED):
    one, turn = in_resync(cursor)
    return one, one.handle(ReadDone(turn, read), NOW)


def streaming(policy: SenderPolicy | None = None) -> tuple[Sender, int]:
    """A sender with chunk 7/6 in flight."""
    one, turn = in_resync(policy=policy)
    load = one.handle(ReadDone(turn, reading()), NOW)[-1]
    (send,) = one.handle(Loaded(load.turn, 7, 6, 6, 100, "data"), NOW)
    assert send == Send(send.turn, 50, 2.0)
    return one, send.turn


def notes(effects) -> list[str]:
    return [effect.kind for effect in effects if isinstance(effect, Note)]


# The table of answers


def test_ack_moves_the_cursor_and_the_next_chunk_expects_its_sequence():
    """ack → cursor := (n, seq)."""
    one, turn = streaming()
    effects = one.handle(Acked(turn, 51), NOW)
    cursor = Cursor(7, 6, 51, "MET/a")
    assert effects == [KeepCursor(cursor), Load(effects[1].turn, (7, 6), "")]
    (send,) = one.handle(Loaded(effects[1].turn, 7, 7, 7, 100, "data"), NOW)
    assert send.expect == 51


def test_exactly_one_chunk_is_in_flight_however_much_the_log_grows():
    """Pipelining would leave holes that no cursor describes."""
    one, turn = streaming()
    assert one.handle(Grew(), NOW) == []
    assert one.handle(Loaded(turn - 1, 7, 7, 7, 100, "data"), NOW) == []


@pytest.mark.parametrize("code", [10071, 10164, 10158])
def test_wrong_expected_sequence_leads_to_resync_at_once(code):
    """error 10071, 10164, 10158 → RESYNC."""
    one, turn = streaming()
    (read,) = one.handle(Refused(turn, code, "wrong last sequence"), NOW)
    assert (one.state, type(read)) == (RESYNC, ReadStream)


def test_duplicate_leads_to_resync():
    """A duplicate is no ack."""
    one, turn = streaming()
    (read,) = one.handle(Acked(turn, 51, is_duplicate=True), NOW)
    assert (one.state, type(read)) == (RESYNC, ReadStream)
    assert one.cursor.n == 5


def test_two_writers_do_not_spin():
    """After some doubts in a row the resync backs off."""
    one, turn = streaming()
    for _ in range(core.DOUBTS_MAX + 1):
        effects = one.handle(Refused(turn, 10071, "wrong", 1.0), NOW)
        if not effects:
            break
        load = one.handle(ReadDone(effects[0].turn, reading()), NOW)[-1]
        (send,) = one.handle(Loaded(load.turn, 7, 6, 6, 100, "data"), NOW)
        turn = send.turn
    assert (one.state, effects) == (RESYNC, [])
    assert one.deadline() > NOW


def test_unanswered_chunk_leads_to_resync_after_a_jittered_pause():
    """timeout, no responders, disconnect → RESYNC after back-off; the answer that comes late is ignored."""
    one, turn = streaming()
    assert one.handle(Unanswered(turn, "timeout", jitter=1.0), NOW) == []
    assert one.state == RESYNC
    due = one.deadline()
    assert NOW < due <= NOW + SenderPolicy().backoff.min_s
    assert one.handle(Acked(turn, 51), NOW) == []
    assert one.tick(due - 0.01) == []
    assert isinstance(one.tick(due)[0], ReadStream)


def test_full_stream_blocks_and_is_tried_again_from_one_to_thirty_seconds():
    """stream full (10077) → BLOCKED, alarm once."""
    one, turn = streaming()
    pauses, now, alarms = [], NOW, []
    for _ in range(7):
        alarms += notes(one.handle(Refused(turn, 10077, "maximum bytes exceeded", 1.0), now))
        assert one.state == BLOCKED
        pauses.append(one.deadline() - now)
        now = one.deadline()
        (read,) = one.tick(now)
        load = one.handle(ReadDone(read.turn, reading()), now)[-1]
        (send,) = one.handle(Loaded(load.turn, 7, 6, 6, 100, "data"), now)
        turn = send.turn
        assert one.is_blocked
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert alarms == ["buffer_state"]
    one.handle(Acked(turn, 51), now)
    assert not one.is_blocked


@pytest.mark.parametrize("answer", [lambda turn: Refused(turn, 10060, "wrong stream"), lambda turn: Denied(turn, "no")])
def test_permission_and_wrong_stream_fence_this_destination_and_are_looked_at_again(answer):
    """FENCED for this destination, alarm; a repaired permission lets it go on."""
    one, turn = streaming()
    effects = one.handle(answer(turn), NOW)
    assert (one.state, notes(effects)) == (FENCED, ["buffer_state"])
    assert not one.is_fenced_by_identity
    assert isinstance(one.tick(one.deadline())[0], ReadStream)


def test_denied_read_fences_too():
    """No permission to read is no reason to write blindly."""
    one, turn = in_resync()
    one.handle(ReadFailed(turn, "no", denied=True), NOW)
    assert one.state == FENCED


def test_lost_link_goes_offline_from_everywhere_and_comes_back_by_resync():
    """OFFLINE → RESYNC."""
    one, turn = streaming()
    one.handle(LinkLost("gone"), NOW)
    assert (one.state, one.why) == (OFFLINE, "gone")
    assert one.handle(Acked(turn, 51), NOW) == []
    assert isinstance(one.handle(LinkUp(), NOW)[0], ReadStream)


# The table of cases of RESYNC


def test_in_step_goes_on_behind_the_last_sequence():
    """same inc, n′ = acked, hash equal."""
    one, effects = judged(reading())
    assert effects == [Checked((7, 5)), KeepCursor(ACKED), Load(effects[-1].turn, (7, 5), "")]
    assert one.state == STREAM


def test_lost_acks_move_the_cursor_to_what_the_stream_has():
    """same inc, acked < n′ ≤ last local, hash equal."""
    one, effects = judged(reading(seen=Seen(7, 8, "hash8", 53), last_seq=53, local_hash="hash8"))
    assert one.cursor == Cursor(7, 8, 53, "MET/a")
    assert KeepCursor(one.cursor) in effects
    assert effects[-1].position == (7, 8)


def test_lost_tail_is_read_again_and_then_sent_again():
    """same inc, n′ < acked, lineage same: event tail_loss, cursor := n′."""
    short = reading(seen=Seen(7, 3, "hash3", 48), last_seq=48, local_hash="hash3")
    one, effects = judged(short)
    assert (effects, one.state, one.cursor) == ([], RESYNC, ACKED)
    (read,) = one.tick(NOW + core.CONFIRM_SECONDS)
    effects = one.handle(ReadDone(read.turn, short), NOW + 1)
    assert notes(effects) == ["tail_loss"]
    assert Doubted((7, 3)) in effects
    assert one.cursor == Cursor(7, 3, 48, "MET/a")
    assert effects[-1].position == (7, 3)


def test_tail_that_was_only_late_is_not_sent_again():
    """The second reading decides."""
    one, _ = judged(reading(seen=Seen(7, 3, "hash3", 48), last_seq=48, local_hash="hash3"))
    (read,) = one.tick(NOW + core.CONFIRM_SECONDS)
    effects = one.handle(ReadDone(read.turn, reading()), NOW + 1)
    assert notes(effects) == []
    assert one.cursor == ACKED


def test_older_incarnation_on_the_stream_is_followed_by_what_is_left_of_it():
    """inc′ < inc: send what is left in order (inc, n), expect seq′."""
    one, effects = judged(
        reading(seen=Seen(6, 4, "h", 44), last_seq=44, local_inc=7, local_last=9, local_hash="h"),
        Cursor(6, 4, 44, "MET/a"),
    )
    assert effects[-1].position == (6, 4)
    (send,) = one.handle(Loaded(effects[-1].turn, 6, 5, 5, 100, "data"), NOW)
    assert send.expect == 44


def test_incarnation_that_this_log_never_knew_is_simply_behind_us():
    """A reinstalled hub goes on after its former self."""
    one, effects = judged(reading(seen=Seen(3, 900, "h", 44), last_seq=44, local_last=None, local_hash=None), Cursor())
    assert one.cursor == Cursor(3, 900, 44, "MET/a")
    assert effects[-1].position == (3, 900)


def test_restored_stream_is_a_lost_tail_from_its_last_chunk():
    """lineage changed, n′ present."""
    one, effects = judged(reading(lineage="MET/b", seen=Seen(7, 3, "hash3", 3), last_seq=3, local_hash="hash3"))
    assert notes(effects) == ["tail_loss"]
    assert one.cursor == Cursor(7, 3, 3, "MET/b")


def test_stream_made_anew_gets_everything_that_is_kept_and_expects_zero():
    """lineage changed, none: event lineage_change."""
    one, effects = judged(reading(lineage="MET/b", seen=None, last_seq=0))
    assert notes(effects) == ["lineage_change"]
    assert effects[-1] == Load(effects[-1].turn, (0, 0), "before_stream")
    (send,) = one.handle(Loaded(effects[-1].turn, 7, 1, 1, 100, "data"), NOW)
    assert send.expect == 0


def test_expired_subject_keeps_the_cursor_and_expects_zero():
    """none, cursor.seq < the stream's first sequence."""
    one, effects = judged(reading(seen=None, last_seq=0, first_seq=51))
    assert notes(effects) == []
    assert (one.cursor, effects[-1].position) == (ACKED, (7, 5))
    (send,) = one.handle(Loaded(effects[-1].turn, 7, 6, 6, 100, "data"), NOW)
    assert send.expect == 0


def test_everything_lost_is_a_lost_tail_from_zero():
    """none, else."""
    empty = reading(seen=None, last_seq=0, first_seq=1)
    one, effects = judged(empty)
    assert effects == []
    (read,) = one.tick(NOW + core.CONFIRM_SECONDS)
    effects = one.handle(ReadDone(read.turn, empty), NOW + 1)
    assert notes(effects) == ["tail_loss"]
    assert (one.cursor.position, effects[-1].position) == ((0, 0), (0, 0))


def test_new_destination_starts_at_the_oldest_behind_a_lost_range():
    """lost_range{before_destination}."""
    one, effects = judged(reading(seen=None, last_seq=0), Cursor())
    assert effects[-1] == Load(effects[-1].turn, (0, 0), "before_destination")
    assert one.cursor.lineage == "MET/a"


def test_foreign_message_is_told_once_and_its_sequence_expected():
    """foreign: keep the cursor, expect its seq."""
    foreign = reading(last_seq=60, foreign=True)
    one, effects = judged(foreign)
    assert notes(effects) == ["foreign_message"]
    (send,) = one.handle(Loaded(effects[-1].turn, 7, 6, 6, 100, "data"), NOW)
    assert send.expect == 60
    (read,) = one.handle(Refused(send.turn, 10071, "wrong"), NOW)
    assert notes(one.handle(ReadDone(read.turn, foreign), NOW)) == []


def test_own_chunk_hidden_behind_a_foreign_message_counts():
    """An ack that was lost must not become a duplicate because somebody wrote after it."""
    one, effects = judged(reading(last_seq=60, foreign=True, seen=Seen(7, 6, "hash6", 51), local_hash="hash6"))
    assert one.cursor == Cursor(7, 6, 51, "MET/a")
    (send,) = one.handle(Loaded(effects[-1].turn, 7, 7, 7, 100, "data"), NOW)
    assert send.expect == 60


def test_foreign_message_with_ours_expired_keeps_the_cursor():
    """Delivered it was."""
    one, effects = judged(reading(first_seq=51, last_seq=60, foreign=True, seen=None))
    assert (one.cursor, effects[-1].position) == (ACKED, (7, 5))


def test_foreign_message_in_the_place_of_ours_is_a_lost_tail():
    """Ours should be there, and somebody else's has its sequence."""
    read = reading(last_seq=50, foreign=True, seen=None)
    one, effects = judged(read)
    assert notes(effects) == ["foreign_message"]
    (again,) = one.tick(NOW + core.CONFIRM_SECONDS)
    assert notes(one.handle(ReadDone(again.turn, read), NOW + 1)) == ["tail_loss"]
    assert one.cursor.position == (0, 0)


@pytest.mark.parametrize(
    "conflict",
    [reading(seen=Seen(7, 12, "h", 60), last_seq=60, local_hash=None), reading(seen=Seen(7, 5, "other", 50))],
    ids=["more than we have", "another hash"],
)
def test_other_bytes_under_our_numbers_make_us_listen_first(conflict):
    """same inc, n′ > last local or hash differs: our log was restored, or this is a clone."""
    one, effects = judged(conflict)
    assert effects == [Listen(effects[0].turn, core.LISTEN_SECONDS)]
    (settle,) = one.handle(Heard(effects[0].turn, other=False), NOW + 3)
    assert isinstance(settle, Settle)
    effects = one.handle(Settled(settle.turn, 8, 2), NOW + 3)
    assert notes(effects) == ["incarnation_change"]
    assert one.cursor.position == conflict.seen.position
    assert one.state == STREAM


def test_clone_that_hears_the_other_stops_until_an_operator_adopts_it():
    """another boot there → FENCED, alarm; a new link does not help."""
    one, effects = judged(reading(seen=Seen(7, 5, "other", 50)))
    effects = one.handle(Heard(effects[0].turn, other=True), NOW + 3)
    assert (one.state, notes(effects)) == (FENCED, ["buffer_state"])
    assert one.handle(LinkLost(), NOW) == one.handle(LinkUp(), NOW) == []
    assert (one.is_fenced_by_identity, one.deadline()) == (True, None)
    assert isinstance(one.handle(Adopted(), NOW)[0], ReadStream)


def test_newer_self_fences_us():
    """inc′ > inc: identity conflict, way out: hubagent adopt."""
    one, effects = judged(reading(seen=Seen(8, 1, "h", 60), last_seq=60, local_last=None, local_hash=None))
    assert one.state == FENCED
    assert "hubagent adopt" in one.why
    assert notes(effects) == ["buffer_state"]


def test_conflict_in_an_older_incarnation_is_settled_without_listening_and_only_once():
    """The other lane found the restored log first."""
    read = reading(seen=Seen(6, 12, "h", 60), last_seq=60, local_last=9, local_hash=None)
    one, effects = judged(read, Cursor(6, 5, 50, "MET/a"))
    assert isinstance(effects[-1], Settle)
    one.handle(Settled(effects[-1].turn, 7, 0), NOW)
    one.handle(LinkLost(), NOW)
    (ask,) = one.handle(LinkUp(), NOW)
    assert not any(isinstance(effect, Settle) for effect in one.handle(ReadDone(ask.turn, read), NOW))


# Time, losses and slow links


def test_idle_sender_checks_the_stream_in_time():
    """RESYNC's read at least every keep/2 on a healthy link too."""
    one, turn = in_resync(policy=SenderPolicy(check_s=10))
    load = one.handle(ReadDone(turn, reading()), NOW)[-1]
    assert one.handle(Loaded(load.turn), NOW) == []
    assert one.deadline() == NOW + 10
    assert isinstance(one.tick(NOW + 10)[0], ReadStream)


def test_busy_sender_checks_the_stream_in_time():
    """Also between two chunks of a long drain."""
    one, turn = streaming(SenderPolicy(check_s=10))
    assert isinstance(one.handle(Acked(turn, 51), NOW + 11)[-1], ReadStream)


def test_delivered_lost_range_is_an_event_and_its_end_becomes_the_cursor():
    """n′ + 1 below the oldest kept: one lost_range first."""
    one, turn = in_resync()
    load = one.handle(ReadDone(turn, reading()), NOW)[-1]
    (send,) = one.handle(Loaded(load.turn, 7, 6, 8, 100, "lost_range", "older than retention", 30), NOW)
    effects = one.handle(Acked(send.turn, 51), NOW)
    assert notes(effects) == ["lost_range"]
    assert one.cursor.position == (7, 8)


def test_growth_while_loading_is_not_forgotten():
    """A chunk that closes between the read and its answer is read next."""
    one, turn = in_resync()
    load = one.handle(ReadDone(turn, reading()), NOW)[-1]
    one.handle(Grew(), NOW)
    assert isinstance(one.handle(Loaded(load.turn), NOW)[0], Load)


def test_timeout_doubles_for_big_chunks_only_and_follows_the_measured_rate():
    """At 64 kbit/s a fixed timeout never ends."""
    one, turn = in_resync()
    load = one.handle(ReadDone(turn, reading()), NOW)[-1]
    (send,) = one.handle(Loaded(load.turn, 7, 6, 6, 256 << 10, "data"), NOW)
    one.handle(Unanswered(send.turn, "timeout", timed_out=True), NOW)
    assert one.timeout_s(0) == 4.0
    (read,) = one.tick(one.deadline())
    load = one.handle(ReadDone(read.turn, reading()), NOW)[-1]
    (send,) = one.handle(Loaded(load.turn, 7, 6, 6, 256 << 10, "data"), NOW)
    one.handle(Acked(send.turn, 51), NOW + 32)
    assert one.rate == 8192
    assert one.timeout_s(8192) == 2.0 + core.SLOW_SHARE
    assert one.timeout_s(1 << 30) == core.TIMEOUT_SECONDS_MAX


@pytest.mark.parametrize("state", sorted(MOVES))
def test_every_move_outside_of_the_table_is_refused(state):
    """The table is the diagram."""
    for target in set(MOVES) - MOVES[state] - {state}:
        one = sender()
        one.state = state
        with pytest.raises(AssertionError):
            one._become(target, NOW)


# Restored logs


def settling(read: Read, cursor: Cursor = ACKED):
    """A sender that settles a conflict without listening, and the effect."""
    one, effects = judged(read, cursor)
    assert isinstance(effects[-1], Settle), effects
    return one, effects[-1]


def test_stream_that_must_be_compared_is_settled_although_its_last_chunk_is_ours():
    """Chunks were renumbered, or wait below it: a last chunk that looks right is not the whole truth."""
    one, settle = settling(reading(needs_settling=True))
    assert settle == Settle(settle.turn, Seen(7, 5, "hash5", 50), ACKED)
    effects = one.handle(Settled(settle.turn, 7), NOW)
    assert [type(effect) for effect in effects] == [Doubted, KeepCursor, Load]  # nothing changed: nothing is noted
    assert one.cursor == ACKED


@pytest.mark.parametrize(
    "news", [{"renumbered": 1}, {"spared": 1}, {"has_begun": True}], ids=["renumbered", "spared", "begun"]
)
def test_what_a_settlement_changed_is_noted(news):
    """With the counts."""
    one, settle = settling(reading(needs_settling=True))
    (note,) = [effect for effect in one.handle(Settled(settle.turn, 8, **news), NOW) if isinstance(effect, Note)]
    assert (note.kind, note.severity, note.data["inc"]) == ("incarnation_change", "critical", 8)
    assert (note.data["renumbered"], note.data["spared"]) == (news.get("renumbered", 0), news.get("spared", 0))
    assert note.data["dest"], note.data["lane"]


def test_sequence_of_another_life_of_the_stream_is_not_searched_by():
    """It means nothing there; and the cursor stays what it was until the conflict is settled."""
    read = reading(seen=Seen(6, 12, "h", 60), last_seq=61, lineage="MET/b", local_last=9, local_hash=None)
    cursor = Cursor(6, 5, 50, "MET/a")
    one, settle = settling(read, cursor)
    assert (settle.cursor, one.cursor) == (Cursor(6, 5, 0, "MET/a"), cursor)
    load = one.handle(Settled(settle.turn, 7, 2), NOW)[-1]
    assert one.cursor == Cursor(6, 12, 60, "MET/b")
    (send,) = one.handle(Loaded(load.turn, 7, 1, 1, 100, "data"), NOW)
    assert send.expect == 61


def test_conflict_that_could_not_be_settled_does_not_hide_that_the_stream_was_made_anew():
    """A cursor that took the new life's name would be believed when the stream is found empty."""
    read = reading(seen=Seen(7, 12, "h", 60), last_seq=60, lineage="MET/b", local_hash=None)
    one, effects = judged(read)
    (settle,) = one.handle(Heard(effects[0].turn, other=False), NOW)
    one.handle(ReadFailed(settle.turn, "timeout"), NOW)
    (ask,) = one.tick(one.deadline())
    effects = one.handle(ReadDone(ask.turn, reading(seen=None, last_seq=0, lineage="MET/b")), NOW + 9)
    assert notes(effects) == ["lineage_change"]
    assert one.cursor.position == (0, 0)


def test_settled_conflict_is_asked_again_when_another_chunk_is_the_last():
    """A frame that was on its way has arrived."""
    read = reading(seen=Seen(6, 12, "h", 60), last_seq=60, local_last=9, local_hash=None)
    one, settle = settling(read, Cursor(6, 5, 50, "MET/a"))
    one.handle(Settled(settle.turn, 7, 2), NOW)
    one.handle(LinkLost(), NOW)
    (ask,) = one.handle(LinkUp(), NOW)
    effects = one.handle(ReadDone(ask.turn, replace(read, seen=Seen(6, 13, "i", 61), last_seq=61)), NOW)
    assert isinstance(effects[-1], Settle)


def test_renumbering_by_another_sender_makes_us_look_again():
    """The chunk in flight may be one of those; its ack would name a number that is no more."""
    one, turn = streaming()
    (read,) = one.handle(core.Renumbered(), NOW)
    assert isinstance(read, ReadStream)
    assert one.handle(Acked(turn, 51), NOW) == []
    (again,) = one.handle(core.Renumbered(), NOW)
    assert (one.state, again.turn > read.turn) == (RESYNC, True)


def test_renumbering_is_nothing_to_who_does_not_speak_with_the_server():
    """He will look when he does."""
    one = sender()
    assert one.handle(core.Renumbered(), NOW) == []
    assert one.state == OFFLINE


def test_highest_incarnation_that_a_stream_showed_is_remembered():
    """An operator's adoption goes above it."""
    one, _ = judged(reading(seen=Seen(9, 1, "h", 60), last_seq=60, local_last=None, local_hash=None))
    assert one.seen_inc == 9
    assert judged(reading())[0].seen_inc == 7


# The figures and words that others rely on


def test_states_have_the_names_that_operators_see():
    """They stand in events and reports."""
    assert set(MOVES) == {"OFFLINE", "RESYNC", "STREAM", "BLOCKED", "FENCED"}
    assert (OFFLINE, RESYNC, STREAM, BLOCKED, FENCED) == ("OFFLINE", "RESYNC", "STREAM", "BLOCKED", "FENCED")


def test_times_and_sizes_are_those_of_the_design():
    """Listen 3 s, confirm after 1 s, look at a denied subject each 30 s."""
    assert (core.CONFIRM_SECONDS, core.LISTEN_SECONDS, core.DENIED_SECONDS) == (1.0, 3.0, 30.0)
    assert (core.TIMEOUT_SECONDS_MAX, core.DOUBTS_MAX, core.BIG_BYTES) == (64.0, 3, 16384)
    assert (core.RATE_BYTES_MIN, core.SLOW_SHARE) == (2048, 4.0)
    assert (SenderPolicy().timeout_s, SenderPolicy().check_s) == (2.0, 900.0)
    assert (SenderPolicy().blocked.min_s, SenderPolicy().blocked.max_s) == (1.0, 30.0)


def test_error_codes_are_those_of_the_server():
    """Wrong sequence, full, another stream, no stream."""
    assert {10071, 10164, 10158} == core.WRONG_SEQUENCE
    assert {10077, 10047, 10023} == core.STREAM_FULL
    assert ({10060}, {10059}) == (core.WRONG_STREAM, core.NO_STREAM)


def test_records_without_more_say_nothing_more():
    """The defaults of what travels between loop and core."""
    assert Cursor() == Cursor(0, 0, 0, "")
    assert ReadFailed(1, "x") == ReadFailed(1, "x", 0.0, False)
    assert Loaded(1) == Loaded(1, 0, 0, 0, 0, "", "", 0)
    assert Refused(1, 2, "x") == Refused(1, 2, "x", 0.0)
    assert Unanswered(1, "x") == Unanswered(1, "x", 0.0, False)
    assert Acked(1, 2) == Acked(1, 2, is_duplicate=False)
    assert Settled(1, 2) == Settled(1, 2, 0, 0, False)
    assert Read("a", 1, 2, None, False, 7) == Read("a", 1, 2, None, False, 7, None, None, False)


def test_first_chunk_is_something_and_none_is_not():
    """Numbers begin at 1."""
    assert Loaded(1, 7, 1).is_something
    assert not Loaded(1).is_something


def test_time_of_a_state_begins_with_it_and_is_not_moved_by_its_repetition():
    """A RESYNC of 2 s counts as buffering, however often the stream is asked in it."""
    one = sender()
    assert one.since == NOW
    (read,) = one.handle(LinkUp(), NOW + 1)
    assert one.since == NOW + 1
    one.handle(ReadFailed(read.turn, "timeout"), NOW + 2)
    assert (one.state, one.since, one.why) == (RESYNC, NOW + 1, "timeout")


def test_state_says_why():
    """The words that an operator reads."""
    one = sender()
    one.handle(LinkUp(), NOW)
    assert one.why == "connected"
    one.handle(LinkLost("refused"), NOW)
    assert one.why == "refused"
    one.handle(LinkUp(), NOW)
    one.handle(LinkLost(), NOW)
    assert one.why == "not connected"


def test_denied_sender_looks_again_after_half_a_minute():
    """Permissions may be repaired."""
    one, turn = streaming()
    one.handle(Denied(turn, "permission"), NOW)
    assert one.deadline() == NOW + 30
    assert one.tick(NOW + 29.9) == []
    assert isinstance(one.tick(NOW + 30)[0], ReadStream)


def test_adopted_sender_is_fenced_no_more_whatever_comes_next():
    """A lost link leads to OFFLINE again, and the next one to RESYNC."""
    one, _ = judged(reading(seen=Seen(8, 1, "h", 60), last_seq=60, local_last=None, local_hash=None))
    assert one.is_fenced_by_identity
    one.handle(Adopted(), NOW)
    assert (one.state, one.why) == (RESYNC, "adopted")
    assert not one.is_fenced_by_identity
    one.handle(Denied(one.turn, "permission"), NOW)
    assert not one.is_fenced_by_identity
    one.handle(LinkLost(), NOW)
    assert one.state == OFFLINE
    assert isinstance(one.handle(LinkUp(), NOW)[0], ReadStream)


def idle(policy: SenderPolicy | None = None) -> Sender:
    """In STREAM, with nothing to send."""
    one, turn = streaming(policy)
    load = one.handle(Acked(turn, 51), NOW)[-1]
    assert one.handle(Loaded(load.turn), NOW) == []
    return one


def test_healthy_link_is_checked_when_it_is_time_and_not_before():
    """Releases go by the check reads; what is in flight is not interrupted."""
    one = idle(SenderPolicy(check_s=60.0))
    assert one.deadline() == NOW + 60
    assert one.tick(NOW + 59) == []
    (read,) = one.tick(NOW + 60)
    assert (one.state, one.why) == (RESYNC, "check")
    one.handle(ReadDone(read.turn, reading(seen=Seen(7, 6, "hash6", 51), last_seq=51, local_hash="hash6")), NOW + 61)
    busy, _ = streaming(SenderPolicy(check_s=60.0))
    assert busy.deadline() is None
    assert busy.tick(NOW + 1000) == []


def test_check_counts_from_the_last_reading():
    """Not from the start of the agent."""
    one, turn = in_resync(policy=SenderPolicy(check_s=60.0))
    load = one.handle(ReadDone(turn, reading()), NOW + 50)[-1]
    one.handle(Loaded(load.turn), NOW + 50)
    assert one.deadline() == NOW + 110


def test_new_link_forgives_earlier_doubts():
    """They were about another connection."""
    one, turn = streaming()
    for _ in range(core.DOUBTS_MAX):
        (read,) = one.handle(Refused(turn, 10071, "wrong"), NOW)
        load = one.handle(ReadDone(read.turn, reading()), NOW)[-1]
        (send,) = one.handle(Loaded(load.turn, 7, 6, 6, 100, "data"), NOW)
        turn = send.turn
    one.handle(LinkLost(), NOW)
    (read,) = one.handle(LinkUp(), NOW)
    load = one.handle(ReadDone(read.turn, reading()), NOW)[-1]
    for _ in range(core.DOUBTS_MAX):
        (send,) = one.handle(Loaded(load.turn, 7, 6, 6, 100, "data"), NOW)
        (read,) = one.handle(Refused(send.turn, 10071, "wrong"), NOW)
        load = one.handle(ReadDone(read.turn, reading()), NOW)[-1]


def test_rate_is_measured_from_chunks_that_are_large_enough_and_smoothed():
    """Three tenths of each new measure; a small chunk measures the round trip only."""
    one, turn = streaming()
    load = one.handle(Acked(turn, 51), NOW + 1)[-1]
    assert one.rate is None  # 100 bytes say nothing
    (send,) = one.handle(Loaded(load.turn, 7, 7, 7, 2048, "data"), NOW + 1)
    load = one.handle(Acked(send.turn, 52), NOW + 1.5)[-1]
    assert one.rate == 4096.0
    (send,) = one.handle(Loaded(load.turn, 7, 8, 8, 20_480, "data"), NOW + 2)
    load = one.handle(Acked(send.turn, 53), NOW + 4)[-1]
    assert one.rate == pytest.approx(0.7 * 4096 + 0.3 * 10_240)
    (send,) = one.handle(Loaded(load.turn, 7, 9, 9, 4096, "data"), NOW + 4)
    one.handle(Acked(send.turn, 54), NOW + 4)  # no time passed: nothing is measured
    assert one.rate == pytest.approx(0.7 * 4096 + 0.3 * 10_240)


def test_position_of_a_cursor_that_never_acknowledged_is_the_beginning_even_with_a_lineage():
    """Nothing of it was ever delivered: nothing is lost."""
    _, effects = judged(reading(seen=None, last_seq=0), Cursor(0, 0, 0, "MET/a"))
    assert notes(effects) == []
    assert effects[-1].reason == "before_destination"
    _, effects = judged(reading(seen=None, last_seq=0), Cursor(7, 5, 50, ""))
    assert effects[-1].reason == "before_destination"


def test_last_chunk_of_an_older_incarnation_that_is_known_here_is_in_step():
    """Equal to the last local one is no conflict; one more is."""
    read = reading(seen=Seen(6, 9, "hash9", 50), local_last=9, local_hash="hash9", local_inc=7)
    one, effects = judged(read, Cursor(6, 9, 50, "MET/a"))
    assert (one.state, effects[0]) == (STREAM, Checked((6, 9)))
    _, settle = settling(reading(seen=Seen(6, 10, "x", 50), local_last=9, local_hash=None), Cursor(6, 9, 49, "MET/a"))
    assert settle.seen.n == 10


def test_note_of_a_settlement_names_lane_and_destination():
    """So that an operator finds the line."""
    one, settle = settling(reading(needs_settling=True))
    (note,) = [effect for effect in one.handle(Settled(settle.turn, 8, 1), NOW) if isinstance(effect, Note)]
    assert (note.data["dest"], note.data["lane"]) == ("central", "met")


def test_answer_to_an_older_question_is_ignored_after_each_load():
    """Each load and each send is a question of its own."""
    one, turn = streaming()
    load = one.handle(Acked(turn, 51), NOW)[-1]
    assert load.turn == turn + 1
    assert one.handle(Loaded(turn, 7, 7, 7, 100, "data"), NOW) == []
    (send,) = one.handle(Loaded(load.turn, 7, 7, 7, 100, "data"), NOW)
    assert send.turn == load.turn + 1


def test_log_that_grew_while_nothing_was_found_is_loaded_again():
    """Else its chunk would wait for the next one."""
    one, turn = streaming()
    load = one.handle(Acked(turn, 51), NOW)[-1]
    assert one.handle(Grew(), NOW) == []
    (again,) = one.handle(Loaded(load.turn), NOW)
    assert isinstance(again, Load)
    assert one.handle(Loaded(again.turn), NOW) == []
    assert isinstance(one.handle(Grew(), NOW)[0], Load)


def losing():
    """A stream that lost its tail back to chunk 7/3, read for the first time."""
    one, turn = in_resync()
    lost = reading(seen=Seen(7, 3, "hash3", 30), last_seq=30, local_hash="hash3")
    assert one.handle(ReadDone(turn, lost), NOW) == []
    return one, lost


def test_lost_tail_is_read_again_after_a_second_and_then_told_with_its_places():
    """A server that is just starting may answer early."""
    one, lost = losing()
    assert one.deadline() == NOW + 1
    (ask,) = one.tick(NOW + 1)
    effects = one.handle(ReadDone(ask.turn, lost), NOW + 1)
    (note,) = [effect for effect in effects if isinstance(effect, Note)]
    assert note.data == {"dest": "central", "lane": "met", "from": [7, 3], "acked": [7, 5]}
    assert one.cursor == Cursor(7, 3, 30, "MET/a")
    assert effects[-1].position == (7, 3)


def test_each_lost_tail_is_confirmed_anew():
    """A confirmation is for one loss only."""
    one, lost = losing()
    (ask,) = one.tick(NOW + 1)
    load = one.handle(ReadDone(ask.turn, lost), NOW + 1)[-1]
    (send,) = one.handle(Loaded(load.turn, 7, 4, 4, 10, "data"), NOW + 1)
    one.handle(Acked(send.turn, 31), NOW + 1)
    one.handle(LinkLost(), NOW + 2)
    (ask,) = one.handle(LinkUp(), NOW + 2)
    assert one.handle(ReadDone(ask.turn, lost), NOW + 2) == []


def test_everything_lost_begins_at_sequence_zero():
    """Nothing of ours is left whose sequence would mean anything."""
    one, turn = in_resync()
    gone = reading(seen=None, last_seq=0)
    one.handle(ReadDone(turn, gone), NOW)
    (ask,) = one.tick(NOW + 1)
    one.handle(ReadDone(ask.turn, gone), NOW + 1)
    assert one.cursor == Cursor(0, 0, 0, "MET/a")


def test_pauses_begin_small_again_after_a_good_reading():
    """The trouble was over."""
    one, turn = in_resync()
    pauses = []
    for _ in range(2):
        for _ in range(3):
            one.handle(ReadFailed(turn, "timeout", 1.0), NOW)
            pauses.append(one.deadline() - NOW)
            (ask,) = one.tick(one.deadline())
            turn = ask.turn
        one.handle(ReadDone(turn, reading()), NOW)
        one.handle(LinkLost(), NOW)
        (ask,) = one.handle(LinkUp(), NOW)
        turn = ask.turn
    assert pauses[:3] == pauses[3:]
    assert pauses[0] < pauses[1] < pauses[2]


def test_duplicate_answers_in_a_row_slow_down_without_jitter():
    """They are doubts like others."""
    one, turn = streaming()
    for _ in range(core.DOUBTS_MAX + 1):
        effects = one.handle(Acked(turn, 51, is_duplicate=True), NOW)
        if not effects:
            break
        load = one.handle(ReadDone(effects[0].turn, reading()), NOW)[-1]
        (send,) = one.handle(Loaded(load.turn, 7, 6, 6, 100, "data"), NOW)
        turn = send.turn
    plain = SenderPolicy().backoff.min_s
    assert NOW < one.deadline() <= NOW + plain


@pytest.mark.parametrize(
    ("reason", "severity"),
    [
        ("before_destination", "warning"),
        ("before_stream", "warning"),
        ("damaged", "critical"),
        ("older than retention", "critical"),
    ],
)
def test_delivered_lost_range_is_an_event_with_its_place_and_count(reason, severity):
    """What a new destination never got is no alarm; anything else is."""
    one, turn = streaming()
    load = one.handle(Acked(turn, 51), NOW)[-1]
    (send,) = one.handle(Loaded(load.turn, 7, 7, 9, 100, "lost_range", reason, 12), NOW)
    effects = one.handle(Acked(send.turn, 52), NOW)
    (note,) = [effect for effect in effects if isinstance(effect, Note)]
    assert (note.kind, note.severity) == ("lost_range", severity)
    assert note.data == {
        "dest": "central", "lane": "met", "inc": 7, "n": 7, "n_to": 9, "count": 12, "reason": reason
    }  # fmt: skip
    assert one.cursor.position == (7, 9)


def test_tombstone_is_no_event_of_its_own():
    """Shedding was told when it was done."""
    one, turn = streaming()
    load = one.handle(Acked(turn, 51), NOW)[-1]
    (send,) = one.handle(Loaded(load.turn, 7, 7, 9, 100, "tombstone", "over budget", 12), NOW)
    assert notes(one.handle(Acked(send.turn, 52), NOW)) == []


def test_busy_link_is_checked_at_the_time_too_between_two_chunks():
    """Else a drain of hours would release nothing."""
    one, turn = streaming(SenderPolicy(check_s=60.0))
    load = one.handle(Acked(turn, 51), NOW + 59)[-1]
    assert isinstance(load, Load)
    (send,) = one.handle(Loaded(load.turn, 7, 7, 7, 100, "data"), NOW + 59)
    effects = one.handle(Acked(send.turn, 52), NOW + 60)
    assert isinstance(effects[-1], ReadStream)
    assert (one.state, one.why) == (RESYNC, "check")


def test_stream_that_took_a_chunk_begins_small_pauses_when_it_is_full_again():
    """And tells it again."""
    one, turn = streaming()
    for _ in range(3):
        one.handle(Refused(turn, 10077, "full", 1.0), NOW)
        (ask,) = one.tick(one.deadline())
        load = one.handle(ReadDone(ask.turn, reading()), NOW)[-1]
        (send,) = one.handle(Loaded(load.turn, 7, 6, 6, 100, "data"), NOW)
        turn = send.turn
    load = one.handle(Acked(turn, 51), NOW)[-1]
    (send,) = one.handle(Loaded(load.turn, 7, 7, 7, 100, "data"), NOW)
    assert notes(one.handle(Refused(send.turn, 10077, "full", 1.0), NOW)) == ["buffer_state"]
    assert one.deadline() == NOW + 1.0


def test_cursor_at_the_streams_first_sequence_is_no_expired_one():
    """It should be there."""
    one, effects = judged(reading(seen=None, last_seq=0, first_seq=50))
    assert (effects, one.state) == ([], RESYNC)
    one, effects = judged(reading(seen=None, last_seq=0, first_seq=51))
    assert (one.state, one.cursor) == (STREAM, ACKED)


def test_good_reading_between_two_bad_ones_begins_the_confirmation_anew():
    """The first may have been a server that was just starting."""
    one, lost = losing()
    (ask,) = one.tick(NOW + 1)
    one.handle(ReadDone(ask.turn, reading()), NOW + 1)
    one.handle(LinkLost(), NOW + 2)
    (ask,) = one.handle(LinkUp(), NOW + 2)
    assert one.handle(ReadDone(ask.turn, lost), NOW + 2) == []
    assert one.why == "the server seems to have lost its tail"


def slow(size: int, times: int, *, timed_out: bool = True) -> Sender:
    """A chunk of this size was not answered so many times."""
    one, turn = in_resync()
    for _ in range(times):
        load = one.handle(ReadDone(turn, reading()), NOW)[-1]
        (send,) = one.handle(Loaded(load.turn, 7, 6, 6, size, "data"), NOW)
        one.handle(Unanswered(send.turn, "x", timed_out=timed_out), NOW)
        (ask,) = one.tick(one.deadline())
        turn = ask.turn
    return one


def test_each_timeout_of_a_big_chunk_doubles_the_next_to_a_limit():
    """A small one that is late says nothing about the link's rate, nor does a lost link."""
    assert slow(16384, 1).timeout_s(0) == 4.0
    assert slow(16384, 5).timeout_s(0) == slow(16384, 7).timeout_s(0) == 64.0
    assert slow(16383, 3).timeout_s(0) == 2.0
    assert slow(16384, 3, timed_out=False).timeout_s(0) == 2.0
    quick = Sender("central", "met", SenderPolicy(timeout_s=1.0), ACKED, NOW)
    assert quick.timeout_s(0) == 1.0
    quick._slowness = 5
    assert quick.timeout_s(0) == 32.0


def test_lost_tail_that_ends_at_another_lifes_chunk_is_settled():
    """A restored log must not go on behind what it never wrote."""
    lost = reading(seen=Seen(6, 9, "x", 30), last_seq=30, local_last=4, local_hash=None)
    _, settle = settling(lost, Cursor(7, 5, 50, "MET/a"))
    assert settle.seen == Seen(6, 9, "x", 30)


def test_denied_reading_fences_for_a_while_only():
    """Not by identity: no operator has to adopt anything."""
    one, turn = in_resync()
    one.handle(ReadFailed(turn, "permission", denied=True), NOW)
    assert (one.state, one.is_fenced_by_identity, one.deadline()) == (FENCED, False, NOW + 30)


def test_cursor_of_a_stream_that_was_made_anew_has_no_sequence():
    """Nothing was stored there yet."""
    one, _ = judged(reading(seen=None, last_seq=0), Cursor(0, 0, 0, "MET/a"))
    assert one.cursor == Cursor(0, 0, 0, "MET/a")
    one, _ = judged(reading(seen=None, last_seq=0, lineage="MET/b"))
    assert one.cursor == Cursor(0, 0, 0, "MET/b")


def test_ack_forgets_slowness_and_doubts():
    """The next chunk has the plain timeout, and may be doubted three times again."""
    one = slow(16384, 3)
    load = one.handle(ReadDone(one.turn, reading()), NOW)[-1]
    (send,) = one.handle(Loaded(load.turn, 7, 6, 6, 16384, "data"), NOW)
    load = one.handle(Acked(send.turn, 51), NOW)[-1]
    assert one.timeout_s(0) == 2.0
    after = reading(seen=Seen(7, 6, "hash6", 51), last_seq=51, local_hash="hash6")
    for _ in range(core.DOUBTS_MAX):
        (send,) = one.handle(Loaded(load.turn, 7, 7, 7, 100, "data"), NOW)
        (read,) = one.handle(Refused(send.turn, 10071, "wrong"), NOW)
        load = one.handle(ReadDone(read.turn, after), NOW)[-1]
    (send,) = one.handle(Loaded(load.turn, 7, 7, 7, 100, "data"), NOW)
    assert one.handle(Refused(send.turn, 10071, "wrong"), NOW) == []


def test_timeouts_double_five_times_at_most():
    """Then the measured rate has to speak."""
    one, turn = in_resync(policy=SenderPolicy(timeout_s=1.0))
    for _ in range(7):
        load = one.handle(ReadDone(turn, reading()), NOW)[-1]
        (send,) = one.handle(Loaded(load.turn, 7, 6, 6, 16384, "data"), NOW)
        one.handle(Unanswered(send.turn, "x", timed_out=True), NOW)
        (ask,) = one.tick(one.deadline())
        turn = ask.turn
    assert one.timeout_s(0) == 32.0
