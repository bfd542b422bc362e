"""`vcoin config`: the settings as the daemon would read them."""

from typing import Any

from node.api.faults import vcn
from node.cli.ui import output
from node.cli.ui.options import COMMON, Common, Flag, noun
from node.cli.ui.settings import config_of

app = noun("config", "The node's settings and where each comes from.")
_COINS = frozenset({"node.price", "node.lane"})
_BYTES = frozenset({"executor.memory", "executor.models_limit", "executor.store_bytes"})


@app.command
def show(*, origin: Flag = False, common: Common = COMMON) -> int:
    """Show every setting: defaults < file < environment < flags.

    Parameters
    ----------
    origin
        Also say which layer set each value.
    """
    settings = list(config_of(common.data_dir).settings())
    shown = {each.key: {"value": _plain(each.value), "origin": each.origin} for each in settings}
    plain = shown if origin else {key: entry["value"] for key, entry in shown.items()}
    head = ("key", "value", "origin") if origin else ("key", "value", "meaning")
    rows = [(entry.key, _shown(entry.key, entry.value), entry.origin if origin else entry.help) for entry in settings]
    return output.show(common.json, plain, lambda: output.table(head, rows))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _shown(key: str, value: Any) -> str:
    """As it would be written."""
    if value is None:
        return ""
    if key in _COINS:
        return vcn(value)
    if key in _BYTES:
        return f"{value // 2**20}MiB"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(str(item) for item in value) if isinstance(value, tuple) else str(value)
