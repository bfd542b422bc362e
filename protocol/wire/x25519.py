"""Public keys of X25519 that no content can be sealed to: points of low order, whose shared secret everybody knows."""

_PRIME = 2**255 - 19
_LOW_ORDER = frozenset(
    {
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _PRIME - 1,
    }
)
"""Source: RFC 7748 section 6.1 demands the check, https://cr.yp.to/ecdh.html#validate lists the points."""


def can_be_sealed_to(public_key: bytes) -> bool:
    """Whether a key of 32 bytes is a public key that content can be sealed to."""
    # The highest bit does not count, and numbers from the prime on are read modulo the prime.
    return int.from_bytes(public_key, "little") % 2**255 % _PRIME not in _LOW_ORDER
