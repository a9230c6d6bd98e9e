"""The parts of the network, against formulas written out and properties they must have."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.attention import ChannelNorm, products_by_rows, products_of_heads
from model.blocks import (
    CoBlock,
    CrossBlock,
    Downsample,
    GatedMix,
    Gates,
    ResidualBlock,
    SelfBlock,
    TemporalConvolutions,
    Upsample,
)
from model.timeline import Timeline, as_images, as_videos


def features(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(autouse=True)
def _repeatable_weights() -> None:
    torch.manual_seed(5)


def test_the_norm_gives_every_pixel_mean_0_and_variance_1_over_its_channels() -> None:
    x = 3 + 5 * features(0, 2, 16, 3, 4)

    normal = ChannelNorm(16).double()(x)

    torch.testing.assert_close(normal.mean(1), torch.zeros(2, 3, 4).double())
    torch.testing.assert_close(
        normal.var(1, unbiased=False), torch.ones(2, 3, 4).double(), rtol=1e-5, atol=1e-5
    )


def test_attention_follows_its_formula_one_head_at_a_time() -> None:
    block = SelfBlock(32).double()
    attention = block.attention
    torch.nn.init.uniform_(attention.temperature, 0.5, 2)
    x = features(1, 1, 32, 4, 5)
    query, key, value = (part[0].flatten(1) for part in attention.query_key_value(x))

    heads = []
    for head in range(2):
        rows = slice(16 * head, 16 * head + 16)
        cosine = (query[rows] / query[rows].norm(dim=1, keepdim=True)) @ (
            key[rows] / key[rows].norm(dim=1, keepdim=True)
        ).T
        heads.append((cosine * attention.temperature[head]).softmax(-1) @ value[rows])
    expected = attention.output(torch.cat(heads).view(1, 32, 4, 5))

    torch.testing.assert_close(attention(x), expected)


@given(
    seed=st.integers(0, 99),
    count=st.integers(1, 3),
    heads=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
)
def test_both_ways_of_comparing_channels_are_equal(
    seed: int, count: int, heads: int, height: int, width: int
) -> None:
    query, key = features(seed, 2, count, 16 * heads, height, width)

    torch.testing.assert_close(products_by_rows(query, key), products_of_heads(query, key))


@settings(max_examples=20)
@given(
    sizes=st.lists(st.integers(1, 4), max_size=4), end=st.integers(0, 3), batch=st.integers(1, 2)
)
def test_a_video_in_parts_passes_layers_along_time_as_it_does_at_once(
    sizes: list[int], end: int, batch: int
) -> None:
    convolutions, block = TemporalConvolutions(16, 16).double(), CoBlock(16).double()
    parts = [4, *sizes, end]
    x = features(11, batch * sum(parts), 16, 2, 3)

    def passed(part: Tensor, timeline: Timeline) -> Tensor:
        found: Tensor = block(convolutions(part, timeline), timeline)
        return as_videos(found, batch)

    timeline, found, first = Timeline(batch), [], 0
    for number, size in enumerate(parts):
        timeline.ends = number == len(parts) - 1
        part = as_videos(x, batch)[:, first : first + size]
        found.append(passed(as_images(part), timeline))
        first += size

    torch.testing.assert_close(torch.cat(found, dim=1), passed(x, Timeline(batch)))


def test_co_attention_of_all_frames_at_once_equals_one_frame_after_the_other() -> None:
    block = CoBlock(16).double()
    attention = block.attention
    x = features(2, 2 * 4, 16, 4, 4)

    expected = []
    for number in range(8):
        window, place = divmod(number, 4)
        neighbours = [4 * window + max(0, place - 1), 4 * window + min(3, place + 1)]
        current, previous, following = (
            block.attention_norm(x[n : n + 1]) for n in (number, *neighbours)
        )
        key_before, value_before = attention.previous_key_value(previous)
        key_after, value_after = attention.next_key_value(following)
        (query,) = attention.query(current)
        agreed = attention.affinity(query, key_before) * attention.affinity(query, key_after)
        mixed = attention.attend(agreed.softmax(-1), value_before) + attention.attend(
            agreed.softmax(-1), value_after
        )
        refined = x[number : number + 1] + mixed
        expected.append(refined + block.feed_forward(block.feed_forward_norm(refined)))

    torch.testing.assert_close(block(x, Timeline(2)), torch.cat(expected))


@settings(max_examples=15)
@given(changed=st.integers(0, 5))
def test_a_co_attention_layer_carries_a_change_one_frame_each_way(changed: int) -> None:
    block = CoBlock(16).double()
    x = features(3, 6, 16, 2, 2)
    other = x.clone()
    other[changed] += features(4, 16, 2, 2)

    moved = (block(x, Timeline()) - block(other, Timeline())).abs().amax((1, 2, 3)) > 0

    assert moved.tolist() == [abs(frame - changed) <= 1 for frame in range(6)]


def test_convolutions_along_time_carry_a_change_two_frames_each_way() -> None:
    convolutions = TemporalConvolutions(3, 8).double()
    x = features(5, 9, 3, 4, 4)
    other = x.clone()
    other[4] += 1

    change = convolutions(x, Timeline()) - convolutions(other, Timeline())
    moved = change.abs().amax((1, 2, 3)) > 0

    assert moved.tolist() == [abs(frame - 4) <= 2 for frame in range(9)]


def test_the_unused_norm_of_cross_attention_changes_nothing_and_is_not_trained() -> None:
    block = CrossBlock(16).double()
    x, source = features(6, 2, 16, 4, 4), features(7, 2, 16, 4, 4)
    before = block(x, source)
    torch.nn.init.constant_(block.attention.unused_norm.weight, 99)

    after = block(x, source)
    after.sum().backward()

    assert torch.equal(before, after)
    assert block.attention.unused_norm.weight.grad is None
    assert all(p.grad is not None for n, p in block.named_parameters() if "unused_norm" not in n)


def test_gates_only_ever_weaken() -> None:
    gates = Gates(32).double()
    x = 10 * features(8, 3, 32, 5, 6)

    assert (gates(x).abs() < x.abs()).all()


def test_a_mix_weighs_the_supplement_by_one_number_between_0_and_1_per_frame() -> None:
    mix = GatedMix(16).double()
    main, supplement = features(9, 3, 16, 4, 4), features(10, 3, 16, 4, 4)
    for name, parameter in mix.gates.named_parameters():
        if name.endswith(("expand.weight", "conv.weight")):
            torch.nn.init.zeros_(parameter)  # both gates then halve everything
    weights = mix.weigh(torch.cat([main, supplement], 1)).sigmoid().mean((2, 3))  # (3, 2)

    mixed = mix(main, supplement)

    expected = [
        0.25 * w[0] * m + w[1] * s for w, m, s in zip(weights, main, supplement, strict=True)
    ]
    torch.testing.assert_close(mixed, torch.stack(expected))


def test_residual_blocks_begin_close_to_the_identity() -> None:
    x = features(11, 1, 64, 12, 12)

    change = ResidualBlock(64).double()(x) - x

    assert 0 < change.std() < 0.05 * x.std()


def test_going_down_doubles_the_channels_and_going_up_undoes_it() -> None:
    x = features(12, 2, 32, 8, 12)

    down = Downsample(32).double()(x)
    up = Upsample(64).double()(down)

    assert down.shape == (2, 64, 4, 6)
    assert up.shape == x.shape
