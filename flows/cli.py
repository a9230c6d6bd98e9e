"""The `twinband` command: parse, call, report."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import click

from flows.cli_answers import ANYTHING, FILE, FOLDER, Answer, answering, catalog_option, work_option
from flows.cli_capture import align, calibrate
from flows.cli_evaluate import evaluate
from flows.cli_model import model
from flows.cli_sessions import add, init, show, watch
from flows.cli_train import ablate, train
from flows.process_memory import collect_seldom

Band = Literal["infrared", "visible"]

PRESET_NAMES = ["m3svd", "m3svd-release", "night", "weather", "handheld", "radio-link"]
"""Those of schemas/recipe.py, which is not imported here so that --help answers at once."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="twinband")
def main() -> None:
    """Turn infrared and visible recordings into versioned, paired clips, and train on them."""
    collect_seldom()


for subcommand in (ablate, add, align, calibrate, evaluate, init, model, show, train, watch):
    main.add_command(subcommand)


def command(run: Callable[..., Answer]) -> click.Command:
    """Make `run` a subcommand."""
    made = answering(run)
    main.add_command(made)
    return made


@command
@click.option("--session", is_flag=True, help="The schema of a session file instead.")
def schema(*, session: bool) -> Answer:
    """Print the JSON Schema of catalog.yaml, for editors."""
    from schemas.catalog import CatalogFile, Session

    document = (Session if session else CatalogFile).model_json_schema()
    return Answer(document, [json.dumps(document, indent=2)])


@command
@click.argument("folder", type=FOLDER)
def demo(folder: Path) -> Answer:
    """Do the whole journey on the simulated rig, below FOLDER, and say where to look."""
    from flows.environment import prepare_environment

    prepare_environment()
    from flows.demo import run_demo
    from flows.progress import progress

    with progress("demo") as show:
        made = run_demo(folder, show)
    return Answer(made.model_dump(mode="json"), made.lines())


@command
@click.argument("folder", type=FOLDER)
@click.option("--small", is_flag=True, help="One recording of four seconds by a small rig.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def simulate(*, folder: Path, small: bool, seed: int) -> Answer:
    """Film a synthetic scene with a known rig into FOLDER, with a catalog and the truth."""
    from pipeline.simulate import run_simulate
    from schemas.simulation import SMALL_RECORDING, SimulationSettings, small_simulation

    settings = (
        small_simulation(SMALL_RECORDING, seed=seed) if small else SimulationSettings(seed=seed)
    )
    catalog = run_simulate(folder, settings)
    return Answer({"catalog": str(catalog)}, [f"filmed; the catalog is {catalog}"])


@command
@click.argument("layout", type=click.Choice(["m3svd"]))
@click.argument("root", type=FOLDER)
@click.option("-c", "--catalog", type=FILE, default="catalog.yaml", show_default=True)
def import_command(layout: str, root: Path, catalog: Path) -> Answer:
    """Adopt an existing dataset at ROOT: write the CATALOG that builds it."""
    from pipeline.importers import import_m3svd
    from schemas.catalog_reading import load_catalog

    import_m3svd(root, catalog)
    recordings = [recording.id for _, recording in load_catalog(catalog).recordings()]
    return Answer(
        {"layout": layout, "catalog": str(catalog), "recordings": recordings},
        [f"{catalog} names {len(recordings)} recordings; next: twinband build -c {catalog}"],
    )


@command
@catalog_option
@work_option
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True)
@click.option("--scheduler", help="Address of a dask.distributed scheduler to use instead.")
def build(catalog: Path, work: Path | str, workers: int, scheduler: str | None) -> Answer:
    """Bring every recording to sealed clips; what is done already stays as it is."""
    from flows.environment import prepare_environment

    prepare_environment()
    from flows.server import own_server
    from flows.workers import start_importing

    if workers > 1 and scheduler is None:
        start_importing()
    with own_server() as server:  # meanwhile the rest is imported, which takes as long
        from flows.build import build_dataset
        from flows.progress import progress

        with progress("building") as show:
            made = build_dataset(
                catalog, work, workers=workers, scheduler=scheduler, server=server, report=show
            )
    lines = [f"left out {r.recording} ({r.stage}): {r.reason}" for r in made.rejected]
    if made.built or made.rejected or not made.unchanged:
        lines.append(f"built {made.built} recordings, {made.unchanged} unchanged")
    else:
        lines.append(f"nothing to do: {made.unchanged} recordings unchanged")
    lines += [f"damaged and moved aside: {work}/{store}" for store in made.damaged]
    lines.append(f"{len(made.clips)} clips in {work}/clips")
    return Answer(made.model_dump(mode="json"), lines, refused=not made.clips)


