"""The homography of frames of two cameras, or the reason why none can be trusted."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import distance_of_corners
from pipeline.register_consensus import agreeing
from pipeline.register_descriptors import View, view_of, without_stripes
from pipeline.register_fit import Fit, Homography, described, refine
from pipeline.register_residuals import Residuals, residuals_of
from pipeline.register_search import checked, find_start, judges_of
from schemas.base import Matrix3x3
from schemas.errors import RegisterError
from schemas.recipe import RegisterRecipe

HALVES_PX = 320
"""Width at which the two halves are compared."""

MAX_HALVES_PX = 4.0
"""Furthest apart, mean of the corners, that two estimates from disjoint frames may lie. Good ones
repeat to 1 px (CAPTURE.md section 2)."""

STEP_BACK = 0.5
"""Scale at which a fit shows whether it is stuck: a step there reaches twice as far."""

STUCK_PX = 2.0
"""Mean of the corners by which that moves a fit that was: 9 and 19 px on M3SVD, others below 1."""

MAX_ANISOTROPY = 1.5
"""Largest ratio of the scales of two directions: cameras on one mount look the same way."""

REMEDY = "give the recording a homography, or a span that shows more structure in both bands"


@dataclass(frozen=True)
class HomographyFit:
    """A homography and how far to trust it."""

    homography: Matrix3x3
    """Visible pixels to infrared pixels."""
    confidence: float
    """Share of texture whose own best match lies where the homography puts it, 0 to 1."""
    mean_residual_px: float | None
    """Mean displacement of blocks from where the homography puts them, infrared pixels."""
    residuals: Residuals | None = None
    """Of every block; None: not measured."""

    @property
    def parallax_px(self) -> float | None:
        """As `Residuals.parallax_px`."""
        return self.residuals.parallax_px() if self.residuals else None


Propose = Callable[[View, View], Iterable[Homography]]
"""Homographies worth a try between infrared and visible views, visible to infrared pixels."""


def estimate_homography(
    infrared: Sequence[NDArray[np.uint8]],
    visible: Sequence[NDArray[np.uint8]],
    recipe: RegisterRecipe,
) -> HomographyFit:
    """Find the homography of a recording from frames of the same instants.

    The cameras may differ in resolution and field of view. Descriptors of edges, pooled over the
    frames, are searched coarsely and refined to fractions of a pixel (CAPTURE.md section 2); every
    other frame for itself must say the same.

    Args:
        infrared: undistorted, (H, W) each.
        visible: undistorted RGB, (h, w, 3) each, as many.
        recipe: the least confidence.

    Raises:
        RegisterError: an image is flat, the fit is poor or implausible, or the halves disagree.
    """
    return estimate(*views_of(infrared, visible), recipe)


def propose_nothing(_here: View, _there: View) -> Iterable[Homography]:
    """Leave all to the search."""
    return ()


def estimate(
    here: View, there: View, recipe: RegisterRecipe, propose: Propose = propose_nothing
) -> HomographyFit:
    """As `estimate_homography`, of views; what is proposed is tried first and judged alike.

    Raises:
        RegisterError: an image is flat, the fit is poor or implausible, or the halves disagree.
    """
    for band, view in (("infrared", here), ("visible", there)):
        if view.is_flat:
            raise RegisterError(f"the {band} frames are flat; {REMEDY}")
    start = find_start(here, there, enough=recipe.min_confidence, proposals=propose(here, there))
    return finished(here, there, start.homography, recipe)


def views_of(
    infrared: Sequence[NDArray[np.uint8]], visible: Sequence[NDArray[np.uint8]]
) -> tuple[View, View]:
    """Frames of both bands as registration wants them, grey.

    Args:
        infrared: undistorted, (H, W) each.
        visible: undistorted RGB, (h, w, 3) each, as many.
    """
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in visible]
    return (
        view_of(without_stripes([frame.astype(np.float32) for frame in infrared])),
        view_of([frame.astype(np.float32) for frame in grey]),
    )


def finished(
    here: View, there: View, homography: Homography, recipe: RegisterRecipe
) -> HomographyFit:
    """A homography refined at full size, and trusted.

    Args:
        here: infrared frames.
        there: visible frames of the same instants.
        homography: where to start.
        recipe: the least confidence.

    Raises:
        RegisterError: the fit is poor or implausible, or the halves of the frames disagree.
    """
    best = _unstuck(here, there, refine(described(here, 1.0), there, homography))
    judges = judges_of(here)
    surfaces = [checked(judge, there, best.homography) for judge in judges]
    confidence = float(np.mean([agreeing(each) for each in surfaces]))
    if confidence < recipe.min_confidence:
        raise RegisterError(
            f"the best homography has a confidence of {confidence:.2f}, below "
            f"register.min_confidence {recipe.min_confidence:g}; {REMEDY}"
        )
    _check_plausible(best.homography)
    if len(here.frames) > 1:
        _check_halves(here, there, best)
    return HomographyFit(
        homography=as_tuples(best.homography),
        confidence=min(1.0, confidence),
        mean_residual_px=best.residual_px if np.isfinite(best.residual_px) else None,
        residuals=residuals_of(surfaces[-1], judges[-1].scale),
    )


def as_tuples(homography: Homography) -> Matrix3x3:
    """A homography as facts hold it."""
    a, b, c = (tuple(float(value) for value in row) for row in homography)
    return (a[0], a[1], a[2]), (b[0], b[1], b[2]), (c[0], c[1], c[2])


def _unstuck(here: View, there: View, fit: Fit) -> Fit:
    """The same fit, or a better one that the way over half the size leads to.

    At full size edges attract each other over a few pixels only, so that a start which is right in
    one part of the image may leave another part where it is.
    """
    coarser = refine(described(here, STEP_BACK), there, fit.homography).homography
    if distance_of_corners(coarser, fit.homography, there.seen.shape) <= STUCK_PX:
        return fit
    again = refine(described(here, 1.0), there, coarser)
    return max(fit, again, key=lambda each: each.merit)


def _check_plausible(homography: Homography) -> None:
    larger, smaller = np.linalg.svd(homography[:2, :2], compute_uv=False)
    if smaller <= 0 or larger / smaller > MAX_ANISOTROPY or np.linalg.det(homography) <= 0:
        raise RegisterError(
            f"the best homography stretches one direction {larger / max(smaller, 1e-9):.1f} times "
            f"as much as the other, beyond {MAX_ANISOTROPY:g}; {REMEDY}"
        )


def _check_halves(here: View, there: View, best: Fit) -> None:
    """Refuse a homography that every other frame alone would not have found nearby."""
    scale = min(1.0, HALVES_PX / here.seen.shape[1])
    halves = [
        refine(
            described(here.part(start, 2), scale), there.part(start, 2), best.homography
        ).homography
        for start in (0, 1)
    ]
    apart_px = distance_of_corners(halves[0], halves[1], there.seen.shape)
    if apart_px > MAX_HALVES_PX:
        raise RegisterError(
            f"two halves of the frames give homographies {apart_px:.1f} px apart, beyond "
            f"{MAX_HALVES_PX:g}; {REMEDY}"
        )
