"""What can be done to clean frames: one type a kind, its numbers in physical units with a source.

Every item has a strength: 0 leaves the frames as they are, 1 is what its numbers say, and in
between they are scaled. Ranges are drawn once a clip, evenly.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from schemas.base import StrictModel
from schemas.ranges import (
    BandRange,
    BlurRange,
    DropRange,
    Frames,
    GainRange,
    GammaRange,
    Level,
    LevelRange,
    NoiseRange,
    OffsetRange,
    PathRange,
    QualityRange,
    QuantiserRange,
    Share,
    ShareRange,
    SideRange,
    SlopeRange,
    StopRange,
    rising,
)


class Step(StrictModel):
    """What every degradation of a chain has."""

    source: ClassVar[str]
    """Where the model of the kind comes from."""

    strength: ShareRange = Field(
        (1.0, 1.0), description="0 changes nothing, 1 is what the other numbers say; one a clip."
    )
    probability: Share = Field(1.0, description="Share of clips that get this at all.")

    def model_post_init(self, _context: object, /) -> None:
        """Count `kind` as given: without it nobody can read a chain that omits what is default."""
        self.model_fields_set.add("kind")


class StripeNoise(Step):
    """Static column stripes and white noise, in grey levels of 0..255."""

    source: ClassVar[str] = "CAPTURE.md, section 1, measured on M3SVD"
    kind: Literal["stripe-noise"] = "stripe-noise"
    stripe_sigma_levels: NoiseRange = Field(
        (7.0, 12.0), description="Standard deviation of the column offsets, drawn once a clip."
    )
    white_sigma_levels: NoiseRange = Field(
        (9.0, 14.0), description="Standard deviation of the noise new in every frame."
    )


class RowNoise(Step):
    """Offsets of whole rows, new in every frame: noise of the read-out."""

    source: ClassVar[str] = "EMVA Standard 1288, release 4.0"
    kind: Literal["row-noise"] = "row-noise"
    sigma_levels: NoiseRange = Field((2.0, 5.0), description="Standard deviation of the offsets.")


class LowContrast(Step):
    """Grey levels drawn together, as where objects and background are nearly equally warm."""

    source: ClassVar[str] = (
        "Holst, Electro-Optical Imaging System Performance, on thermal crossover"
    )
    kind: Literal["low-contrast"] = "low-contrast"
    kept_contrast: ShareRange = Field(
        (0.25, 0.6), description="Share of the contrast that is left."
    )
    middle_levels: LevelRange = Field((90.0, 150.0), description="Level that all are drawn to.")


class FixedPatternDrift(Step):
    """Pixel offsets that grow until the shutter closes for a correction (NUC) and start anew.

    Uncooled microbolometers drift with their housing's temperature and are corrected every
    minute or so against a closed shutter, while the image freezes.
    """

    source: ClassVar[str] = (
        "Vollmer and Moellmann, Infrared Thermal Imaging, 2nd edition, section 2.4"
    )
    kind: Literal["fixed-pattern-drift"] = "fixed-pattern-drift"
    sigma_levels: NoiseRange = Field(
        (4.0, 10.0), description="Standard deviation of the offsets just before a correction."
    )
    period_frames: Frames = Field(900, description="From one correction to the next.")
    shutter_frames: Annotated[int, Field(ge=0, le=60)] = Field(
        10, description="Frames that repeat the last one while the shutter is closed."
    )


class BadPixels(Step):
    """Pixels that stay dark or bright over the whole clip, and some that blink."""

    source: ClassVar[str] = "EMVA Standard 1288, release 4.0, on defect pixels"
    kind: Literal["bad-pixels"] = "bad-pixels"
    dead_share: ShareRange = Field((0.0005, 0.002), description="Share of pixels always at 0.")
    hot_share: ShareRange = Field((0.0005, 0.002), description="Share of pixels always at 255.")
    blinking_share: ShareRange = Field(
        (0.0, 0.0005), description="Share of pixels at 255 in every other frame, by chance."
    )


class GaussianBlur(Step):
    """Isotropic blur, the same in every frame of a clip."""

    source: ClassVar[str] = "CAPTURE.md, section 1, measured on M3SVD"
    kind: Literal["gaussian-blur"] = "gaussian-blur"
    sigma_px: BlurRange = Field((1.0, 2.0), description="Standard deviation, pixels, one a clip.")


class Defocus(Step):
    """A lens out of focus: every point becomes a disc."""

    source: ClassVar[str] = "Goodman, Introduction to Fourier Optics, on focusing errors"
    kind: Literal["defocus"] = "defocus"
    radius_px: BlurRange = Field((1.5, 4.0), description="Of the disc, one a clip.")


class LowResolution(Step):
    """A coarser sensor: means over squares of pixels, brought back between their centres."""

    source: ClassVar[str] = (
        "Park, Park and Kang, Super-resolution image reconstruction, IEEE SPM 2003"
    )
    kind: Literal["low-resolution"] = "low-resolution"
    factor: SideRange = Field(
        (2.0, 4.0), description="Side of a square, pixels, from 1 to 16; rounded to whole ones."
    )


class ThermalBloom(Step):
    """Light of very hot places that spills over their surroundings: a halo, not an outline.

    Glare is the scene convolved with the far skirts of the lens's point spread. What is shown as
    white may be far hotter, so that the gain may exceed 1.
    """

    source: ClassVar[str] = (
        "Talvala et al., Veiling glare in high dynamic range imaging, SIGGRAPH 2007"
    )
    kind: Literal["thermal-bloom"] = "thermal-bloom"
    threshold_levels: LevelRange = Field((150.0, 190.0), description="Level where it begins.")
    sigma_px: BlurRange = Field((6.0, 12.0), description="How far it spills.")
    gain: GainRange = Field(
        (1.5, 4.0), description="From 0 to 4: so many times what lies above is spread and added."
    )


class LowLight(Step):
    """Less light, with the shot noise of its electrons and the read noise of the sensor.

    The variance is proportional to the light plus a constant.
    """

    source: ClassVar[str] = "EMVA Standard 1288, release 4.0, section 2"
    kind: Literal["low-light"] = "low-light"
    stops: StopRange = Field((1.5, 3.5), description="How much darker, stops of linear light.")
    electrons_at_white: Annotated[float, Field(ge=50, le=100_000)] = Field(
        1500.0, description="Electrons of a pixel at level 255 of the clean frame."
    )
    read_sigma_levels: NoiseRange = Field((0.5, 2.0), description="Read noise.")


class OverExposure(Step):
    """More light than the sensor holds: highlights are cut off."""

    source: ClassVar[str] = (
        "Debevec and Malik, Recovering high dynamic range radiance maps, SIGGRAPH 1997"
    )
    kind: Literal["over-exposure"] = "over-exposure"
    stops: StopRange = Field((0.7, 2.0), description="How much brighter, stops of linear light.")


class MotionBlur(Step):
    """The camera moves while the shutter is open, along a path that turns from frame to frame."""

    source: ClassVar[str] = "Koehler et al., Recording and playback of camera shake, ECCV 2012"
    kind: Literal["motion-blur"] = "motion-blur"
    path_px: PathRange = Field((4.0, 14.0), description="Length of the path in one exposure.")
    turn_frames: Frames = Field(15, description="Frames in which the direction turns noticeably.")


class Haze(Step):
    """Light scattered into the view: I = J t + A (1 - t).

    Without a depth map the far end is taken to lie at the top of the frame.
    """

    source: ClassVar[str] = "Koschmieder, Theorie der horizontalen Sichtweite, 1924"
    kind: Literal["haze"] = "haze"
    transmission_top: ShareRange = Field((0.2, 0.5), description="Share of light left at the top.")
    transmission_bottom: ShareRange = Field((0.6, 0.9), description="The same at the bottom.")
    airlight_levels: LevelRange = Field((190.0, 235.0), description="Level of the haze itself.")


class Rain(Step):
    """Bright streaks, new in every frame.

    Most drops are far, their streaks short and faint; the numbers of a streak are the nearest's.
    """

    source: ClassVar[str] = "Garg and Nayar, Vision and rain, IJCV 2007"
    kind: Literal["rain"] = "rain"
    drops_per_megapixel: DropRange = Field(
        (3000.0, 9000.0), description="Streaks in a frame, per million pixels, at most 20,000."
    )
    length_px: PathRange = Field((14.0, 36.0), description="Length of a streak.")
    slant: SlopeRange = Field(
        (-0.3, 0.3), description="Columns that a streak moves a row, from -1 to 1."
    )
    brightness_levels: LevelRange = Field(
        (60.0, 120.0), description="Added at most where a streak is."
    )


class JpegCompression(Step):
    """Coarse coefficients of 8 x 8 blocks, colour 4:4:4."""

    source: ClassVar[str] = "ITU-T T.81, tables K.1 and K.2"
    kind: Literal["jpeg-compression"] = "jpeg-compression"
    quality: QualityRange = Field(
        (10.0, 40.0), description="libjpeg's scale of the tables, 1 (coarse) to 100."
    )


class VideoCompression(Step):
    """The transform and quantiser of H.264 on 4 x 4 blocks, frames predicted from the last one.

    Groups of frames begin at fixed places of the clip; prediction is without motion, and there is
    no loop filter.
    """

    source: ClassVar[str] = "ITU-T H.264, section 8.5"
    kind: Literal["video-compression"] = "video-compression"
    quantiser: QuantiserRange = Field(
        (30.0, 42.0),
        description="QP, 0 (fine) to 51 (coarse); a strength near 0 draws it towards 18.",
    )
    group_frames: Annotated[int, Field(ge=1, le=32)] = Field(
        12, description="Frames from one that stands alone to the next (M3SVD's videos: 12)."
    )


class ExposureFlicker(Step):
    """Lamps that pulse with the mains seen by a rolling shutter: bands that wander.

    Brightness of row y of frame t: 1 - depth (1 + sin(2 pi (bands y / height + drift t))) / 2.
    """

    source: ClassVar[str] = "Sheinin et al., Computational imaging on the electric grid, CVPR 2017"
    kind: Literal["exposure-flicker"] = "exposure-flicker"
    depth: ShareRange = Field((0.15, 0.4), description="Share of the light lost in the dark bands.")
    bands: BandRange = Field(
        (1.0, 4.0), description="Bands over the height of a frame, at most 64."
    )
    drift: SlopeRange = Field(
        (0.05, 0.45), description="Bands that pass by from frame to frame, from -1 to 1."
    )


class RepeatedFrames(Step):
    """Frames that show the one before again, as after a hiccup of the transfer."""

    source: ClassVar[str] = "ITU-T J.247, on pausing without skipping"
    kind: Literal["repeated-frames"] = "repeated-frames"
    share: ShareRange = Field((0.05, 0.2), description="Share of frames that are repeats.")


class DroppedFrames(Step):
    """Frames that were lost: the content jumps at each of them.

    Within a stretch of `recovery_frames` frames it lags by the losses still to come, so that it is
    on time again at the end of the stretch.
    """

    source: ClassVar[str] = "ITU-T J.247, on pausing with skipping"
    kind: Literal["dropped-frames"] = "dropped-frames"
    share: ShareRange = Field((0.03, 0.1), description="Share of frames that are lost.")
    recovery_frames: Annotated[int, Field(ge=2, le=64)] = Field(
        16, description="Frames in a stretch, at whose end the content is on time."
    )


class Misregistration(Step):
    """The corners of the frame moved a little: a homography that is slightly wrong."""

    source: ClassVar[str] = "CAPTURE.md, section 2: what repeated estimates differ by"
    kind: Literal["misregistration"] = "misregistration"
    corners_px: PathRange = Field((1.0, 3.0), description="How far a corner moves, one a clip.")
    jitter_px: Annotated[float, Field(ge=0, le=8)] = Field(
        0.3, description="How far it moves from frame to frame, at most."
    )


class ToneCurve(Step):
    """A gamma curve: 255 (v / 255) ** gamma, as between M3SVD's clean and noisy infrared.

    That gap may belong to how the clean frames were enhanced, so it is no part of the preset.
    """

    source: ClassVar[str] = "CAPTURE.md, section 1, measured on M3SVD"
    kind: Literal["tone-curve"] = "tone-curve"
    gamma: GammaRange = Field((0.60, 0.68), description="From 0.1 to 10.")


class TonePoints(Step):
    """A measured tone curve, straight between its points and level beyond them."""

    source: ClassVar[str] = "CAPTURE.md, section 1, measured on M3SVD"
    kind: Literal["tone-points"] = "tone-points"
    points: Annotated[
        tuple[tuple[Level, Level], ...], Field(min_length=2, max_length=256), AfterValidator(rising)
    ] = Field(
        ((0.0, 20.0), (128.0, 164.0), (255.0, 255.0)),
        description="Clean and degraded grey level of each point.",
    )


class GainAndOffset(Step):
    """gain v + offset, as between M3SVD's clean and blurred visible."""

    source: ClassVar[str] = "CAPTURE.md, section 1, measured on M3SVD"
    kind: Literal["gain-and-offset"] = "gain-and-offset"
    gain: GainRange = Field((0.945, 0.99), description="From 0 to 4.")
    offset_levels: OffsetRange = Field((5.0, 12.0), description="From -255 to 255.")


