"""The token rules of this node's own jobs, read back from their sealed inputs: no event or row has them."""

from collections import OrderedDict

from node.wallet.sealing import Sealing
from protocol.errors import AdapterError
from protocol.roles.machine import Machine
from protocol.stages.token_rules import has_rules, rules_of
from protocol.wire.ids import JobId

KEPT = 256


class AskedRules:
    """Rules by the input of a job."""

    def __init__(self, machine: Machine, sealing: Sealing) -> None:
        self._machine = machine
        self._sealing = sealing
        self._stops: OrderedDict[bytes, tuple[str, ...]] = OrderedDict()

    async def stops(self, job_id: bytes) -> tuple[str, ...]:
        """The stop strings of a job by its present attempt; none if its input is here no longer."""
        job = self._machine.requester.job(JobId(job_id))
        if job is None or not has_rules(job.ask.temperature):
            return ()
        input_cid = job.ask.input_cid
        if input_cid not in self._stops:
            try:
                shown = await self._sealing.show(job_id, input_cid, None)
            except AdapterError:
                return ()
            self._stops[input_cid] = rules_of(shown.asked).stop
            while len(self._stops) > KEPT:
                self._stops.popitem(last=False)
        return self._stops[input_cid]
