"""While this hub is active, keeps the leader of a replicated lease stream off its machine."""

import asyncio
from collections.abc import Callable, Collection

from hubagent.core.lease_leader import judge
from hubagent.edges import jetstream
from hubagent.edges.nats_link import Link
from hubagent.errors import HubagentError, JetStreamError
from hubagent.wire.streams import LEASE

LOOK_S = 2.0
AGAIN_S = 10.0  # an election takes up to 9 s; another request meanwhile would only begin it anew


class LeaseLeader:
    """Looks now and then; `degraded` says in words what is not as it should be."""

    def __init__(self, link: Link, own: Callable[[], Collection[str]], is_active: Callable[[], bool]) -> None:
        self._link, self._own, self._is_active = link, own, is_active
        self.degraded = ""
        self.moves = 0

    async def run(self) -> None:
        """Look and move until cancelled."""
        while True:
            pause_s = LOOK_S
            if not self._is_active():
                self.degraded = ""
            elif self._link.is_connected:
                pause_s = await self._look()
            await asyncio.sleep(pause_s)

    async def _look(self) -> float:
        try:
            info = await jetstream.stream_info(self._link, LEASE.name)
            judged = judge(info.cluster, self._own())
            self.degraded = judged.degraded
            if judged.move_to:
                self.moves += 1
                await jetstream.step_down(self._link, LEASE.name, judged.move_to)
                return AGAIN_S if self.moves > 1 else LOOK_S
        except JetStreamError as error:
            self.degraded = f"DEGRADED: the leader of the lease stream cannot be moved: {error}"
        except HubagentError:
            return LOOK_S  # the link, or the renewals, say what is wrong
        return LOOK_S
