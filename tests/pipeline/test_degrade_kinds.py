"""Every kind of degradation: one result however it is cut, nothing at strength 0, more at more."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from pipeline.degrade import (
    STEPS,
    degrade_block,
    frames_for_window,
    reach,
    read_for_crop,
)
from pipeline.degrade_draws import DegradationDraw, Window
from schemas import degradations as kinds
from schemas.degradations import Degradation
from schemas.recipe import DegradeRecipe

DRAW = DegradationDraw(seed=5, clip="harbour-0", band="visible")

PAIRS, HEIGHT, WIDTH = 24, 61, 83
"""Neither side is a multiple of any block."""

KINDS: tuple[type[kinds.Step], ...] = get_args(get_args(Degradation)[0])

OWN_SETTINGS: dict[type[kinds.Step], dict[str, Any]] = {
    kinds.FixedPatternDrift: {"period_frames": 9, "shutter_frames": 3},
    kinds.BadPixels: {"dead_share": (0.02, 0.02), "hot_share": (0.03, 0.03)},
    kinds.Rain: {"drops_per_megapixel": (9000, 9000)},
    kinds.ThermalBloom: {"threshold_levels": (150, 150), "sigma_px": (2, 2)},
    kinds.RepeatedFrames: {"share": (0.5, 0.5)},
    kinds.DroppedFrames: {"share": (0.3, 0.3), "recovery_frames": 6},
    kinds.VideoCompression: {"group_frames": 5},
}
"""Where the defaults would seldom strike in frames as few and small as these."""


def scene() -> Tensor:
    """A smooth moving pattern with edges and bright places, uint8 (PAIRS, 3, HEIGHT, WIDTH)."""
    t = torch.arange(PAIRS, dtype=torch.float64)[:, None, None, None]
    c = torch.arange(3, dtype=torch.float64)[None, :, None, None]
    y = torch.arange(HEIGHT, dtype=torch.float64)[None, None, :, None]
    x = torch.arange(WIDTH, dtype=torch.float64)[None, None, None, :]
    waves = torch.sin((x + 2 * t) / 9 + c) + torch.sin((y - t) / 7) + torch.sin((x + y) / 3)
    boxes = (((x + 3 * t) // 13 + y // 11) % 3 == 0).to(torch.float64)
    return (110 + 30 * waves + 55 * boxes).round().clamp(0, 255).to(torch.uint8)


FRAMES = scene()
WHOLE = Window(0, 0, HEIGHT, WIDTH)


def step_of(kind: type[kinds.Step], strength: float = 1.0) -> Any:
    return kind(strength=(strength, strength), **OWN_SETTINGS.get(kind, {}))


def degraded(*chain: Any, frames: Tensor = FRAMES) -> Tensor:
    return degrade_block(frames, chain, DRAW, indices=range(len(frames)), window=WHOLE)


def detail(frames: Tensor) -> float:
    """Mean difference of neighbours: falls where detail is lost."""
    levels = frames.double()
    return float(levels.diff(dim=-1).abs().mean() + levels.diff(dim=-2).abs().mean())


def brightness(frames: Tensor) -> float:
    return float(frames.double().mean())


def contrast(frames: Tensor) -> float:
    return float(frames.double().std())


def distance(frames: Tensor) -> float:
    """Mean distance from the clean frames."""
    return float((frames.double() - FRAMES.double()).abs().mean())


def redness(frames: Tensor) -> float:
    means = frames.double().mean((0, 2, 3))
    return float((means[0] / means[1] - 1).abs() + (means[2] / means[1] - 1).abs())


MEASURES: dict[type[kinds.Step], tuple[Callable[[Tensor], float], int]] = {
    kinds.StripeNoise: (distance, 1),
    kinds.RowNoise: (distance, 1),
    kinds.LowContrast: (contrast, -1),
    kinds.FixedPatternDrift: (distance, 1),
    kinds.BadPixels: (distance, 1),
    kinds.ImpulseNoise: (distance, 1),
    kinds.GaussianBlur: (detail, -1),
    kinds.Defocus: (detail, -1),
    kinds.LowResolution: (detail, -1),
    kinds.ThermalBloom: (brightness, 1),
    kinds.LowLight: (brightness, -1),
    kinds.OverExposure: (brightness, 1),
    kinds.MotionBlur: (detail, -1),
    kinds.Haze: (contrast, -1),
    kinds.Rain: (brightness, 1),
    kinds.JpegCompression: (distance, 1),
    kinds.VideoCompression: (distance, 1),
    kinds.ExposureFlicker: (brightness, -1),
    kinds.RepeatedFrames: (distance, 1),
    kinds.DroppedFrames: (distance, 1),
    kinds.Misregistration: (distance, 1),
    kinds.ToneCurve: (brightness, 1),
    kinds.TonePoints: (brightness, 1),
    kinds.GainAndOffset: (distance, 1),
    kinds.Vignetting: (brightness, -1),
    kinds.ColourCast: (redness, 1),
}


def test_there_are_more_than_twenty_kinds_and_each_is_done_and_measured() -> None:
    assert len(KINDS) > 20
    assert set(KINDS) == STEPS.keys() == MEASURES.keys()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_says_what_it_is_and_where_it_comes_from(kind: type[kinds.Step]) -> None:
    field = kind.model_fields["kind"]

    assert kind.__doc__
    assert len(kind.__doc__.split()) >= 5
    assert len(kind.source.split()) >= 3
    assert all(field.description for name, field in kind.model_fields.items() if name != "kind")
    assert field.default == "".join(
        f"-{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__
    ).removeprefix("-")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_and_depth_stay_and_the_frames_given_are_not_touched(
    kind: type[kinds.Step], channels: int
) -> None:
    given_frames = FRAMES[:, :channels].clone()

    made = degraded(step_of(kind), frames=given_frames)

    assert made.shape == given_frames.shape
    assert made.dtype == torch.uint8
    assert torch.equal(given_frames, FRAMES[:, :channels])
    assert torch.equal(made, degraded(step_of(kind), frames=given_frames))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_strength_zero_changes_nothing_and_full_strength_something(kind: type[kinds.Step]) -> None:
    assert torch.equal(degraded(step_of(kind, 0.0)), FRAMES)
    assert not torch.equal(degraded(step_of(kind)), FRAMES)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_more_strength_has_more_effect(kind: type[kinds.Step]) -> None:
    measure, sign = MEASURES[kind]

    effects = [sign * measure(degraded(step_of(kind, strength))) for strength in (0, 0.3, 0.6, 1)]

    assert effects == sorted(effects)
    assert effects[-1] > effects[0]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_probability_is_the_share_of_clips_that_get_it(kind: type[kinds.Step]) -> None:
    chain: tuple[Any, ...] = (kind(probability=0.3, **OWN_SETTINGS.get(kind, {})),)
    few = FRAMES[:1, :, :9, :9]

    changed = sum(
        reach(chain, DegradationDraw(5, f"clip-{clip}", "visible")) != reach((), DRAW)
        or not torch.equal(
            degrade_block(
                few,
                chain,
                DegradationDraw(5, f"clip-{clip}", "visible"),
                indices=[7],
                window=Window(0, 0, 9, 9),
            ),
            few,
        )
        for clip in range(60)
    )

    assert changed <= 34  # four deviations above 18


@settings(max_examples=60)
@given(data=st.data())
@pytest.mark.parametrize("length", [1, 3])
def test_any_window_and_crop_of_any_chain_is_that_of_the_degraded_clip(
    data: st.DataObject, length: int
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(KINDS), min_size=length, max_size=length))
    chain = tuple(step_of(kind) for kind in chosen)
    y, x = data.draw(st.integers(0, HEIGHT - 1)), data.draw(st.integers(0, WIDTH - 1))
    height, width = data.draw(st.integers(1, HEIGHT - y)), data.draw(st.integers(1, WIDTH - x))
    wanted = data.draw(st.lists(st.integers(0, PAIRS - 1), min_size=1, max_size=5, unique=True))
    whole = degraded(*chain)

    needed = reach(chain, DRAW)
    indices = frames_for_window(needed, wanted)
    crop = Window(y, x, HEIGHT, WIDTH)
    read = read_for_crop(crop, height=height, width=width, halo_px=needed.halo_px)
    block = FRAMES[list(indices)][..., read.rows, read.columns]
    made = degrade_block(block, chain, DRAW, indices=indices, window=read.window)
    kept = read.keep(made)[[indices.index(frame) for frame in wanted]]

    assert torch.equal(kept, whole[wanted][..., y : y + height, x : x + width])


def digest(threads: int) -> str:
    """Of what every kind makes, in a process of its own with so many threads."""
    torch.set_num_threads(threads)
    made = b"".join(degraded(step_of(kind)).contiguous().numpy().tobytes() for kind in KINDS)
    return hashlib.sha256(made).hexdigest()


def test_other_processes_with_other_numbers_of_threads_make_the_same() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        elsewhere = [pool.submit(digest, threads).result() for threads in (2, 3)]

    assert elsewhere == [digest(torch.get_num_threads())] * 2


def test_static_things_stay_and_new_things_change() -> None:
    grey = torch.full_like(FRAMES, 128)
    bad = degraded(step_of(kinds.BadPixels), frames=grey)
    struck = degraded(step_of(kinds.ImpulseNoise), frames=grey)

    assert all(torch.equal(bad[0] == 0, frame == 0) for frame in bad)
    assert not torch.equal(struck[0], struck[1])


def test_a_fixed_pattern_grows_until_the_shutter_closes_and_the_image_then_stands_still() -> None:
    grey = torch.full_like(FRAMES, 128)
    step = step_of(kinds.FixedPatternDrift)

    spread = [float(frame.double().std()) for frame in degraded(step, frames=grey)]
    resets = [n for n in range(1, PAIRS) if spread[n] < spread[n - 1]]
    moving = degraded(step)

    assert [b - a for a, b in pairwise(resets)] == [9] * (len(resets) - 1)
    closed = resets[0] - 3  # the first frames after a correction repeat the one before
    assert torch.equal(moving[closed], moving[closed - 1])


def test_repeated_frames_show_the_one_before() -> None:
    made = degraded(step_of(kinds.RepeatedFrames))

    shown = [next(n for n in range(PAIRS) if torch.equal(frame, FRAMES[n])) for frame in made]

    assert all(source in (n, shown[n - 1]) for n, source in enumerate(shown) if n)
    assert shown != list(range(PAIRS))


def test_dropped_frames_jump_and_the_content_is_on_time_at_the_end_of_each_stretch() -> None:
    made = degraded(step_of(kinds.DroppedFrames))

    shown = [next(n for n in range(PAIRS) if torch.equal(frame, FRAMES[n])) for frame in made]
    lag = [n - source for n, source in enumerate(shown)]

    assert max(lag) > 0
    assert [lag[n] for n in range(5, PAIRS, 6)] == [0] * 4
    assert all(
        later <= earlier
        for n, (earlier, later) in enumerate(pairwise(lag))
        if n >= 6 and n % 6 != 5
    )


def test_motion_turns_slowly_and_blurs_neighbouring_frames_alike() -> None:
    points = torch.zeros(PAIRS, 1, HEIGHT, WIDTH, dtype=torch.uint8)
    points[:, :, 30, 40] = 255
    made = degrade_block(
        points, (kinds.MotionBlur(path_px=(12, 12)),), DRAW, indices=range(PAIRS), window=WHOLE
    ).double()

    def likeness(a: Tensor, b: Tensor) -> float:
        return float((a * b).sum() / (a.norm() * b.norm()))

    near = [likeness(made[n], made[n + 1]) for n in range(PAIRS - 1)]
    far = [likeness(made[n], made[n + 15]) for n in range(PAIRS - 15)]
    assert sum(near) / len(near) > 0.7
    assert sum(far) / len(far) < sum(near) / len(near) - 0.1


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"kind": "stripe-noise", "white_sigma_levels": [-1, 2]}, "white_sigma_levels"),
        ({"kind": "gaussian-blur", "sigma_px": [2, 1]}, "sigma_px"),
        ({"kind": "gaussian-blur", "sigma_px": [float("nan"), 1]}, "sigma_px"),
        ({"kind": "motion-blur", "turn_frames": 0}, "turn_frames"),
        ({"kind": "jpeg-compression", "quality": [0, 10]}, "quality"),
        ({"kind": "tone-points", "points": [[9, 9], [9, 10]]}, "points"),
        ({"kind": "rain", "probability": 1.5}, "probability"),
        ({"kind": "haze", "strength": [0.5, 1.5]}, "strength"),
        ({"kind": "rain", "drops": 3}, "drops"),
        ({"kind": "snow"}, "kind"),
    ],
)
def test_a_bad_item_is_refused_with_its_field(item: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DegradeRecipe.model_validate({"visible": [item]})

    assert field in str(caught.value)
