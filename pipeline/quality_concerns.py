"""What a person should look at before a clip is released: told from its look and its figures."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, product

import numpy as np

from schemas.base import BANDS
from schemas.facts import ClipQuality
from schemas.release import ReleaseClip
from schemas.report import BandLook, ClipLook, Concern, ConcernKind

ALIKE_BITS = 10
"""Of 64 that the hashes of two pictures differ in: unrelated ones differ in 32 and deviate by 4
(fair coins), so that this is five deviations off; another frame of one M3SVD video in 2 to 18."""

REPEATED_BITS = 4
"""The same for clips of one site, which share their background: two frames of one instant of M3SVD,
as video and as images, differ in 2, other recordings of a site of the simulated rig in 8 to 10."""

FROZEN_SHARE = 0.2
"""Of frames equal to the one before: sensors are never so still, and a camera that delivers 25
frames in a file of 30 repeats a sixth."""

OVER_SHARE = 0.25
"""Of white pixels: a quarter of the picture shows nothing. A bright sky in M3SVD takes 16 %."""

UNDER_SHARE = 0.6
"""Of black pixels in the visible band: more than half shows nothing. M3SVD's darkest clip
has 23 %."""

BLUR_RATIO = 0.15
"""Of the median sharpness of a release: a blur of some pixels takes the variance of the Laplacian
that far down; between sites of M3SVD it varies from 0.5 to 2.8 of the median."""

MOVE_PX = 2.0
"""By how much things may lie beside each other in the median, or come to do so over a clip: the
median of blocks is good to half a pixel, and above two pixels outlines stand twice."""


def clip_concerns(
    clip: str, sharpness: float, look: ClipLook, typical_sharpness: float
) -> Iterator[Concern]:
    """What is to be looked at of one clip.

    Args:
        clip: its name.
        sharpness: of its visible frames.
        look: what was seen of it.
        typical_sharpness: median over the release, or over all that is built.
    """
    for kind, share, bound, what in _shares(look):
        if share > bound:
            text = f"{share:.0%} of the {what}"
            yield Concern(kind=kind, clip=clip, value=share, bound=bound, text=text)
    if typical_sharpness > 0 and sharpness < BLUR_RATIO * typical_sharpness:
        ratio = sharpness / typical_sharpness
        yield Concern(
            kind="blurred",
            clip=clip,
            value=ratio,
            bound=BLUR_RATIO,
            text=f"its visible frames have {ratio:.0%} of the usual sharpness",
        )
    yield from _moved(clip, look)


def _shares(look: ClipLook) -> Iterator[tuple[ConcernKind, float, float, str]]:
    """Shares of frames or pixels, what they may be at most, and what they are of."""
    for band, seen in (("infrared", look.infrared), ("visible", look.visible)):
        what = f"{band} frames repeat the one before"
        yield "frozen", seen.repeated_share, FROZEN_SHARE, what
        yield "over-exposed", seen.white_share, OVER_SHARE, f"{band} pixels are white"
    yield "under-exposed", look.visible.black_share, UNDER_SHARE, "visible pixels are black"


def _moved(clip: str, look: ClipLook) -> Iterator[Concern]:
    """How the bands part over a clip; where they keep together, how far they lie apart."""
    moves = [move for move in look.moves_px if move is not None]
    off_px = max((math.hypot(*move) for move in moves), default=0.0)
    drift_px = max((math.dist(*pair) for pair in combinations(moves, 2)), default=0.0)
    kind: ConcernKind = "misregistered"
    value, text = off_px, f"visible things lie {off_px:.1f} px beside the infrared ones"
    if drift_px > MOVE_PX:
        kind, value = "drifting", drift_px
        text = f"the bands move against each other by {drift_px:.1f} px over the clip"
    if value > MOVE_PX:
        yield Concern(kind=kind, clip=clip, value=value, bound=MOVE_PX, text=text)


def shared_concerns(
    clips: Sequence[ReleaseClip], looks: Mapping[str, ClipLook]
) -> Iterator[Concern]:
    """Pairs of clips that look alike in both bands: leaks where splits part them.

    Clips of one recording are alike by nature and are passed over; a site never spans two splits,
    so a leak is one place under two names, or two places that look the same.
    """
    hashes = {band: [_bits(getattr(looks[clip.clip], band)) for clip in clips] for band in BANDS}
    for one, other in combinations(range(len(clips)), 2):
        if clips[one].recording == clips[other].recording:
            continue
        bits = max(_distance(hashes[band][one], hashes[band][other]) for band in BANDS)
        bound = REPEATED_BITS if clips[one].site == clips[other].site else ALIKE_BITS
        if bits <= bound:
            is_leak = clips[one].split != clips[other].split
            where = f"; they are {clips[one].split} and {clips[other].split}" if is_leak else ""
            yield Concern(
                kind="leak" if is_leak else "alike",
                clip=clips[one].clip,
                other=clips[other].clip,
                value=bits,
                bound=bound,
                text=f"looks like {clips[other].clip} in both bands ({bits} of 64 bits){where}",
            )


def _bits(seen: BandLook) -> tuple[int, ...]:
    return tuple(int(digits, 16) for digits in seen.hashes)


def _distance(here: tuple[int, ...], there: tuple[int, ...]) -> int:
    """Bits that the most alike instants of two clips differ in."""
    return min((one ^ other).bit_count() for one, other in product(here, there))


def typical_sharpness(clips: Iterable[ClipQuality]) -> float:
    """Of the visible frames of many clips: the median; 0 without any."""
    found = [quality.visible_sharpness for quality in clips]
    return float(np.median(found)) if found else 0.0
