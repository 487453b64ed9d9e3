"""Config errors name file, line, key path, what was expected and what was found."""

import contextlib

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hubagent.config import ALIASES_MAX, CONFIG_BYTES_MAX, Size, load, parse_size
from hubagent.errors import ConfigError

BASE = """hub:
  id: alpha
  state_dir: /tmp/alpha
destinations:
  - name: central
    urls: ["nats://127.0.0.1:4222"]
"""


def refused(tmp_path, text: str | bytes) -> ConfigError:
    """The error that this config gives."""
    path = tmp_path / "hub.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.file == str(path)
    assert str(caught.value).isprintable()
    return caught.value


def test_a_small_config_is_enough(tmp_path):
    """Everything but hub and destinations has a default."""
    path = tmp_path / "hub.yaml"
    path.write_text(BASE)
    assert load(path).spool.budget == 2 << 30


@pytest.mark.parametrize(
    ("added", "line", "key", "expected", "found"),
    [
        ("spol: {}", 7, "spol", "a known key (see config.example.yaml)", "an unknown one"),
        ("spool:\n  buget: 1", 8, "spool.buget", "a known key (see config.example.yaml)", "an unknown one"),
        ("spool:\n  keep_s: soon", 8, "spool.keep_s", "a number", "'soon'"),
        ("spool:\n  keep_s: -1", 8, "spool.keep_s", "a number >= 0.0", "'-1'"),
        ("spool:\n  keep_s: .inf", 8, "spool.keep_s", "a number <= 31622400.0", "'.inf'"),
        ("spool:\n  budget: 2 gigs", 8, "spool.budget", "a size such as 64MiB or 2GiB", "'2 gigs'"),
        ("spool:\n  budget: [1]", 8, "spool.budget", "a size such as 64MiB or 2GiB", "a list"),
        ("spool:\n  budget: 32MiB", 7, "spool.reserve", "at most half of spool.budget (33554432 bytes)", "67108864 bytes"),
        ("spool:\n  chunk_bytes: 2MiB", 8, "spool.chunk_bytes", "from 4096 to 1048576 bytes", "2097152 bytes"),
        ("sampling:\n  interval_s: 0.01", 8, "sampling.interval_s", "a number >= 0.1", "'0.01'"),
        ("log_level: loud", 7, "log_level", "one of debug, info, warning, error", "'loud'"),
        ("link: [1]", 7, "link", "a mapping", "a list"),
        ("link: {1: 2}", 7, "link", "text as each key", "another kind of key"),
        ("link:\n  reconnect_min_s: 9", 7, "link.reconnect_max_s", "at least reconnect_min_s (9)", "2"),
        ("services: {}", 7, "services", "a list", "a mapping"),
        ("services:\n  - name: web", 8, "services[0]", "exactly one of argv and unit", "neither"),
        ("services:\n  - {name: w, argv: [a], unit: b}", 8, "services[0]", "exactly one of argv and unit", "both"),
        ("services:\n  - {name: W, argv: [a]}", 8, "services[0].name", "a name: a-z, 0-9 and -, at most 63 characters", "'W'"),
        ("services:\n  - {name: w, argv: [a]}\n  - {name: w, argv: [a]}", 9, "services[1].name", "a name used once", "w"),
        ("services:\n  - {name: w, argv: [a], run: active}", 8, "services[0].group", "the group whose active hub runs it", "''"),
        ("services:\n  - {name: w, argv: [a], probes: [{http: 'ftp://x/'}]}", 8, "services[0].probes[0].http",
         "an address that begins with http:// or https://", "'ftp://x/'"),
        ("services:\n  - {name: w, argv: [a], probes: [{}]}", 8, "services[0].probes[0]", "exactly one of http, tcp, command, nats", "none"),
        ("services:\n  - {name: w, argv: [a], backoff_min_s: 60}", 8, "services[0].backoff_max_s", "at least backoff_min_s (60)", "30"),
        ("alerts:\n  - {name: a, metric: cpu.total}", 8, "alerts[0]", "exactly one of above and below", "a on 'cpu.total'"),
        ("alerts:\n  - {name: a, metric: cpu.totl, above: 1}", 8, "alerts[0]", "a metric column, as cpu.total or disk[/].ratio", "a on 'cpu.totl'"),
        ("alerts:\n  - {name: a, metric: cpu.total, above: 0.5, clear: 0.6}", 8, "alerts[0]", "clear on the quiet side of the threshold", "a on 'cpu.total'"),
        ("witness:\n  urls: 5", 8, "witness.urls", "a list", "'5'"),
        ("server: {role: edge, store: x, listen: '0.0.0.0:4222'}", 7, "server.listen", "a loopback address, or cert_file and key_file for TLS", "'0.0.0.0:4222'"),
        ("server: {role: edge, store: x, listen: '[::]:4222'}", 7, "server.listen", "a loopback address, or cert_file and key_file for TLS", "'[::]:4222'"),
        ("server: {role: edge, store: x, listen: ':4222'}", 7, "server.listen", "HOST:PORT (IPv6 in brackets)", "':4222'"),
        ("server: {role: edge, store: x, listen: '127.0.0.1:1', key_file: k}", 7, "server.cert_file", "cert_file and key_file, or neither", "one of them"),
        ("witness:\n  urls: ['nats://10.0.0.1:4222']", 8, "witness.urls", "tls:// for every address that is not loopback", "'nats://10.0.0.1:4222'"),
        ("witness:\n  urls: ['http://x']", 8, "witness.urls", "a URL such as tls://central:4222 (IPv6 addresses in brackets)", "'http://x'"),
        ("hub: {id: b, state_dir: x}", 7, "hub", "each key once", "it a second time"),
        ("server: {role: edge}", 7, "server.listen", "a value", "nothing"),
    ],
)  # fmt: skip
def test_each_fault_names_line_key_expected_and_found(tmp_path, added, line, key, expected, found):
    """One fault each, in every kind of place."""
    error = refused(tmp_path, BASE + added + "\n")
    assert (error.line, error.key, error.expected, error.found) == (line, key, expected, found)


