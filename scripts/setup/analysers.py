"""halmos and slither, which prove and criticise the contracts; they bring another web3 than the project's."""

from __future__ import annotations

from scripts.setup import venv
from scripts.setup.apart import ApartEnvironment

LOCK = venv.ANALYSERS_LOCK
_ENVIRONMENT = ApartEnvironment("analysers", LOCK)
tool = _ENVIRONMENT.tool
STEP = _ENVIRONMENT.step()
