"""Programs that people use with OpenAI's interface; tests run them against a gateway."""

from __future__ import annotations

from scripts.setup import venv
from scripts.setup.apart import ApartEnvironment

LOCK = venv.CLIENTS_LOCK
_ENVIRONMENT = ApartEnvironment("clients", LOCK)
tool = _ENVIRONMENT.tool
STEP = _ENVIRONMENT.step()
