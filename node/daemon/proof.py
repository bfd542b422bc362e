"""The proof of a job: this node's papers, what the chain tells of their batch, and the content if it is wanted."""

from dataclasses import replace

from chain.read.batch_history import BatchHistory, read_batch_history, read_noise
from node.api import views as api
from node.api.faults import Fault
from node.daemon.parts import Parts
from protocol.errors import AdapterError, ChainError
from protocol.proof import file
from protocol.roles.provider.provided import ProvidedJob
from protocol.roles.requester.requested import RequestedJob
from protocol.stages.assignment import AssignmentOrder
from protocol.stages.commitment import BatchContents, Leaf, leaf_of
from protocol.stages.execution import Outcome
from protocol.wire.envelope import recover
from protocol.wire.ids import BatchId, Cid, JobId
from protocol.wire.merkle import path, root


class JobProofBuilder:
    """Puts proofs together; changes nothing, and may be asked again as a job goes on."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._machine = parts.machine

    async def prove(self, view: api.JobView, *, with_content: bool) -> file.Proof:
        """The proof of a job as it is known now. Raises: Fault, ChainError."""
        job_id = JobId(bytes.fromhex(view.job_id))
        provided = self._machine.provider.job(job_id) if view.side == "provider" else None
        requested = self._machine.requester.job(job_id) if view.side == "requester" else None
        papers = _of_provider(provided) if provided else _of_requester(requested) if requested else None
        job = provided or requested
        if job is None or papers is None:
            hint = "vcoin job show follows it; a proof begins with a signed order"
            raise Fault("not_ready", "no node has been given the job yet: there is nothing to prove", hint)
        name = BatchId(bytes.fromhex(view.batch_id)) if view.batch_id else None
        history = await self._history(name) if name else None
        if provided and name:
            papers, leaf = self._own_leaf(provided, papers, name)
        else:
            leaf = self._bought_leaf(requested, history) if requested and history else None
        content = await self._content(job, papers) if with_content else None
        rules, model, noise = self._machine.rules, Cid(papers.details.manifest), None
        if history is None or not history.batch.uncalibrated:
            noise = await read_noise(self._parts.chain.network, model, papers.offer.class_id)
        return file.Proof(
            v=file.VERSION,
            place=file.Place(rules.chain_id, rules.settlement, rules.epoch, rules.lag),
            worker=await self._worker(papers),
            papers=papers,
            leaf=leaf,
            noise=noise,
            model=self._parts.known.get(model),
            content=content,
            **{part: getattr(history, part, None) for part in ("batch", "draw", "case", "pay", "steps")},
        )

    # --- the chain's part -------------------------------------------------------------------------------------------
    async def _history(self, name: BatchId) -> BatchHistory | None:
        chain = self._parts.chain
        batch = self._machine.docket.batch(name)
        first = batch.submitted.block if batch else chain.deployment.block
        return await read_batch_history(chain.network, name, first, await chain.network.ethereum.head())

    async def _worker(self, papers: file.JobPapers) -> file.Worker:
        node = papers.order.node
        known = await self._parts.chain.network.stakes.node_of(node)
        if known is None:
            raise ChainError(f"the chain does not know node {node}")
        return file.Worker(
            node, known.owner, recover(papers.offer, papers.offer_signature, self._machine.identity.domain)
        )

    # --- the leaf ---------------------------------------------------------------------------------------------------
    def _own_leaf(
        self, job: ProvidedJob, papers: file.JobPapers, name: BatchId
    ) -> tuple[file.JobPapers, file.LeafPath | None]:
        """With the receipt as it went into the batch, and the whole way to the root."""
        batch = self._machine.settler.batch(name)
        if batch is None or job.job_id not in batch.job_ids:
            return papers, None
        position = batch.job_ids.index(job.job_id)
        entry = batch.entries[position]
        siblings = path([each.leaf.node for each in batch.entries], position)
        receipt = entry.job.receipt if entry.job else None
        return replace(papers, receipt=receipt), file.LeafPath(position, entry.leaf, siblings)

    def _bought_leaf(self, job: RequestedJob, history: BatchHistory) -> file.LeafPath | None:
        """By one's own papers; the way to the root only where every leaf of the batch is one's own."""
        if job.batch_id != history.batch.batch_id:
            return None
        own = _leaf_of(job, history.batch.unreceipted)
        if own is None:
            return None
        leaves = self._leaves(history.batch.contents, history)
        whole = leaves is not None and root([leaf.node for leaf in leaves]).hash == history.batch.contents.root
        siblings = path([leaf.node for leaf in leaves], job.position) if leaves and whole else None
        return file.LeafPath(job.position, own, siblings)

    def _leaves(self, contents: BatchContents, history: BatchHistory) -> list[Leaf] | None:
        """All leaves of a batch; None if one is somebody else's, or of an order that was given up."""
        identity, jobs = self._machine.identity, {}
        for view in self._machine.requester.jobs:
            job = self._machine.requester.job(view.job_id) if view.job_id else None
            if job is not None and job.batch_id == history.batch.batch_id:
                jobs[job.index] = _leaf_of(job, history.batch.unreceipted)
        found: list[Leaf] = []
        for debit in contents.debits:
            if (debit.client, debit.signer) != (identity.client, identity.signer):
                return None
            for index in range(debit.index - debit.leaves + 1, debit.index + 1):
                leaf = jobs.get(index)
                if leaf is None:
                    return None
                found.append(leaf)
        return found

    # --- the content ------------------------------------------------------------------------------------------------
    async def _content(self, job: ProvidedJob | RequestedJob, papers: file.JobPapers) -> file.ContentPaper:
        try:
            shown = await self._parts.sealing.show(job.job_id or b"", papers.details.input_cid, job.delivery)
        except AdapterError as error:
            hint = "it is kept until a day after the job's end; a proof without it needs none"
            raise Fault("not_found", str(error), hint) from error
        if shown.answer is not None and len(shown.answer) > file.MAX_RESULT_BYTES:
            raise Fault(
                "too_large", f"the answer has more than {file.MAX_RESULT_BYTES} bytes", "leave out --with-content"
            )
        fingerprint = (job.fingerprint or None) if isinstance(job, ProvidedJob) else None
        return file.ContentPaper(shown.key, shown.asked, shown.answer, fingerprint)