@command
@click.argument("version")
@catalog_option
@work_option
def release(version: str, catalog: Path, work: Path | str) -> Answer:
    """Freeze the built clips of CATALOG as release VERSION (such as v1.0.0)."""
    from flows.release import release_dataset

    frozen = release_dataset(catalog, version, work)
    document = {
        "version": frozen.version,
        "root_hash": frozen.root_hash,
        "clips": len(frozen.clips),
        "splits": frozen.split_counts(),
    }
    splits = ", ".join(f"{count} {split}" for split, count in frozen.split_counts().items())
    return Answer(document, [f"{version}: {len(frozen.clips)} clips ({splits})", frozen.root_hash])


@command
@click.argument("old")
@click.argument("new")
@work_option
def diff(old: str, new: str, work: Path | str) -> Answer:
    """Tell which clips NEW has otherwise than OLD, and why (versions, or published folders)."""
    from flows.release import diff_versions
    from pipeline.publish_diff import diff_lines

    found = diff_versions(old, new, work)
    counts = (
        f"{len(found.added)} clips added, {len(found.removed)} removed, "
        f"{len(found.changed)} changed, {found.unchanged} unchanged"
    )
    return Answer(found.model_dump(mode="json"), [*diff_lines(found), counts])


@command
@catalog_option
@work_option
@click.option("--delete", is_flag=True, help="Delete it; otherwise it is only listed.")
def gc(*, catalog: Path, work: Path | str, delete: bool) -> Answer:
    """List, or delete, what no release and no recording of CATALOG names any more."""
    from flows.release import collect_garbage

    found = collect_garbage(catalog, work, delete=delete)
    total = sum(garbage.size_bytes for garbage in found)
    document = {
        "deleted": delete,
        "size_bytes": total,
        "garbage": [garbage.model_dump(mode="json") for garbage in found],
    }
    lines = [f"{garbage.size_bytes:>14,}  {garbage.path}" for garbage in found]
    done = "deleted" if delete else "found; delete it with --delete"
    lines.append(f"{total:,} bytes of garbage {done}" if found else "no garbage")
    return Answer(document, lines)


@command
@click.argument("version", required=False)
@work_option
@click.option("--quick", is_flag=True, help="Compare names, sizes and manifests; read no pixel.")
def verify(*, version: str | None, work: Path | str, quick: bool) -> Answer:
    """Prove every byte of VERSION, or of every release and clip of the workspace."""
    from pipeline.object_workspace import opened_workspace
    from pipeline.publish_verify import verify_release

    with opened_workspace(work, "releases/*") as workspace:
        faults = verify_release(version, workspace, quick=quick)
    document = {"ok": not faults, "faults": [fault.model_dump(mode="json") for fault in faults]}
    proven = "every file is there in its size" if quick else "every byte is as it was sealed"
    lines = [str(fault) for fault in faults] or [proven]
    return Answer(document, lines, refused=bool(faults))


@command
@click.argument("version")
@click.option(
    "--to",
    "destination",
    required=True,
    help="A folder, or organisation/name of a dataset repository of the Hugging Face Hub.",
)
@work_option
@click.option("--public", is_flag=True, help="If the repository has to be made: for all to see.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be sent and removed.")
def publish(
    *, version: str, destination: str, work: Path | str, public: bool, dry_run: bool
) -> Answer:
    """Publish VERSION to a folder laid out like a Hub dataset repository, or to the Hub itself."""
    from flows.progress import progress
    from flows.publish import plan_publishing, publish_release, told_plan

    if dry_run:
        plan = plan_publishing(version, destination, work)
        return Answer(plan.model_dump(mode="json"), told_plan(plan))
    with progress("publishing") as show:
        made = publish_release(version, destination, work, is_private=not public, report=show)
    moved = f"{made.files_sent} files sent ({made.bytes_sent:,} bytes), {made.files_kept} stay"
    where = f'{version} is in {made.destination}: datasets.load_dataset("{made.destination}")'
    document = made.model_dump(mode="json") | {"to": made.destination}
    return Answer(document, [moved, where])


@command
@click.argument("version", required=False)
@work_option
@click.option("--out", type=FOLDER, help="Folder of the pages.  [default: WORK/reports/VERSION]")
def report(version: str | None, work: Path | str, out: Path | None) -> Answer:
    """Write pages about VERSION (the newest if none is named): open index.html in a browser."""
    from flows.progress import progress
    from flows.report import report_release

    with progress("looking at clips") as show:
        page, told = report_release(version, work, out, show)
    document = {"report": str(page), "version": told.version, "clips": len(told.clips)}
    return Answer(document, [f"{len(told.clips)} clips of {told.version}: {page}"])


