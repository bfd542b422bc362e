"""The Params contract: the profile of a network, its device classes and its calibration."""

import logging
from dataclasses import dataclass, replace
from typing import Any

from chain.calibration.files import margin_scores
from chain.contracts.contract import CallTo, Contract, DecodedLog
from chain.contracts.facts import Fact
from chain.contracts.profiles import FINAL_DEPTH, HEARTBEAT_MS, Profile
from chain.rpc.ethereum import Call
from protocol.errors import ConfigError
from protocol.events import CalibrationSeen
from protocol.params import ChainRules
from protocol.stages.verification import UNCALIBRATED, Calibration, Tolerance
from protocol.wire.ids import ZERO_HASH, Address, Cid

log = logging.getLogger(__name__)

NO_BAND = Tolerance(0, 0)


@dataclass(frozen=True, slots=True)
class DeviceClass:
    """Properties that two machines must share so that one may check the other; `runtime` is the hash of the runner."""

    id: int
    name: str
    runtime: bytes
    dtype: str
    isa: str


@dataclass(frozen=True, slots=True)
class CalibrationRow:
    """A row of the calibration table, with the hashes of what is too long for a chain.

    `margin_scores_hash` is zero if the margins were not weighed. Read from the chain, `calibration` has no
    margins: only the file has them.
    """

    calibration: Calibration
    act_weights_hash: bytes
    margin_scores_hash: bytes = ZERO_HASH

    def to_chain(self) -> tuple[Any, ...]:
        """As the contract takes it."""
        told = self.calibration
        bands = (told.act, told.chunk, told.tok, told.worst, told.embed or NO_BAND, told.classify or NO_BAND)
        return (*((band.d0, band.d1) for band in bands), self.act_weights_hash, self.margin_scores_hash)


class Params(Contract):
    """The numbers of the network."""

    NAME = "Params"

    async def profile(self) -> Profile:
        """Every number."""
        return Profile.from_chain(await self.read("profile"))

    async def rules(self, settlement: Address, stake_manager: Address) -> ChainRules:
        """The rules of this deployment for the core.

        Raises: ConfigError if it was made with a profile that this release does not know.
        """
        profile = await self.profile()
        if profile.name not in FINAL_DEPTH:
            raise ConfigError(f"this release knows no profile {profile.name!r}")
        return ChainRules(
            profile=profile.name,
            chain_id=self.ethereum.chain_id,
            settlement=settlement,
            stake_manager=stake_manager,
            epoch=profile.epoch_blocks,
            lag=profile.lag_blocks,
            final_depth=FINAL_DEPTH[profile.name],
            seat_window_s=profile.seat_seconds,
            challenge_window_s=profile.challenge_seconds,
            starved_s=profile.starved_seconds,
            court_value=profile.court_value,
            min_stake=profile.min_stake,
            recommended_stake=profile.recommended_stake,
            min_deposit=profile.min_deposit,
            heartbeat_ms=HEARTBEAT_MS[profile.name],
        )

    async def classes(self) -> list[DeviceClass]:
        """Every device class, by id."""
        mask = await self.read("classMask")
        ids = [(class_id,) for class_id in range(32) if mask >> class_id & 1]
        return [DeviceClass(*values) for values in await self.read_many("classOf", ids)] if ids else []

    async def row(self, manifest: Cid, class_id: int) -> CalibrationRow | None:
        """The calibration row of a model on a class; None if there is none."""
        return _row(await self.read("calibrationOf", manifest, class_id))

    async def calibration(self, manifest: Cid, class_id: int) -> Calibration:
        """The noise constants of a model on a class; UNCALIBRATED if there are none."""
        row = await self.row(manifest, class_id)
        return row.calibration if row else UNCALIBRATED

    add_class = CallTo[DeviceClass]("addClass")
    """(row) Add a device class; the governor."""

    def add_calibration(self, manifest: Cid, class_id: int, row: CalibrationRow) -> Call:
        """Add the constants of a model on a class; the governor, once for each pair."""
        return self.call("addCalibration", manifest, class_id, row.to_chain())

    def fact(self, entry: DecodedLog) -> Fact | None:
        """The fact in a log of this contract."""
        match entry.event, entry.values:
            case "CalibrationAdded", (manifest, class_id, values):
                row = _row(values)
                return CalibrationSeen(manifest, class_id, _weighed(manifest, class_id, row)) if row else None
        return None


def _weighed(manifest: Cid, class_id: int, row: CalibrationRow) -> Calibration:
    """With the table for its margins out of the file of this release, which the chain has the hash of only."""
    if row.margin_scores_hash == ZERO_HASH:
        return row.calibration
    try:
        scores = margin_scores(manifest, class_id, row.margin_scores_hash)
    except ConfigError as error:
        log.warning("calibration not used: %s", error, extra={"manifest": manifest.hex()})
        return row.calibration
    if scores is None:
        log.warning("this release has another table of margins than the network", extra={"manifest": manifest.hex()})
    return replace(row.calibration, margins=scores)


def _row(values: tuple[Any, ...]) -> CalibrationRow | None:
    *bands, weights, scores = values
    act, chunk, tok, worst, *kinds = (Tolerance(*band) for band in bands)
    if act == NO_BAND:
        return None
    embed, classify = (None if band == NO_BAND else band for band in kinds)
    measured = Calibration(act, chunk, tok, worst, embed=embed, classify=classify)
    return CalibrationRow(measured, weights, scores)