class Vignetting(Step):
    """Light lost towards the corners by cos^4 of the field angle."""

    source: ClassVar[str] = "Slater, Photographic Optics, on the cos^4 law"
    kind: Literal["vignetting"] = "vignetting"
    corner_share: ShareRange = Field((0.3, 0.7), description="Share of the light left there.")


class ColourCast(Step):
    """A wrong white balance: red and blue are multiplied."""

    source: ClassVar[str] = "von Kries, Chromatic adaptation, 1902"
    kind: Literal["colour-cast"] = "colour-cast"
    red_gain: GainRange = Field((0.75, 1.3), description="From 0 to 4.")
    blue_gain: GainRange = Field((0.75, 1.3), description="From 0 to 4.")


class ImpulseNoise(Step):
    """Pixels at 0 or 255 for one frame, as after bit errors of an analogue or radio link."""

    source: ClassVar[str] = "Gonzalez and Woods, Digital Image Processing, on salt and pepper noise"
    kind: Literal["impulse-noise"] = "impulse-noise"
    share: ShareRange = Field((0.002, 0.02), description="Share of pixels in every frame.")


Degradation = Annotated[
    StripeNoise
    | RowNoise
    | LowContrast
    | FixedPatternDrift
    | BadPixels
    | ImpulseNoise
    | GaussianBlur
    | Defocus
    | LowResolution
    | ThermalBloom
    | LowLight
    | OverExposure
    | MotionBlur
    | Haze
    | Rain
    | JpegCompression
    | VideoCompression
    | ExposureFlicker
    | RepeatedFrames
    | DroppedFrames
    | Misregistration
    | ToneCurve
    | TonePoints
    | GainAndOffset
    | Vignetting
    | ColourCast,
    Field(discriminator="kind"),
]
"""Any step of a chain."""
