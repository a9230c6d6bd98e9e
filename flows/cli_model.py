"""`twinband model`: what a network is made of, and the authors' weights made ours."""

import dataclasses
from pathlib import Path

import click

from flows.cli_answers import FILE, Answer, answering


@click.group()
def model() -> None:
    """Look at networks and bring weights along."""


def _size(_context: click.Context, _option: click.Parameter, value: str) -> tuple[int, int]:
    """Width and height of `640x480`."""
    width, _, height = value.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise click.BadParameter(f"{value} is no size; give width and height, such as 640x480")
    return int(width), int(height)


@answering
@click.option("--weights", type=FILE, help="Checkpoint whose network is meant.")
@click.option(
    "--preset",
    type=click.Choice(["published", "small"]),
    default="published",
    show_default=True,
    help="Network of a training preset, where no --weights are given.",
)
@click.option(
    "--size", default="640x480", show_default=True, callback=_size, help="Of the frames, pixels."
)
def summary(weights: Path | None, preset: str, size: tuple[int, int]) -> Answer:
    """Print parameters, work a frame and reach along time of a network."""
    from model.checkpoint import load_checkpoint
    from model.summary import PUBLISHED_GMAC, summarise
    from schemas.training import PRESETS, NetworkRecipe

    recipe = load_checkpoint(weights).recipe if weights else PRESETS[preset].network
    width, height = size
    found = summarise(recipe, height=height, width=width)
    lines = [f"{name:<24}{count:>12,}" for name, count in found.parts.items() if count]
    lines += [
        f"{'parameters':<24}{found.parameters:>12,}   {found.parameters / 1e6:.2f} M",
        (
            f"{found.gmac_per_frame:.1f} GMAC a frame of {width}x{height}, "
            f"{found.fusion_gmac_per_frame:.1f} without restoration"
        ),
        f"depends on {found.temporal_reach} frames before and after",
    ]
    document = dataclasses.asdict(found) | {"size": [width, height]}
    if recipe == NetworkRecipe() and size == (640, 480):
        document["published_gmac_per_frame"] = PUBLISHED_GMAC
        lines.insert(-1, f"({PUBLISHED_GMAC:.1f} as the paper draws it; here shared products are "
                         "computed once)")  # fmt: skip
    document["network"] = recipe.model_dump(mode="json")
    return Answer(document, lines)


@answering
@click.argument("source", type=FILE)
@click.argument("out", type=FILE)
def import_official_command(source: Path, out: Path) -> Answer:
    """Read the authors' checkpoint SOURCE and write it as the safetensors OUT."""
    from model.checkpoint import load_official, save_checkpoint, unused_tensors
    from schemas.errors import CheckpointError

    if out.exists():
        raise CheckpointError(f"{out}: exists already; choose another name or remove it")
    network = load_official(source)
    save_checkpoint(network, out)
    tensors, unused = len(network.state_dict()), unused_tensors(network)
    return Answer(
        {"checkpoint": str(out), "tensors": tensors, "unused": unused},
        [
            f"{tensors} tensors in {out}",
            f"{len(unused)} of them no result depends on: {', '.join(unused)}",
        ],
    )


model.add_command(summary)
model.add_command(import_official_command)
