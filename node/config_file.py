"""The configuration file as it stands on the disk: TOML of a bounded size."""

import tomllib
from pathlib import Path
from typing import Any

from protocol.errors import ConfigError

MAX_FILE_BYTES = 1 << 20


def read_toml(path: Path, *, required: bool) -> dict[str, Any]:
    """The sections of a file; none if there is no file and none is required.

    Raises: ConfigError for one that is missing, too large, unreadable or no TOML.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        if required:
            raise ConfigError(f"there is no configuration file {path}", "vcoin node init writes one") from None
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(text) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} is no settings file: it has more than {MAX_FILE_BYTES} bytes")
    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} holds a value that nothing can read: {error!s:.100}") from error
