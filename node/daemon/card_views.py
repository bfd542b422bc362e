"""The cards of this machine as its owner sees them: their values, their state, and what is wrong with each."""

from collections.abc import Iterator

from executor.cards.card import FIXES
from executor.cards.card_desk import CardReport, CardsReport
from executor.cards.care import TroubleKind
from node.api import views as api

NO_SENSOR = -1
QUIET = {TroubleKind.POWER_CAPPED, TroubleKind.FOREIGN}
"""They stand beside their card, and are no trouble of the node: an owner may live with both."""


def cards_view(report: CardsReport) -> tuple[api.CardView, ...]:
    """Each card, also those that cannot be used."""
    return tuple(_card(each) for each in report.cards)


def card_troubles(report: CardsReport) -> Iterator[api.Trouble]:
    """What is wrong with the cards, one line each."""
    if report.fault is not None and not report.cards:
        yield api.Trouble("unavailable", f"the cards cannot be read: {report.words}", FIXES[report.fault])
    for each in report.cards:
        for trouble in each.troubles:
            if trouble.kind not in QUIET:
                name = f"card {each.card.facts.index} ({each.card.facts.model or each.card.uuid})"
                yield api.Trouble("unavailable", f"{name}: {trouble.words}", trouble.fix)


def _card(report: CardReport) -> api.CardView:
    card = report.card
    return api.view_of(
        api.CardView,
        card.facts,
        card,
        compute_capability=".".join(map(str, card.facts.compute_capability)),
        state="paused" if report.is_stopped else "ready" if report.is_usable else "out",
        temperature_c=_known(card.temperature_c),
        utilisation_percent=_known(card.utilisation),
        power_watts=_watts(card.power_mw),
        power_limit_watts=_watts(card.power_limit_mw),
        ecc_uncorrected=_known(card.ecc_uncorrected),
        processes=len(card.processes),
        troubles=tuple(api.CardTroubleView(each.kind.value, each.words, each.fix) for each in report.troubles),
    )


def _known(value: int | None) -> int:
    return NO_SENSOR if value is None else value


def _watts(power_mw: int | None) -> int:
    return NO_SENSOR if power_mw is None else power_mw // 1000
