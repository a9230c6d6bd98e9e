"""Degradation: planted strengths are found; no way of cutting or ordering moves a grey level."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.degrade import degrade_batch, degrade_block, reach, read_for_crop
from pipeline.degrade_blur import _by_bands, _by_opencv, gaussian_weights
from pipeline.degrade_draws import (
    DegradationDraw,
    Grid,
    Window,
    mixed,
    mixed_signed,
    normal_draws,
    normal_pairs,
)
from schemas.degradations import Degradation, GaussianBlur, StripeNoise
from schemas.recipe import DegradeRecipe

INFRARED = DegradationDraw(seed=3, clip="harbour-0", band="infrared")
VISIBLE = replace(INFRARED, band="visible")

CPU = torch.device("cpu")

BLUR_THEN_NOISE_THEN_BLUR: tuple[Degradation, ...] = (
    GaussianBlur(sigma_px=(1.2, 1.2)),
    StripeNoise(),
    GaussianBlur(sigma_px=(0.4, 2.5)),
)
CHAINS = st.sampled_from(
    [(), (StripeNoise(),), (GaussianBlur(),), BLUR_THEN_NOISE_THEN_BLUR, (GaussianBlur(),) * 2]
)

MASK = (1 << 64) - 1


def photograph(count: int, channels: int, height: int, width: int) -> Tensor:
    """Frames without order, the same on every machine: the high bits of a Weyl sequence."""
    numbers = torch.arange(count * channels * height * width)
    levels = (numbers * 2654435761 + 40503 * (numbers // 7) ** 2) >> 24 & 0xFF
    return levels.to(torch.uint8).view(count, channels, height, width)


def whole(frames: Tensor) -> Window:
    return Window(0, 0, *frames.shape[-2:])


def degrade(frames: Tensor, *chain: Degradation, draw: DegradationDraw = INFRARED) -> Tensor:
    return degrade_block(frames, chain, draw, indices=range(len(frames)), window=whole(frames))


def noise(stripe: float, white: float, draw: DegradationDraw = INFRARED) -> Tensor:
    """What stripe noise adds to grey frames that it cannot saturate, (12, 96, 128)."""
    item = StripeNoise(stripe_sigma_levels=(stripe, stripe), white_sigma_levels=(white, white))
    grey = torch.full((12, 1, 96, 128), 128, dtype=torch.uint8)
    return degrade(grey, item, draw=draw)[:, 0].double() - 128


@dataclass(frozen=True)
class Cut:
    """A crop of some frames of a clip."""

    frames: Tensor
    first: int
    step: int
    count: int
    y: int
    x: int
    height: int
    width: int

    @property
    def taken(self) -> Tensor:
        return self.first + self.step * torch.arange(self.count)

    def degraded_alone(self, chain: Sequence[Degradation]) -> Tensor:
        crop = Window(self.y, self.x, *self.frames.shape[-2:])
        read = read_for_crop(
            crop, height=self.height, width=self.width, halo_px=reach(chain, INFRARED).halo_px
        )
        block = self.frames[self.taken][..., read.rows, read.columns]
        degraded = degrade_block(
            block,
            chain,
            INFRARED,
            indices=self.taken.tolist(),
            window=read.window,
        )
        return read.keep(degraded)

    def cut_from(self, degraded: Tensor) -> Tensor:
        rows, columns = slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)
        return degraded[self.taken][..., rows, columns]


@st.composite
def cuts(draw: st.DrawFn) -> Cut:
    count, channels = draw(st.integers(1, 6)), draw(st.sampled_from([1, 3]))
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    step = draw(st.sampled_from([1, 2]))
    taken = draw(st.integers(1, (count - 1) // step + 1))
    low = draw(st.integers(0, count - 1 - step * (taken - 1)))
    crop_height, crop_width = draw(st.integers(1, height)), draw(st.integers(1, width))
    return Cut(
        frames=photograph(count, channels, height, width),
        first=low,
        step=step,
        count=taken,
        y=draw(st.integers(0, height - crop_height)),
        x=draw(st.integers(0, width - crop_width)),
        height=crop_height,
        width=crop_width,
    )


@settings(max_examples=200)
@given(cut=cuts(), chain=CHAINS)
def test_a_degraded_crop_is_the_crop_of_the_degraded_clip(
    cut: Cut, chain: tuple[Degradation, ...]
) -> None:
    clip = degrade(cut.frames, *chain)

    assert torch.equal(cut.degraded_alone(chain), cut.cut_from(clip))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_layout_and_mixed_precision_move_nothing(threads: int) -> None:
    frames = photograph(7, 3, 65, 90)
    expected = degrade(frames, *BLUR_THEN_NOISE_THEN_BLUR)
    stored = frames.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()

    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = degrade(stored, *BLUR_THEN_NOISE_THEN_BLUR)
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])

    assert torch.equal(found, expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_blocks_of_a_batch_are_degraded_as_by_themselves(channels: int) -> None:
    draws = [replace(INFRARED, clip=f"harbour-{clip}") for clip in (0, 1, 0)]
    indices = [range(3), range(5, 8), (0, 4, 9)]
    windows = [Window(0, 0, 90, 99), Window(31, 12, 90, 99), Window(31, 12, 50, 70)]
    batch = torch.unflatten(photograph(9, channels, 16, 24), 0, (3, 3))

    made = degrade_batch(batch, BLUR_THEN_NOISE_THEN_BLUR, draws, indices=indices, windows=windows)

    assert made.shape == batch.shape
    for number, block in enumerate(batch):
        alone = degrade_block(
            block,
            BLUR_THEN_NOISE_THEN_BLUR,
            draws[number],
            indices=indices[number],
            window=windows[number],
        )
        assert torch.equal(made[number], alone)


def test_a_batch_of_which_something_is_missing_is_refused() -> None:
    batch, windows = torch.unflatten(photograph(4, 1, 8, 8), 0, (2, 2)), [Window(0, 0, 8, 8)] * 2

    with pytest.raises(ValueError, match="2 blocks, 1 draws, 2 rows of indices and 2 windows"):
        degrade_batch(batch, (), [INFRARED], indices=[(0, 1)] * 2, windows=windows)


@pytest.mark.parametrize("channels", [1, 3])
def test_strength_zero_and_an_empty_chain_change_nothing(channels: int) -> None:
    frames = photograph(3, channels, 21, 34)
    nothing = (
        StripeNoise(stripe_sigma_levels=(0, 0), white_sigma_levels=(0, 0)),
        GaussianBlur(sigma_px=(0, 0)),
    )

    assert torch.equal(degrade(frames, *nothing), frames)
    assert torch.equal(degrade(frames), frames)


def test_the_frames_given_are_left_as_they_were() -> None:
    frames = photograph(2, 1, 16, 16)
    before = frames.clone()

    degrade(frames, *BLUR_THEN_NOISE_THEN_BLUR)

    assert torch.equal(frames, before)


@pytest.mark.parametrize("sigma", [4.0, 9.0, 14.0])
def test_the_planted_white_sigma_is_found_in_every_frame(sigma: float) -> None:
    residual = noise(stripe=0, white=sigma)

    # 12,288 pixels: the standard error of a sigma is 0.64 %; rounding adds 1/12 to the variance
    found = (residual.flatten(1).var(dim=1) - 1 / 12).sqrt()
    assert (found / sigma - 1).abs().max() < 0.025


@pytest.mark.parametrize("sigma", [3.0, 8.0, 12.0])
def test_the_planted_stripe_sigma_is_found_under_the_white_noise(sigma: float) -> None:
    clips = [replace(INFRARED, clip=f"clip-{number}") for number in range(8)]
    columns = torch.stack([noise(sigma, 9, clip).mean(dim=(0, 1)) for clip in clips])

    found = columns.std().item()

    # 1,024 columns: a standard error of 2.2 %
    assert found == pytest.approx(sigma, rel=0.07)
    assert columns.mean().abs() < 4 * sigma / math.sqrt(columns.numel())


def test_stripes_stay_over_time_and_white_noise_does_not() -> None:
    residual = noise(stripe=8, white=12)
    stripes = residual.mean(dim=1)  # (T, w)

    over_time = torch.corrcoef(stripes)
    white = torch.corrcoef((residual - residual.mean(dim=(0, 1))).flatten(1))

    # a column mean of 96 pixels keeps 12 / sqrt(96) levels of white noise beside 8 of stripe
    assert over_time.min() > 0.93
    assert (white - torch.diag(white.diag())).abs().max() < 0.2


def test_noise_is_normal_and_neighbours_know_nothing_of_each_other() -> None:
    draws = normal_draws(7, Grid(range(16), 0, 0, 128, 129, CPU)).double() / 4096
    error = 1 / math.sqrt(draws.numel())

    assert abs(draws.mean().item()) < 4 * error
    assert draws.std().item() == pytest.approx(1, abs=4 * error)
    assert draws.pow(3).mean().abs() < 4 * math.sqrt(15) * error
    assert draws.pow(4).mean().item() == pytest.approx(3, abs=4 * math.sqrt(96) * error)
    for step in range(1, 9):
        for axis in range(3):
            length = draws.shape[axis] - step
            pairs = draws.narrow(axis, 0, length) * draws.narrow(axis, step, length)
            assert pairs.mean().abs() < 4.5 / math.sqrt(pairs.numel()), (step, axis)


def splitmix64(number: int) -> int:
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & MASK
    return number ^ (number >> 31)


def test_the_hash_is_splitmix64() -> None:
    seed, steps = 1234567, range(1, 6)  # the published check values of SplitMix64 for this seed
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [splitmix64((seed + n * 0x9E3779B97F4A7C15) & MASK) for n in steps] == published

    found = normal_draws(seed, Grid((0,), 0, 8, 1, 40, CPU)).flatten()

    words = [(hashed >> shift) & 0xFFFF for hashed in published for shift in (0, 16, 32, 48)]
    pairs = [(word >> 8, word & 0xFF) for word in words]
    ranks = [
        upper << 8 | int(f"{lower:08b}"[::-1], 2)
        for high, low in pairs
        for upper, lower in ((high, low), (low, high))
    ]
    expected = torch.special.ndtri((torch.tensor(ranks).double() + 0.5) / 65536) * 4096
    assert (found - expected).abs().max() <= 0.5 + 1e-6


def test_processors_and_graphics_cards_hash_alike() -> None:
    numbers = torch.arange(-500, 500) * 0x1E3779B97F4A7C15

    assert torch.equal(mixed(numbers.clone()), mixed_signed(numbers.clone()))


def test_a_pair_of_draws_takes_every_quantile_once_and_every_two_ranges_once() -> None:
    first, second = normal_pairs(CPU).view(torch.int32).view(-1, 2).T.contiguous()

    quantiles = first.sort().values
    assert torch.equal(quantiles, second.sort().values)
    assert torch.equal(quantiles, -quantiles.flip(0))
    expected = torch.special.ndtri((torch.arange(65536).double() + 0.5) / 65536) * 4096
    assert (quantiles - expected).abs().max() <= 0.5 + 1e-6

    # a bound of two ranges may lie among equal quantiles, which then all count on one side of it
    bounds = quantiles[256::256].contiguous()
    cells = torch.bucketize(first, bounds) * 257 + torch.bucketize(second, bounds)
    assert torch.bincount(cells).max() <= 4


def test_knowing_one_draw_of_a_pair_to_a_grey_level_says_nothing_of_the_other() -> None:
    pairs = normal_pairs(CPU).view(torch.int32).view(-1, 2).double() / 4096
    step = 1 / 12  # a grey level of the preset's noise, in sigmas

    seen = (pairs[:, 0] / step).round()
    for level in range(-30, 31):
        other = pairs[seen == level, 1]
        error = 1 / math.sqrt(len(other))
        assert abs(other.mean()) < 4 * error, level
        assert abs(other.std() - 1) < 4 * error, level


@pytest.mark.parametrize(
    "other",
    [
        replace(INFRARED, clip="harbour-1"),
        replace(INFRARED, seed=4),
        VISIBLE,
    ],
    ids=["clip", "seed", "band"],
)
def test_another_clip_seed_or_band_draws_other_noise(other: DegradationDraw) -> None:
    here, there = noise(0, 10).flatten(), noise(0, 10, other).flatten()

    assert torch.corrcoef(torch.stack([here, there]))[0, 1].abs() < 0.02


def test_two_equal_items_of_a_chain_draw_different_noise() -> None:
    item = StripeNoise(stripe_sigma_levels=(0, 0), white_sigma_levels=(10, 10))
    grey = torch.full((4, 1, 64, 64), 128, dtype=torch.uint8)

    once, twice = (degrade(grey, *chain).double() for chain in ((item,), (item, item)))

    assert (twice - 128).std().item() == pytest.approx(10 * math.sqrt(2), rel=0.04)
    assert (twice - once).std().item() == pytest.approx(10, rel=0.04)


def test_one_strength_a_clip_is_drawn_evenly_from_the_range() -> None:
    draws = [replace(INFRARED, clip=f"clip-{number}").uniform((2, 6), "s") for number in range(400)]

    tally = torch.histc(torch.tensor(draws), bins=4, min=2, max=6)

    assert tally.sum() == 400
    assert tally.min() > 100 - 4 * math.sqrt(75)


@given(sigma=st.floats(0, 16))
def test_blur_weights_are_whole_symmetric_and_add_up(sigma: float) -> None:
    weights = gaussian_weights(sigma)

    assert sum(weights) == (256 if sigma <= 2.5 else 2048)
    assert weights == weights[::-1]
    assert min(weights) >= 0
    assert len(weights) % 2 == 1


@pytest.mark.parametrize("sigma", [0.6, 1.0, 1.33, 1.66, 2.0, 2.5, 2.51, 4.0, 9.0])
def test_blur_weights_have_the_sigma_asked_for(sigma: float) -> None:
    weights = gaussian_weights(sigma)

    centre = len(weights) // 2
    found = math.sqrt(sum(w * (i - centre) ** 2 for i, w in enumerate(weights)) / sum(weights))

    assert found == pytest.approx(sigma, rel=0.02)


@pytest.mark.parametrize("sigma", [0.7, 1.0, 1.33, 2.0, 3.5])
def test_blur_is_the_float_reference_rounded(sigma: float) -> None:
    frames = photograph(2, 3, 60, 50)
    reach = math.ceil(6 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).double() / sigma) ** 2)
    kernel /= kernel.sum()
    padded = torch.nn.functional.pad(frames.double(), (reach,) * 4, mode="reflect")
    windows = padded.unfold(-2, len(kernel), 1).unfold(-2, len(kernel), 1)
    reference = torch.einsum("...ij,i,j->...", windows, kernel, kernel)

    found = degrade(frames, GaussianBlur(sigma_px=(sigma, sigma)), draw=VISIBLE)

    # pure noise from 0 to 255 is the worst that weights of 1/256 meet; rounding alone has 0.29
    error = found.double() - reference
    assert error.abs().max() < 1.5
    assert error.square().mean().sqrt() < 0.4
    assert error.mean().abs() < 0.05


@settings(max_examples=60)
@given(cut=cuts(), sigma=st.floats(0.3, 2.5), is_interleaved=st.booleans())
def test_both_ways_of_a_narrow_blur_are_equal(
    *, cut: Cut, sigma: float, is_interleaved: bool
) -> None:
    """Processors take the one and graphics cards the other."""
    weights = gaussian_weights(sigma)
    frames, reach = cut.frames, len(weights) // 2
    if is_interleaved:
        frames = frames.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)

    by_opencv = _by_opencv(frames, weights)
    by_bands = _by_bands(frames, weights, (reach, reach), (reach, reach))

    assert torch.equal(by_opencv, by_bands)


def test_blur_mirrors_the_frame_at_its_edges_however_small_it_is() -> None:
    row = torch.tensor([[[[0, 40, 200]]]], dtype=torch.uint8)
    weights = gaussian_weights(1.0)
    reach = len(weights) // 2
    mirrored = [0, 40, 200, 40]  # one period of 0 40 200 40 0 40 200 ...
    expected = [
        math.floor(
            sum(w * mirrored[(x + i - reach) % 4] for i, w in enumerate(weights)) / 256 + 0.5
        )
        for x in range(3)
    ]

    found = degrade(row, GaussianBlur(sigma_px=(1, 1)))

    assert found.flatten().tolist() == expected


@pytest.mark.parametrize("levels", [0, 255])
def test_noise_is_held_within_the_grey_levels(levels: int) -> None:
    frames = torch.full((2, 1, 32, 32), levels, dtype=torch.uint8)

    found = degrade(frames, StripeNoise()).double()

    assert (found - levels).abs().max() < 100
    assert (found == levels).double().mean() > 0.2


def test_the_pixels_of_the_preset_have_not_moved() -> None:
    """A change here changes every dataset: raise STAGE_VERSION and say so in the CHANGELOG."""
    recipe = DegradeRecipe()
    infrared, visible = photograph(3, 1, 48, 64), photograph(3, 3, 48, 64)

    found = {
        "infrared": degrade(infrared, *recipe.infrared, draw=INFRARED),
        "visible": degrade(visible, *recipe.visible, draw=VISIBLE),
        "chain": degrade(visible, *BLUR_THEN_NOISE_THEN_BLUR, draw=VISIBLE),
    }

    hashes = {
        name: hashlib.sha256(frames.contiguous().numpy().tobytes()).hexdigest()[:16]
        for name, frames in found.items()
    }
    assert hashes == {
        "infrared": "92203cb216ff1d71",
        "visible": "23e05a0630c384c8",
        "chain": "cc66b1c4a1c6a1d1",
    }


@pytest.mark.parametrize(
    ("frames", "window", "first", "complaint"),
    [
        (torch.zeros(2, 1, 8, 8), Window(0, 0, 8, 8), 0, "float32.*torch.uint8"),
        (torch.zeros(8, 8, dtype=torch.uint8), Window(0, 0, 8, 8), 0, r"\(8, 8\).*\(T, C, h, w\)"),
        (torch.zeros(0, 1, 8, 8, dtype=torch.uint8), Window(0, 0, 8, 8), 0, "none of them 0"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), Window(4, 0, 8, 8), 0, "leaves the frame"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), Window(0, -1, 9, 9), 0, "leaves the frame"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), Window(0, 0, 8, 70000), 0, "at most 65536"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), Window(0, 0, 8, 8), -1, r"\[-1, 0\]"),
    ],
)
def test_a_block_that_is_none_is_refused(
    frames: Tensor, window: Window, first: int, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        degrade_block(
            frames, (), INFRARED, indices=range(first, first + len(frames)), window=window
        )
