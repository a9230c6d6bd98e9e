"""Dealing sites to splits, so that no site spans two and no clip ever moves."""

import hashlib

from schemas.base import canonical_json
from schemas.catalog import Split, SplitRule

MANTISSA_BITS = 53
"""Bits of a float64: that many digits of a hash become a fraction below 1 without rounding."""


def split_of(site: str, rule: SplitRule) -> Split:
    """The split of every clip filmed at `site`.

    A site fixed by hand stays where it was put. Any other is placed by a hash of the seed and its
    own name alone, so that sites added or removed later move nothing.

    Args:
        site: where a recording was filmed, as the catalog names it.
        rule: the shares of the splits, the seed, and the sites fixed by hand.
    """
    if site in rule.sites:
        return rule.sites[site]
    shares: tuple[tuple[Split, float], ...] = (
        ("train", rule.train),
        ("val", rule.val),
        ("test", rule.test),
    )
    wanted = [(split, share) for split, share in shares if share > 0]
    place = site_place(site, rule.seed)
    upper = 0.0
    for split, share in wanted:
        upper += share
        if place < upper:
            return split
    return wanted[-1][0]  # the shares may add up to a rounding error less than 1


def site_place(site: str, seed: int) -> float:
    """Where `site` lies in [0, 1), uniform over site names."""
    digest = hashlib.sha256(canonical_json(["split", seed, site]).encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> (64 - MANTISSA_BITS)) / (1 << MANTISSA_BITS)
