"""The first day as docs/for-real.md tells it, command by command, on bare machines or on loopback addresses."""

import json
import subprocess
import time
from collections.abc import Callable

from tests.support.sites import END_SECONDS, STATE, OnLoopback, Site

SERVERS = ("central", "edge", "witness")

# Logs in to every server given, again and again, and says when each began to refuse: argv is seed, CA, identity, URLs.
LOGIN = """
import asyncio, json, logging, nats, ssl, sys, time
logging.disable()
seed, ca, identity, *urls = sys.argv[1:]
tls = ssl.create_default_context(cafile=ca)
async def may(url):
    try:
        client = await nats.connect(url, nkeys_seed_str=seed, tls=tls, inbox_prefix=f"_I.{identity}".encode(),
                                    allow_reconnect=False, connect_timeout=3)
    except (nats.errors.Error, OSError) as error:  # only a refusal is a refusal
        return "Authorization Violation" not in str(error)
    await client.close()
    return True
async def main():
    print(json.dumps([await may(url) for url in urls]), flush=True)
    while any([await may(url) for url in urls]):
        await asyncio.sleep(0.05)
    print(time.time(), flush=True)
asyncio.run(main())
"""


def wait(what: str, test: Callable[[], object], seconds: float = 30.0) -> float:
    """Poll the outside world until it holds; seconds it took."""
    began, found = time.monotonic(), None
    while not (found := test()):
        assert time.monotonic() - began < seconds, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.05)
    assert found
    return time.monotonic() - began


class FirstDay:
    """A stranger at a desk: what was typed is in `commands`, in order."""

    def __init__(self, found: dict[str, Site]) -> None:
        self.desk, self.sites = found["desk"], found
        self.commands: list[str] = []

    def typed(self, where: str, *words: str) -> None:
        """Write down a command that a person types."""
        self.commands.append(f"{where}: {' '.join(words)}")

    def hubdeck(self, *words: str, status: int | None = 0, config: str = "acme/console.yaml") -> str:
        """`hubdeck …` at the desk; its output."""
        argv = [f"{self.desk.program}/hubdeck", *words, *(["-c", config] if config else [])]
        return self.desk.run(*argv, status=status).stdout

    def json(self, *words: str, status: int | None = 0) -> dict:
        """The same with --json."""
        text = self.hubdeck(*words, "--json", status=status)
        return json.loads(text) if text.strip() else {}

    # --- the manual, section by section

    def found(self, *options: str, tls: bool = True) -> None:
        """1: the fleet's directory; on loopback addresses TLS has to be asked for."""
        place = {name: self.sites[name].place for name in SERVERS}
        words = ["fleet", "new", "acme", "--server", f"central={place['central']}", "--server",
                 f"edge={place['edge']}", "--witness", place["witness"], "--group", "core=central,edge"]  # fmt: skip
        words += ["--tls"] if tls and isinstance(self.desk, OnLoopback) else []
        self.typed("desk", "hubdeck", *words)
        self.hubdeck(*words, *options, config="")

    def install(self, hub: str) -> None:
        """2: one of the three machines."""
        site = self.sites[hub]
        self.typed("desk", "scp", "-r", f"acme/{hub}", f"root@{site.place}:{STATE}")
        site.receive(self.desk.file(f"acme/{hub}"))
        self.typed("desk", "ssh", f"root@{site.place}", "hubagent", "install")
        site.install()

    def join(self, hub: str) -> None:
        """3: one more machine."""
        site = self.sites[hub]
        self.typed("desk", "hubdeck", "invite", hub)
        argv = [f"{self.desk.program}/hubdeck", "invite", hub, "--yes", "-c", "acme/console.yaml"]
        waiting = subprocess.Popen(
            self.desk.argv(*argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        with waiting:
            token = waiting.stdout.readline().strip()
            assert token, waiting.stderr.read()
            self.typed(hub, "hubagent", "join", "TOKEN")
            site.join(token)
            assert waiting.wait(END_SECONDS) == 0, waiting.stderr.read()
        self.typed(hub, "hubagent", "install")
        site.install()

    def live(self, *hubs: str, seconds: float = 40.0) -> None:
        """Every one of these hubs is fresh, and delivers to both servers over TLS."""
        seen: dict = {}

        def is_so() -> bool:
            seen.update(self.json("status", status=None))
            rows = {one["hub"]: one for one in seen.get("hubs", [])}
            return all(_is_live(rows.get(hub)) for hub in hubs) and len(rows) == len(hubs)

        try:
            wait(f"{', '.join(hubs)} live", is_so, seconds)
        except AssertionError as error:
            said = {hub: self.sites[hub].words() for hub in hubs}
            raise AssertionError(f"{error}: {json.dumps(seen)[:3000]}\n{said}") from None

    def drill(self) -> dict:
        """4: a failover, once the group is ready for one; its score."""
        words = ("drill", "core", "--force", "armed", "--reason", "first drill", "--yes")
        said: dict = {}

        def is_ready() -> bool:
            argv = [f"{self.desk.program}/hubdeck", *words, "--dry-run", "--json", "-c", "acme/console.yaml"]
            done = self.desk.run(*argv, status=None)
            said.clear()
            said.update(json.loads(done.stdout) if done.stdout.strip() else {"stderr": done.stderr})
            return "results" in said and not _failing(said)  # nobody may be active yet

        try:
            wait("a group ready for its drill", is_ready, 60)  # it holds its place half a minute first
        except AssertionError as error:
            raise AssertionError(f"{error}: {json.dumps(said)[:2000]}") from None
        self.typed("desk", "hubdeck", *words[:-1])
        (result,) = self.json(*words)["results"]
        return result["score"]

    def add_operator(self, name: str) -> None:
        """6: somebody else."""
        self.typed("desk", "hubdeck", "operator", "add", name, "--role", "operator")
        self.hubdeck("operator", "add", name, "--role", "operator", "--yes")

    def revoke(self, name: str) -> float:
        """Seconds from `operator revoke` until the login is refused on both servers."""
        home = f"acme/operators/{name}"
        seed = self.desk.file(f"{home}/{name}.key").read_text().split()[0]
        urls = [f"tls://{_with_port(self.sites[one].place)}" for one in ("central", "edge")]
        argv = [f"{self.desk.program}/python", "-c", LOGIN, seed, f"{home}/ca.pem", name, *urls]
        with subprocess.Popen(self.desk.argv(*argv), stdout=subprocess.PIPE, text=True) as trying:
            assert json.loads(trying.stdout.readline()) == [True, True]
            began = time.time()
            self.typed("desk", "hubdeck", "operator", "revoke", name)
            self.hubdeck("operator", "revoke", name, "--yes")
            ended = float(trying.stdout.readline())
        return ended - began


def _failing(said: dict) -> list[str]:
    """What a dry run says is in the way, but for what is forced."""
    failing = [gate["name"] for one in said["results"] for gate in one["gates"] if not gate["passed"]]
    return [name for name in failing if name != "armed"]


def _is_live(row: dict | None) -> bool:
    return (
        row is not None and row["state"] in {"OK", "WARN"} and len(row["lanes"]) >= 4
        and all(lane["state"] == "LIVE" for lane in row["lanes"])
    )  # fmt: skip


def _with_port(place: str) -> str:
    return place if ":" in place else f"{place}:4222"
