"""Splits: a site's place depends on its name, the seed and the rule alone."""

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.split import site_place, split_of
from schemas.catalog import Split, SplitRule

SITES = st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,2}", fullmatch=True)
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@st.composite
def rules(draw: st.DrawFn) -> SplitRule:
    parts = draw(st.tuples(*[st.integers(0, 20)] * 3).filter(any))
    train, val, test = (part / sum(parts) for part in parts)
    return SplitRule(train=train, val=val, test=test, seed=draw(st.integers(0, 2**40)))


def deal(sites: Iterable[str], rule: SplitRule) -> dict[str, Split]:
    return {site: split_of(site, rule) for site in sites}


@given(sites=st.sets(SITES), more=st.sets(SITES), rule=rules())
def test_adding_sites_never_moves_one(sites: set[str], more: set[str], rule: SplitRule) -> None:
    before = deal(sorted(sites), rule)

    after = deal(sorted(sites | more), rule)

    assert before.items() <= after.items()


@given(site=SITES, rule=rules())
def test_a_split_without_a_share_gets_no_site(site: str, rule: SplitRule) -> None:
    split = split_of(site, rule)

    assert getattr(rule, split) > 0


@given(site=SITES, rule=rules(), split=st.sampled_from(SPLITS), others=st.sets(SITES))
def test_a_site_fixed_by_hand_stays_there_and_moves_no_other(
    site: str, rule: SplitRule, split: Split, others: set[str]
) -> None:
    fixed = rule.model_copy(update={"sites": {site: split}})

    assert split_of(site, fixed) == split
    assert deal(others - {site}, fixed) == deal(others - {site}, rule)


@given(site=SITES, low=st.integers(0, 100), high=st.integers(0, 100), seed=st.integers(0, 2**40))
def test_a_larger_train_share_never_takes_a_site_out_of_train(
    site: str, low: int, high: int, seed: int
) -> None:
    small, large = sorted((low, high))
    narrow = SplitRule(train=small / 100, val=(100 - small) / 100, test=0, seed=seed)
    wide = SplitRule(train=large / 100, val=(100 - large) / 100, test=0, seed=seed)

    if split_of(site, narrow) == "train":
        assert split_of(site, wide) == "train"


@given(site=SITES, seed=st.integers(0, 2**40))
def test_a_place_is_a_fraction_below_one(site: str, seed: int) -> None:
    assert 0 <= site_place(site, seed) < 1


def test_the_shares_are_kept_over_many_sites() -> None:
    rule = SplitRule(train=0.7, val=0.2, test=0.1, seed=3)

    counts = Counter(split_of(f"site-{number}", rule) for number in range(5000))

    for split in SPLITS:  # three standard deviations of a share of 5000 sites are below 0.02
        assert counts[split] / 5000 == pytest.approx(getattr(rule, split), abs=0.02)


def test_another_seed_deals_anew() -> None:
    sites = [f"site-{number}" for number in range(200)]

    dealt = [deal(sites, SplitRule(seed=seed)) for seed in (0, 1)]

    assert dealt[0] != dealt[1]


def test_known_sites_stay_where_published_releases_put_them() -> None:
    """Written down once: a change here would move clips of releases already made."""
    rule = SplitRule()

    assert deal(["harbour", "0111-1716", "0114-1551", "crossing-2", "roof"], rule) == {
        "harbour": "test",
        "0111-1716": "test",
        "0114-1551": "val",
        "crossing-2": "train",
        "roof": "train",
    }
