"""What `hubagent check` says of groups, witness, hooks and the token file before anything runs."""

import msgspec
import pytest
import yaml

from console.demo.layout import lay_out
from hubagent import config, group_checks, setup
from hubagent.__main__ import main
from hubagent.config import HookSettings
from hubagent.wire.roster import Group, Hub, Roster, RosterRefused, parse_roster


class Files:
    """The files of one demo hub, never started."""

    def __init__(self, root):
        self.layout = lay_out(root / "fleet", 1)
        self.path = self.layout.config("central")
        self.settings = config.load(self.path)
        self.roster = setup.load_roster(self.settings)

    def change(self, **changes):
        """Write the config anew with these keys changed."""
        raw = yaml.safe_load(self.path.read_text())
        self.path.write_text(yaml.safe_dump(raw | changes))

    def group(self, **changes) -> Roster:
        """The roster with its group changed."""
        groups = [msgspec.structs.replace(self.roster.groups[0], **changes)]
        return msgspec.structs.replace(self.roster, groups=groups)


@pytest.fixture
def files(tmp_path):
    """A hub with nothing wrong."""
    return Files(tmp_path)


def test_a_hub_with_nothing_wrong_passes_without_a_warning(files, capsys):
    """Exit 0, one line."""
    assert main(["check", "-c", str(files.path)]) == 0
    assert capsys.readouterr().err == ""


def test_timings_that_cannot_work_show_their_inequality(files):
    """A demotion grace longer than the profile leaves room for."""
    services = [msgspec.structs.replace(files.settings.services[0], demote_grace_s=0.4)]
    settings = msgspec.structs.replace(files.settings, services=services)
    (said,) = group_checks.faults(settings, files.roster)
    assert "0 <= demote_grace <= A - 2 P does not hold: 0.4 s, limit 0.3 s in profile fast" in said


@pytest.mark.parametrize(
    ("changes", "shown"),
    [({"profile": "hasty"}, "rapid, fast, normal, wan"), ({"auto": "maybe"}, "off, shadow, armed")],
)
def test_unknown_words_of_a_group_are_named(files, changes, shown):
    """The message lists what is known."""
    assert shown in group_checks.faults(files.settings, files.group(**changes))[0]


def body(roster: Roster) -> bytes:
    return msgspec.json.encode(roster)


def test_a_group_with_an_unknown_hub_is_refused(files):
    """The roster names group and hub."""
    with pytest.raises(RosterRefused, match="group core: unknown hub 'nobody'; add the hub first"):
        parse_roster(body(files.group(members=["central", "nobody"])))


def test_two_hubs_with_one_id_are_refused(files):
    """Whatever keys the second one has."""
    first, other = files.roster.hubs[0], files.roster.hubs[1]
    twin = Hub(first.id, other.login, other.signing)
    hubs = [first, twin, *files.roster.hubs[2:]]
    with pytest.raises(RosterRefused, match="'central' is listed twice"):
        parse_roster(body(msgspec.structs.replace(files.roster, hubs=hubs)))


def test_a_witness_on_a_members_machine_is_accepted_and_says_what_it_costs(files, capsys):
    """By its own row in the roster."""
    servers = [
        msgspec.structs.replace(one, hub="edge") if one.name == "witness" else one for one in files.roster.servers
    ]
    roster = msgspec.structs.replace(files.roster, servers=servers)
    assert group_checks.faults(files.settings, roster) == []
    said = (
        "group core: the witness runs on edge, which is a member: when that machine dies nobody takes over by itself,"
        " and central, if active, has to stop as well; a witness belongs on a third machine"
    )
    assert group_checks.warnings(files.settings, roster) == [said]


def test_a_hub_server_used_as_the_witness_warns_and_passes_the_check(files, capsys):
    """By its address; `hubagent check` says it and ends with 0."""
    files.change(witness={"urls": [files.layout.url("central")]})
    assert main(["check", "-c", str(files.path)]) == 0
    said = capsys.readouterr()
    assert "warning: group core: the witness runs on central" in said.err
    assert "ok" in said.out


def test_a_witness_on_a_third_machine_needs_no_warning(files):
    """Nor does a group that this hub is no member of."""
    assert group_checks.warnings(files.settings, files.roster) == []
    strangers = msgspec.structs.replace(files.roster, groups=[Group("core", ["witness"])])
    assert group_checks.warnings(files.settings, strangers) == []


def test_hooks_that_are_not_there_or_writable_by_others_are_faults(files, tmp_path):
    """Each with its path and what to do."""
    loose = tmp_path / "loose.sh"
    loose.write_text("#!/bin/sh\n")
    loose.chmod(0o777)
    hooks = [HookSettings(group="core", on_promote=["/nonexistent/hook"], on_demote=[str(loose)])]
    said = group_checks.faults(msgspec.structs.replace(files.settings, hooks=hooks), files.roster)
    assert "hook /nonexistent/hook: No such file" in said[0]
    assert "chmod go-w" in said[1]


def test_hooks_and_active_services_of_a_group_that_is_not_this_hubs_are_faults(files):
    """They would never run."""
    settings = msgspec.structs.replace(files.settings, hooks=[HookSettings(group="other")])
    said = group_checks.faults(settings, files.group(name="elsewhere"))
    assert [words for words in said if "would never" in words] == [
        "hooks: central is no member of a group other; the hooks would never run",
        "service scheduler: central is no member of a group core; it would never run",
    ]


def test_a_damaged_token_file_is_a_fault_that_says_what_it_stops(files, capsys):
    """Safety before availability, and nothing is overwritten."""
    path = files.settings.state_dir / "tokens.json"
    path.write_bytes(b'{"v": 1, "groups": {"core"')
    assert main(["check", "-c", str(files.path)]) == 1
    said = capsys.readouterr().err
    assert "refuses to act for any group" in said
    assert "safety before availability" in said
    assert path.read_bytes() == b'{"v": 1, "groups": {"core"'
