"""The commands around a catalog's sessions: `twinband init`, `add`, `watch` and `show`."""

import json
import re
import signal
import sys
import threading
import time
from pathlib import Path

import click

from flows.cli_answers import FOLDER, Answer, answering, catalog_option, work_folder_option


def _frame_size(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    if value is None:
        return None
    sides = re.fullmatch(r"(\d{2,5})x(\d{2,5})", value.lower())
    if sides is None:
        raise click.BadParameter(f"{value!r} is not WIDTHxHEIGHT, as in 640x512")
    return int(sides[1]), int(sides[2])


rig_option = click.option("--rig", help="Which rig filmed.  [default: the one of such frames]")
site_option = click.option("--site", help="Where it was filmed.  [default: the session's name]")
fps_option = click.option("--fps", type=float, help="Frame rate of folders of frames.")


@answering
@click.argument("folder", type=FOLDER)
@click.argument("session", type=FOLDER, required=False)
@click.option("--infrared", callback=_frame_size, metavar="WIDTHxHEIGHT",
              help="Of its frames.  [default: as in SESSION]")  # fmt: skip
@click.option("--visible", callback=_frame_size, metavar="WIDTHxHEIGHT", help="The same.")
@click.option("--rig", default="rig", show_default=True, help="What the two cameras are called.")
@site_option
@fps_option
def init(
    folder: Path,
    session: Path | None,
    infrared: tuple[int, int] | None,
    visible: tuple[int, int] | None,
    rig: str,
    site: str | None,
    fps: float | None,
) -> Answer:
    """Start a catalog in FOLDER; SESSION, a folder in it, is added and tells the frames' sizes."""
    if session is None and (infrared is None or visible is None):
        raise click.UsageError("give SESSION, or --infrared and --visible")
    from pipeline.importers import slug_of
    from pipeline.importers_session import add_session, sizes_in, start_catalog

    sizes = sizes_in(session) if session is not None else {}
    if infrared is not None:
        sizes["infrared"] = infrared
    if visible is not None:
        sizes["visible"] = visible
    path = folder / "catalog.yaml"
    start_catalog(path, rig, sizes, name=slug_of(folder.resolve().name))
    added = add_session(path, session, site=site, fps=fps) if session is not None else None
    told = [f"{path}: a catalog of the rig {rig}"]
    if added is not None:
        told.append(f"{added.path}: {len(added.session.recordings)} recordings")
    sessions = [] if added is None else [added.session.id]
    next_step = "twinband build" if added else "twinband add FOLDER"
    return Answer(
        {"catalog": str(path), "sessions": sessions}, [*told, f"next: {next_step} -c {path}"]
    )


@answering
@click.argument("folder", type=FOLDER)
@catalog_option
@rig_option
@site_option
@fps_option
def add(
    folder: Path, catalog: Path, rig: str | None, site: str | None, fps: float | None
) -> Answer:
    """Add the session in FOLDER to the catalog: its recordings are found by their files' names."""
    from pipeline.importers_session import add_session

    added = add_session(catalog, folder, rig=rig, site=site, fps=fps)
    recordings = [recording.id for recording in added.session.recordings]
    document = {"session": added.session.id, "file": str(added.path), "recordings": recordings}
    told = [f"{added.path}: {', '.join(recordings)}", f"next: twinband build -c {catalog}"]
    return Answer(document, told)


@answering
@click.argument("folder", type=FOLDER)
@catalog_option
@work_folder_option
@rig_option
@site_option
@fps_option
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True,
              help="Recordings built at the same time.")  # fmt: skip
@click.option("--settle", type=click.FloatRange(0), default=60.0, show_default=True,
              help="Seconds without a change after which a session is whole.")  # fmt: skip
@click.option("--interval", type=click.FloatRange(0.1), default=5.0, show_default=True,
              help="Seconds from one look to the next.")  # fmt: skip
@click.option("--release", "has_releases", is_flag=True,
              help="Release, with its report, whatever a session adds.")  # fmt: skip
@click.option("--once", "is_once", is_flag=True, help="End when every session has its outcome.")
def watch(
    *,
    folder: Path,
    catalog: Path,
    work: Path,
    rig: str | None,
    site: str | None,
    fps: float | None,
    workers: int,
    settle: float,
    interval: float,
    has_releases: bool,
    is_once: bool,
) -> Answer:
    """Add and build every session dropped into FOLDER; a bad one is set aside with its reason."""
    from flows.environment import prepare_environment

    prepare_environment()
    from flows.workers import start_importing

    if workers > 1:
        start_importing()
    from flows.watch import Watch, Watcher, watch_folder

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    wanted = Watch(
        folder, catalog, work, rig, site, fps, workers, settle_s=settle, has_releases=has_releases
    )
    watcher = Watcher(wanted, lambda line: click.echo(line, err=True), time.monotonic)
    found = watch_folder(watcher, stop, interval_s=interval, is_once=is_once)
    counts = [one.state for one in found.sessions]
    told = f"{counts.count('built')} sessions built, {counts.count('set-aside')} set aside"
    return Answer(json.loads(found.model_dump_json()), [told])


@answering
@click.argument("clip")
@work_folder_option
@click.option("--pair", type=click.IntRange(0), help="Which to show.  [default: in the middle]")
@click.option("--picture/--no-picture", default=None, help="[default: on a terminal]")
def show(*, clip: str, work: Path, pair: int | None, picture: bool | None) -> Answer:
    """Tell what is known of CLIP, and show both bands of one pair."""
    from shutil import get_terminal_size

    from flows.show import lines, open_shown

    shown = open_shown(clip, work, pair)
    has_picture = sys.stdout.isatty() if picture is None else picture
    columns = get_terminal_size().columns if has_picture else None
    document = shown.attributes.model_dump(mode="json") | {"store": str(shown.store)}
    return Answer(document, lines(shown, columns))
