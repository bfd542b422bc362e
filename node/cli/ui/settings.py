"""The settings of a data directory, as its daemon would read them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from node.config import Config


def config_of(data_dir: Path | None) -> "Config":
    """The settings as the daemon of this data directory would read them. Raises: ConfigError."""
    from node.config import load

    return load(os.environ, flags_of(data_dir))


def flags_of(data_dir: Path | None) -> dict[str, object]:
    """The options of every command that are settings."""
    return {} if data_dir is None else {"node.data_dir": str(data_dir)}
