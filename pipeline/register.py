"""Register: how the visible image maps onto the infrared one, without any learned weights."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import (
    full_frame,
    infrared_maps,
    largest_rectangle,
    project,
    resample,
    undistorted_maps,
    valid_mask,
)
from pipeline.register_descriptors import (
    Descriptors,
    Image,
    correlation,
    describe,
    resized,
    warped,
)
from pipeline.tone import tone_mapped
from pipeline.video_files import Frame, read_frames_at
from pipeline.workspace import Workspace, load, load_arrays, save
from schemas.base import Matrix3x3, fingerprint
from schemas.catalog import RecordingPlan
from schemas.errors import RegisterError, WorkspaceError
from schemas.facts import IngestFacts, RegisterFacts, SyncFacts, ToneMapping
from schemas.recipe import RegisterRecipe

STAGE_VERSION = 1
"""Raised with any change that moves a number below."""

Homography = NDArray[np.float64]
"""(3, 3), visible pixels to infrared pixels."""

IDENTITY: Matrix3x3 = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

SEARCH_PX = 160
"""Width of the infrared image in the coarse search: a quarter of 640 (CAPTURE.md section 2)."""

SCALES = np.geomspace(0.5, 1.43, 19)
ROTATIONS_DEGREES = np.arange(-9, 9.1, 3.0)
"""Similarities tried, after both images are brought to one width. The scales reach lower than
CAPTURE.md's 0.70, for visible cameras that see twice as wide as the infrared one."""

CANDIDATES = 3
"""Best similarities that are refined."""

LEVELS = (0.25, 0.5, 1.0)
"""Scales of the refinement, relative to the search image and up to the infrared image."""

STEPS = 40
CONVERGED_PX = 0.005
"""Largest corner movement of a step that ends a refinement."""

MIN_SHARE = 0.25
"""Smallest share of the infrared image covered at a candidate of the search."""

BLOCKS = 6
"""Rows and columns of blocks whose own displacement measures the residual."""

MAX_HALVES_PX = 4.0
"""Furthest two estimates from disjoint frames may lie apart, mean of the corners; two good ones
agree to 1 px (CAPTURE.md section 2, repeatability at +-32 px)."""

MAX_ANISOTROPY = 1.5
"""Largest ratio of the two axes' scales: cameras on one mount look the same way."""


@dataclass(frozen=True)
class HomographyFit:
    """A homography and how far to trust it."""

    homography: Matrix3x3
    """Visible pixels to infrared pixels."""
    confidence: float
    """Correlation of the descriptors, 0 to 1."""
    mean_residual_px: float
    """Mean displacement of blocks from where the homography puts them, infrared pixels."""
