"""`vcoin node drain`, `pause` and `resume`: the owner's word on new work."""

from node.api.faults import Exit
from node.api.views import HoldsView, read
from node.cli.ui import output
from node.cli.ui.daemon_socket import client
from node.cli.ui.options import COMMON, Common, Flag
from node.cli.ui.phrases import count, held, left


def drain(*, wait: Flag = False, common: Common = COMMON) -> int:
    """Take no more jobs; finish those that were taken. A restart keeps it: only `vcoin node resume` ends it.

    The node settles its batches and judges the seats that it is drawn for. After a pause, what stood still goes on.

    Parameters
    ----------
    wait
        Wait until no job and no check runs; Ctrl-C ends the wait and not the drain. --json: an object a line.
    """
    raw = client(common.data_dir).post("holds", "drain", body={})
    if not wait:
        return _show(raw, common)
    shown, most = output.ProgressLine(), 0
    try:
        for raw in client(common.data_dir).lines("holds", "events"):
            if common.json:
                output.as_json(raw, one_line=True)
                continue
            view = read(HoldsView, raw)
            runs = view.jobs_left + view.checks_left
            most = max(most, runs)
            shown.step(left(view), 10 - runs * 10 // max(most, 1))
    finally:
        shown.end()
    if not common.json and (batches := read(HoldsView, raw).batches_open):
        output.words(
            f"{count(batches, 'batch is', 'batches are')} not final: leave the node on until vcoin status shows 0"
        )
    return Exit.OK


def pause(*, common: Common = COMMON) -> int:
    """Take no more jobs, and have containers stand still at once. A restart keeps it: only `vcoin node resume` ends it.

    Jobs wait for 15 s; then other nodes do them, which counts as a failure of this node. A seat that cannot judge steps
    down, which is free once a day. `vcoin node drain` costs nothing.
    """
    return _show(client(common.data_dir).post("holds", "pause", body={}), common)


def resume(*, common: Common = COMMON) -> int:
    """End a drain and a pause: jobs are taken again, within the owner's hours."""
    return _show(client(common.data_dir).post("holds", "resume", body={}), common)


def _show(raw: object, common: Common) -> int:
    return output.show(common.json, raw, lambda: output.pairs(_rows(read(HoldsView, raw))))


def _rows(view: HoldsView) -> list[tuple[str, str]]:
    holds = [("held", held(hold)) for hold in view.holds] or [("held", "by nothing: jobs are taken")]
    return [*holds, ("work", left(view))]