def test_destinations_must_differ(tmp_path):
    """Two cursors of one name would be one."""
    error = refused(tmp_path, BASE + '  - name: central\n    urls: ["nats://127.0.0.1:1"]\n')
    assert (error.line, error.key) == (7, "destinations[1].name")


@pytest.mark.parametrize(
    ("text", "expected", "found"),
    [
        (b"\xff\xfehub", "UTF-8 text", "byte 0xff at 0"),
        (b"a: \x07", "valid YAML", "unacceptable character #x0007"),
        (b"hub:\n\tid: a", "valid YAML", "found character '\\t' that cannot start any token"),
        (b"- 1", "a mapping with hub: and destinations:", "something else"),
        (b"", "a mapping with hub: and destinations:", "something else"),
        pytest.param(
            b"hub: !!python/object:os.system {}", "valid YAML", "could not determine a constructor", id="X10 tag"
        ),
        (b"? [a]\n: 1", "valid YAML", "found unhashable key"),
        (b"hub: 2024-13-45", "valid YAML", "month must be in 1..12"),
        (b"hub: " + b"[" * 5000, "at most 32 levels", "more"),
        (b"#" * (CONFIG_BYTES_MAX + 1), f"at most {CONFIG_BYTES_MAX} bytes", f"{CONFIG_BYTES_MAX + 1} bytes"),
    ],
)
def test_what_is_no_yaml_of_ours_is_refused_in_words(tmp_path, text, expected, found):
    """Never a traceback."""
    error = refused(tmp_path, text)
    assert error.expected == expected
    assert found in error.found


def test_a_missing_file_says_so(tmp_path):
    """The most common mistake."""
    with pytest.raises(ConfigError, match="expected a readable file, found No such file"):
        load(tmp_path / "none.yaml")


def test_alias_bombs_end_at_once(tmp_path):
    """X10: Neither many aliases nor few that nest cost time or memory."""
    many = "a: &a 1\nb: [" + "*a, " * (ALIASES_MAX + 1) + "]\n"
    assert refused(tmp_path, many).expected == f"at most {ALIASES_MAX} YAML aliases"
    levels = [f"l{n}: &l{n} [" + f"*l{n - 1}, " * 6 + "]" for n in range(1, 10)]
    nested = BASE + "l0: &l0 [x]\n" + "\n".join(levels) + "\n"
    assert refused(tmp_path, nested).expected == "a known key (see config.example.yaml)"


@pytest.mark.parametrize("text", ["services: &a [*a]", "link: &a {ping_s: *a}", "hub: &h {id: *h}"])
def test_a_document_that_holds_itself_is_refused(tmp_path, text):
    """X10: Recursion is no way in."""
    refused(tmp_path, BASE.replace("hub:", "old:") + text)


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("64MiB", 64 << 20), ("1.5KiB", 1536), ("10 GB", 10**10), (12, 12), ("7B", 7)]
)
def test_sizes_are_numbers_or_have_a_unit(text, size):
    """As people write them."""
    assert parse_size(text) == size
    assert isinstance(parse_size(text), Size)


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1", "1e3", "1 mib", "1.MiB", "9" * 400 + "GiB", None, True, [1], "1MiB\n"]
)
def test_other_sizes_are_refused(text):
    """Nothing is guessed."""
    with pytest.raises(ValueError):
        parse_size(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "hub",
        "destinations",
        "witness",
        "server",
        "spool",
        "link",
        "alerts",
        "services",
        "hooks",
        "log_level",
        "sampling",
    ]
)


@given(st.dictionaries(KEYS, JSON, max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_document_loads_or_is_refused(tmp_path_factory, added):
    """Never another exception."""
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(BASE), **added}, allow_unicode=False))
    with contextlib.suppress(ConfigError):
        load(path)


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_refused(tmp_path_factory, raw):
    """Never another exception."""
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError):
        load(path)