def _of_provider(job: ProvidedJob) -> file.JobPapers:
    papers, run = _papers(job.order, job), job.run
    if job.delivery is None or run is None or run.outcome is not Outcome.OK:
        return papers
    return replace(papers, fingerprint_hash=run.fingerprint_hash, salt=job.salt)


def _of_requester(job: RequestedJob) -> file.JobPapers | None:
    order = _order_of(job)
    return replace(_papers(order, job), receipt=job.receipt) if order else None


def _papers(order: AssignmentOrder, job: ProvidedJob | RequestedJob) -> file.JobPapers:
    delivery = job.delivery
    return file.JobPapers(
        request=order.request.request,
        request_signature=order.request.signature,
        offer=order.offer.offer,
        offer_signature=order.offer.signature,
        order=order.assignment,
        order_signature=order.signature,
        details=order.details,
        promise=job.promise,
        result=file.ResultPaper(delivery.result, delivery.signature) if delivery else None,
    )


def _order_of(job: RequestedJob) -> AssignmentOrder | None:
    """The order that its node has, without what is sealed in it; None before it is signed."""
    if job.signed is None or job.chosen is None or job.order is None or job.details is None:
        return None
    return AssignmentOrder(job.signed, job.chosen, job.order.assignment, job.details, job.order.signature, b"", b"")


def _leaf_of(job: RequestedJob, unreceipted: bool) -> Leaf | None:
    """The leaf that its node made of a job, by the papers that both have."""
    order, receipt = _order_of(job), job.receipt
    if order is None or job.delivery is None or not (receipt or unreceipted):
        return None
    return leaf_of(order, job.delivery.result, job.new_tokens, receipt.receipt if receipt and not unreceipted else None)