@command
@catalog_option
@work_option
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="[default: any free one]")
def review(catalog: Path, work: Path | str, port: int) -> Answer:
    """Go through recordings in a browser; each decision is in CATALOG at once. Ctrl-C ends it."""
    from flows.review import serve_review

    def announce(address: str) -> None:
        click.echo(f"open {address}", err=True)

    counts = serve_review(catalog, work, port, announce)
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    return Answer(dict(counts), [f"{told}; next: twinband build -c {catalog}"])


@command
@catalog_option
@work_option
@click.option("--to", help="Where releases are published, unless a run says otherwise.")
@click.option("--build-cron", metavar="CRON", help="When to build, such as '0 3 * * *'.")
@click.option("--release-cron", metavar="CRON", help="When to release.")
def serve(
    *,
    catalog: Path,
    work: Path | str,
    to: str | None,
    build_cron: str | None,
    release_cron: str | None,
) -> Answer:
    """Offer build, release and publish as deployments of the Prefect server of PREFECT_API_URL."""
    from flows.environment import prepare_environment

    prepare_environment()
    from flows.deployments import serve_deployments
    from schemas.catalog_reading import load_catalog

    name = load_catalog(catalog).dataset.name
    crons = {"build": build_cron, "release": release_cron}
    chosen = {kind: cron for kind, cron in crons.items() if cron}
    serve_deployments(name, catalog, work, to=to, cron=chosen)
    return Answer({"deployments": [f"{kind}/{name}" for kind in ("build", "release", "publish")]})


@command
@click.argument("source", type=ANYTHING)
@click.argument("out", type=ANYTHING)
@click.option(
    "--band", type=click.Choice(["infrared", "visible"]), required=True, help="Which of the two."
)
@click.option("--preset", type=click.Choice(PRESET_NAMES), default="m3svd", show_default=True)
@click.option("--recipe", type=FILE, help="YAML with chains of degradations; wins over --preset.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--fit",
    is_flag=True,
    help="Measure how SOURCE (clean) became OUT (degraded) instead; prints a --recipe.",
)
def degrade(
    source: Path, out: Path, *, band: Band, preset: str, recipe: Path | None, seed: int, fit: bool
) -> Answer:
    """Degrade a video or a folder of frames into the .mp4 or folder OUT."""
    from flows.degrade import degrade_video, fit_as_recipe, fit_degradation, read_recipe
    from flows.progress import progress
    from pipeline.degrade_draws import DegradationDraw

    if fit:
        found = fit_degradation(source, out, band)
        return Answer(found.model_dump(mode="json"), fit_as_recipe(found))
    chosen = read_recipe(recipe, preset)
    draw = DegradationDraw(seed=seed, clip=source.stem, band=band)
    with progress("degrading") as show:
        frames = degrade_video(source, out, chosen, draw, show)
    return Answer({"degraded": str(out), "frames": frames}, [f"{frames} frames in {out}"])


@command
@click.argument("infrared", type=ANYTHING)
@click.argument("visible", type=ANYTHING)
@click.argument("out", type=FILE)
@click.option(
    "--weights", type=FILE, help="Checkpoint made by twinband train.  [default: those bundled]"
)
@click.option(
    "--restored", type=FOLDER, help="Write both bands restored there, infrared.mp4 and visible.mp4."
)
@click.option("--fps", type=click.FloatRange(0, min_open=True), help="Of folders of frames.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="bfloat16 pays on processors with units for it (AMX).",
)
@click.option(
    "--stretch",
    type=click.Choice(["none", "frame"]),
    default="none",
    show_default=True,
    help="frame: stretch each fused frame by its own range, as the paper's tester does; flickers.",
)
@click.option(
    "--compile", "is_compiled", is_flag=True, help="Compile the network first; for long videos."
)
def fuse(
    infrared: Path,
    visible: Path,
    out: Path,
    weights: Path | None,
    restored: Path | None,
    fps: float | None,
    precision: Literal["float32", "bfloat16"],
    stretch: Literal["none", "frame"],
    *,
    is_compiled: bool,
) -> Answer:
    """Fuse two registered videos of any length into the mp4 OUT."""
    from flows.fuse import Fusing, fuse_videos
    from flows.progress import progress
    from model.checkpoint import BUNDLED_WEIGHTS

    fusing = Fusing(weights or BUNDLED_WEIGHTS, restored, precision, is_compiled, stretch)
    with progress("fusing") as show:
        frames = fuse_videos(infrared, visible, out, fusing, fps=fps, report=show)
    document = {"fused": str(out), "frames": frames}
    if restored is not None:
        document["restored"] = str(restored)
    return Answer(document, [f"{frames} frames in {out}"])
