"""The texts of /proc, and a machine made of files."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubagent.counters import CpuTimes, NicCounters
from hubagent.edges import proc
from hubagent.edges.host import USAGE_STALE_S, LinuxHost, open_host

STAT = b"cpu  10 1 20 900 50 3 4 5 6 7\ncpu0 5 1 10 450 25 1 2 2 0 0\ncpu2 5 0 10 450 25 2 2 3 0 0\nintr 1 2 3\nbtime 1700000000\n"
MOUNTINFO = b"""21 1 254:0 / / rw,relatime - overlay overlay rw
22 21 0:20 / /proc rw - proc proc rw
23 21 0:21 / /run rw - tmpfs tmpfs rw
24 21 8:1 / /var/data rw shared:1 - ext4 /dev/sda1 rw
25 21 8:1 /sub /mnt rw - ext4 /dev/sda1 rw
26 21 8:2 / /a\\040b rw - xfs /dev/sda2 rw
27 21 7:0 / /snap/x rw - squashfs /dev/loop0 ro
28 21 0:40 / /nfs rw - nfs4 server:/x rw
29 21 0:50 / /pool rw - btrfs /dev/sdb rw
"""
NODEV = frozenset({"overlay", "proc", "tmpfs", "nfs4"})


def test_cpu_lines_give_busy_and_total_without_counting_guests_twice():
    """Idle and iowait are not busy; the cores keep their numbers."""
    assert proc.cpu_times(STAT) == (CpuTimes(None, 43, 993), CpuTimes(0, 21, 496), CpuTimes(2, 22, 497))
    assert proc.boot_time(STAT) == 1_700_000_000.0


def test_disks_are_real_devices_once_each_under_the_shortest_path():
    """Pseudo, network and always-full file systems are none; the root is one whatever it is."""
    found = proc.mounts(MOUNTINFO, NODEV)
    assert [(mount.path, mount.device) for mount in found] == [
        ("/", "254:0"),
        ("/a b", "8:2"),
        ("/mnt", "8:1"),
        ("/pool", "0:50"),
    ]


def test_a_hostile_mount_path_is_shown_harmless_and_still_measured():
    """The path goes to statvfs as it is, the label to people."""
    (mount,) = proc.mounts(b"1 0 8:1 / /x\\033]0;\xff rw - ext4 /dev/sda1 rw\n", NODEV)
    assert os.fsencode(mount.path) == b"/x\x1b]0;\xff"
    assert mount.label.isprintable()


def test_disk_bytes_are_sectors_of_512():
    """Whatever the device's own sector is."""
    raw = b"   8       1 sda1 10 0 100 5 20 0 200 7 0 8 9\n   8       2 sda2 1 0 1 0 1 0 1 0 0 0 0\n"
    assert proc.disk_bytes(raw, {"8:1"}) == {"8:1": (51_200, 102_400)}


def test_interfaces_without_traffic_loopback_and_container_ends_are_left_out():
    """A container host has hundreds."""
    head = b"Inter-|\n face |\n"
    rows = b"  lo: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n eth0:7 1 2 0 0 0 0 0 9 1 3 0 0 0 0 0\nveth1: 7 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n ifb0: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    assert proc.nics(head + rows) == (NicCounters("eth0", 7, 9, 5),)


def test_pressure_is_the_total_of_the_some_line_in_seconds():
    """Microseconds in the kernel."""
    assert proc.pressure(b"some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0 total=1\n") == 2.5


@given(st.binary(max_size=300))
def test_any_text_is_a_figure_or_none_and_never_another_exception(raw):
    """A kernel that writes something new costs one figure, not the sample."""
    parsers = [proc.cpu_times, proc.boot_time, proc.load, proc.memory, proc.pressure, proc.nics]
    for parse in (*parsers, lambda text: proc.mounts(text, NODEV), lambda text: proc.disk_bytes(text, {"8:1"})):
        proc.sensor(parse, raw)


def fake_proc(root: Path, **texts: bytes) -> Path:
    """A /proc of files; `net_dev` and the like stand for paths."""
    for name, text in texts.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    return root


def test_a_machine_without_sensors_reads_as_none_never_zero(tmp_path):
    """An empty /proc still gives a reading."""
    reading = LinuxHost(tmp_path).read(1.0)
    assert (reading.cpu, reading.load, reading.mem_total, reading.swap_free) == (None, None, None, None)
    assert (reading.pressure_cpu_s, reading.boot_time, reading.own_rss) == (None, None, None)
    assert (reading.cores, reading.disks, reading.nics, reading.processes) == ((), (), (), 0)
    assert reading.own_cpu_s > 0


def test_figures_come_from_the_files_and_change_with_them(tmp_path):
    """Files stay open and are read again from their start."""
    root = fake_proc(
        tmp_path, stat=STAT, loadavg=b"0.50 1.00 2.00 1/2 3\n", meminfo=b"MemTotal:  10 kB\nMemAvailable:  4 kB\n"
    )
    for pid in ("1", "77"):
        (tmp_path / pid).mkdir()
    host = LinuxHost(root)
    first = host.read(1.0)
    assert (first.load, first.mem_total, first.mem_available, first.swap_total) == ((0.5, 1.0, 2.0), 10240, 4096, None)
    assert (first.cpu, first.processes) == (CpuTimes(None, 43, 993), 2)
    (tmp_path / "loadavg").write_bytes(b"9.00 1.00 2.00 1/2 3\n")
    assert host.read(2.0).load == (9.0, 1.0, 2.0)
    host.close()


def test_disk_usage_is_measured_each_ten_seconds_and_void_when_stale(tmp_path):
    """A disk that hangs must not show its last figures for ever."""
    root = fake_proc(tmp_path, self__mountinfo=b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n", filesystems=b"\text4\n")
    fake_proc(tmp_path, diskstats=b"8 1 sda1 1 0 10 0 1 0 20 0 0 0 0\n")
    host = LinuxHost(root)
    host._measure_disks(0.0)
    host._slow_due = 10_000.0  # no slow round from here on, as if it hung
    (fresh,) = host.read(1.0).disks
    assert (fresh.mount, fresh.read_bytes, fresh.written_bytes) == ("/", 5120, 10240)
    assert fresh.total > 0
    (stale,) = host.read(USAGE_STALE_S + 1.0).disks
    assert (stale.total, stale.used, stale.read_bytes) == (None, None, 5120)


def test_this_machine_has_cores_memory_and_a_root_disk():
    """The real thing: what every machine has is there."""
    host = open_host()
    first, second = host.read(1.0), host.read(2.0)
    assert second.cpu.total >= first.cpu.total > 0
    assert len(first.cores) >= 1
    assert 0 < first.mem_available < first.mem_total
    assert first.processes >= 1
    assert first.own_rss > 1 << 20
    assert first.boot_time > 1_000_000_000


def test_the_portable_host_agrees_with_the_linux_one():
    """Two ways to one truth, where both are there."""
    pytest.importorskip("psutil")
    from hubagent.edges.host_psutil import PsutilHost

    ours, theirs = LinuxHost().read(1.0), PsutilHost().read(1.0)
    assert len(ours.cores) == len(theirs.cores)
    assert (ours.mem_total, ours.swap_total, ours.boot_time) == (theirs.mem_total, theirs.swap_total, theirs.boot_time)
    assert abs(ours.own_rss - theirs.own_rss) < 8 << 20
    assert (theirs.pressure_cpu_s, theirs.pressure_io_s) == (None, None)
