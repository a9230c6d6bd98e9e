"""Finds where a rig was bumped or sagged: stretches of a recording with a homography each.

The recording is seen in parts. In each, the homography of the part before is followed; where it no
longer leads to the same place, and the frames of both parts agree that their own is better, the
recording is cut.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from pipeline.geometry import distance_of_corners
from pipeline.register_descriptors import View
from pipeline.register_estimate import (
    HomographyFit,
    Propose,
    estimate,
    finished,
    propose_nothing,
)
from pipeline.register_fit import Homography
from pipeline.register_search import (
    Start,
    coarse_judge,
    find_start,
    follow,
    judges_of,
    refined,
    trust,
)
from schemas.errors import RegisterError
from schemas.recipe import RegisterRecipe

PART_PAIRS = 75
"""Pairs that a part has at least: two to three seconds."""

MAX_PARTS = 24

PART_FRAMES = 4
"""Pairs of a part that are looked at."""

MOVED = 1 / 160
"""Mean distance of corners, in widths of the visible image on the infrared one, from which
homographies are two: 4 px of 640. Parts of the still rigs of two M3SVD clips repeat to 1.5 px."""

MAX_SEARCHES = 2
"""Parts of a recording for which the search begins anew; after the second, bumps are not the cause
of its failing."""

LEAD = 0.1
"""By how much more texture must agree with a part's own homography than with its neighbour's."""

GAP_PAIRS = 6
"""A change is looked for until it is known to so many pairs; these belong to no stretch."""

GAP_VIEWS = 8
"""Pairs looked at in each round of that."""

Read = Callable[[Sequence[int]], tuple[View, View]]
"""Infrared and visible views of the pairs of these numbers."""


@dataclass(frozen=True)
class Still:
    """Pairs over which one homography holds, about."""

    first_pair: int
    end_pair: int
    """One after the last."""
    homography: Homography
    """Visible pixels to infrared pixels."""


@dataclass(frozen=True)
class Held:
    """Pairs over which one homography holds, and how well it fits."""

    first_pair: int
    end_pair: int
    """One after the last."""
    fit: HomographyFit


@dataclass(frozen=True)
class Part:
    """A part of the recording and the homography that its frames prefer."""

    pairs: tuple[int, ...]
    infrared: View
    visible: View
    start: Start


def parts_of(count: int) -> list[list[int]]:
    """The pairs to look at in each part of a recording of so many pairs."""
    parts = max(1, min(MAX_PARTS, count // PART_PAIRS))
    views = min(PART_FRAMES, count)
    return [
        [int((part + (view + 0.5) / views) * count / parts) for view in range(views)]
        for part in range(parts)
    ]


def spread(first: int, end: int, wanted: int) -> list[int]:
    """Pairs in the middles of equal parts: the first and last frames are the shakiest.

    Args:
        first: pair to begin with.
        end: one after the last.
        wanted: how many; fewer where there are not so many.
    """
    count = min(wanted, end - first)
    return [first + int((part + 0.5) * (end - first) / count) for part in range(count)]


def estimate_stretches(
    read: Read, count: int, recipe: RegisterRecipe, propose: Propose = propose_nothing
) -> list[Held]:
    """The homography of a recording; several, with what they hold for, where the rig moved.

    Args:
        read: gives the frames of pairs.
        count: pairs of the recording.
        recipe: pairs pooled for an estimate, least confidence.
        propose: what is tried before the search.

    Raises:
        RegisterError: no homography can be trusted.
    """
    first = _first(read, count, recipe, propose)
    still = find_stretches(read, count, np.array(first.homography), enough=recipe.min_confidence)
    if len(still) == 1:
        return [Held(0, count, first)]
    held = []
    for part in still:
        views = read(spread(part.first_pair, part.end_pair, recipe.frames))
        fit = finished(*views, part.homography, recipe)
        held.append(Held(part.first_pair, part.end_pair, fit))
    return held


def _first(read: Read, count: int, recipe: RegisterRecipe, propose: Propose) -> HomographyFit:
    """A homography of all of a recording or, where that has none, of one of its halves."""
    ranges = [(0, count)]
    if len(parts_of(count)) > 1:
        ranges += [(0, count // 2), (count // 2, count)]
    reasons: list[RegisterError] = []
    for first, end in ranges:
        try:
            return estimate(*read(spread(first, end, recipe.frames)), recipe, propose)
        except RegisterError as error:
            reasons.append(error)
    raise reasons[0]  # that of the whole


def find_stretches(read: Read, count: int, homography: Homography, *, enough: float) -> list[Still]:
    """The stretches of a recording, in order; one of all pairs where the rig kept still.

    Args:
        read: gives the frames of pairs.
        count: pairs of the recording.
        homography: of most of the recording, or of a part of it.
        enough: confidence from which a part has a say.
    """
    parts = _followed(read, count, homography, enough)
    groups: list[list[Part]] = []
    for part in parts:
        if part.start.confidence < enough:
            continue  # a part that shows little goes with its neighbours
        if groups and not _has_moved(groups[-1][-1], part) and not _has_moved(groups[-1][0], part):
            groups[-1].append(part)
        else:
            groups.append([part])
    if len(groups) < 2:
        return [Still(0, count, groups[0][0].start.homography if groups else homography)]
    stretches = [Still(0, count, groups[0][0].start.homography)]
    for before, after in pairwise(groups):
        last, first = _narrowed(read, before[-1], after[0])
        stretches[-1] = replace(stretches[-1], end_pair=last + 1)
        stretches.append(Still(first, count, after[0].start.homography))
    return stretches


def _followed(read: Read, count: int, homography: Homography, enough: float) -> list[Part]:
    """Every part with its own homography, found from that of the part before.

    Where the coarse judge sees a part lie where it saw the one before, that one's homography is
    taken over. What the judge makes of the same part by itself may well lie elsewhere: it weighs
    things at different depths in another way.
    """
    parts: list[Part] = []
    last, searches = homography, MAX_SEARCHES
    seen: Homography | None = None
    for pairs in parts_of(count):
        infrared, visible = read(pairs)
        if infrared.is_flat or visible.is_flat:
            parts.append(Part(tuple(pairs), infrared, visible, Start(last, 0.0)))
            continue
        here = refined([coarse_judge(infrared)], visible, last)
        start = Start(last, here.confidence)
        is_seen_still = seen is not None and _apart(here.homography, seen, visible) <= 1 / 2
        if here.confidence < enough or not is_seen_still:
            judges = judges_of(infrared)
            start = refined(judges, visible, last)
            if start.confidence < enough:
                tried = [follow(judges, visible, each) for each in (last, homography)]
                start = max(start, *tried, key=lambda each: each.confidence)
            if start.confidence < enough and searches > 0:
                searches -= 1
                start = find_start(infrared, visible, enough=enough)
            if start.confidence >= enough:
                last = start.homography
                seen = refined(judges[:1], visible, last).homography
        parts.append(Part(tuple(pairs), infrared, visible, start))
    return parts


def _apart(one: Homography, other: Homography, visible: View) -> float:
    """The distance of two homographies, 1 where the rig counts as moved."""
    placed_px = float(np.linalg.norm(one[:2, :2])) / np.sqrt(2) * visible.seen.shape[1]
    return float(distance_of_corners(one, other, visible.seen.shape) / (MOVED * placed_px))


def _has_moved(before: Part, after: Part) -> bool:
    """Whether two parts have different homographies, and each of them the better one for itself."""
    one, other = before.start.homography, after.start.homography
    if _apart(one, other, before.visible) <= 1:
        return False
    return all(
        trust(judges, part.visible, own) - trust(judges, part.visible, foreign) > LEAD
        for part, own, foreign in ((before, one, other), (after, other, one))
        for judges in (judges_of(part.infrared),)
    )


def _narrowed(read: Read, before: Part, after: Part) -> tuple[int, int]:
    """The last pair known to lie before a change and the first one known to lie after it.

    The change may lie inside either part, most of whose pairs then decided for the whole.
    """
    last, first = before.pairs[0], after.pairs[-1]
    while first - last > GAP_PAIRS:
        views = np.unique(np.linspace(last, first, GAP_VIEWS + 2).round().astype(int))[1:-1]
        gains = []
        for pair in views.tolist():
            infrared, visible = read([pair])
            judges = [coarse_judge(infrared)]
            gains.append(
                trust(judges, visible, after.start.homography)
                - trust(judges, visible, before.start.homography)
            )
        # The cut that leaves the pairs before it to the one homography, those after to the other.
        sums = np.concatenate([[0.0], np.cumsum(gains)])
        cut = int(np.argmin(sums))
        places = [last, *views.tolist(), first]
        last, first = places[cut], places[cut + 1]
    return last, first
