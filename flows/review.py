"""A local page to go through new recordings: every decision is in the catalog at once."""

import hmac
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.params import Path as PathParameter
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse
from pydantic import JsonValue

from pipeline.clip_stores import open_clip
from pipeline.geometry import homography_through, is_degenerate, matrix_of
from pipeline.looks import run_look
from pipeline.object_workspace import opened_workspace
from pipeline.quality_concerns import clip_concerns, typical_sharpness
from pipeline.report import PAGES as REPORT_PAGES
from pipeline.report import templates
from pipeline.review_catalog import run_change, run_find
from pipeline.workspace import Workspace, load, load_arrays
from schemas.catalog import Catalog, Recording, Session
from schemas.catalog_reading import load_catalog
from schemas.errors import ReviewError, TwinbandError
from schemas.facts import ClipFacts, RegisterFacts, ShardFacts
from schemas.report import ClipLook, Concern
from schemas.review import Correction, ReviewEdit

PAGES = Path(__file__).parent / "review_pages"

HOST = "127.0.0.1"

COOKIE = "twinband_review"

STATIC = {
    "report.css": REPORT_PAGES,
    "report.js": REPORT_PAGES,
    "review.css": PAGES,
    "review.js": PAGES,
}

SAFE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src "
    "'self' data:; media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

Slug = Annotated[str, PathParameter(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]


@dataclass(frozen=True)
class ReviewedClip:
    """A clip as the page shows it."""

    facts: ClipFacts
    look: ClipLook
    start_s: float
    """Since the recording's first infrared frame."""
    concerns: tuple[Concern, ...]


@dataclass(frozen=True)
class Desk:
    """Where the reviewer works."""

    catalog: Path
    workspace: Workspace

    def opened(self) -> Catalog:
        """The catalog as it is now."""
        return load_catalog(self.catalog)

    def outcome(self, recording: str) -> ShardFacts | None:
        """What the last build made of a recording."""
        return load(self.workspace.facts(recording, "shard"), ShardFacts)

    def look(self, clip: ClipFacts) -> tuple[ClipLook, Path]:
        """What is to be seen of a clip, and its film."""
        store = Workspace.clip_path(clip.clip, clip.fingerprint)
        look, folder = run_look(store, self.workspace)
        return look, folder / "film.mp4"

    def clips(self, recording: str, catalog: Catalog) -> list[ReviewedClip]:
        """The clips of a recording, with what is to be seen of them."""
        built = {one.id: self.outcome(one.id) for _, one in catalog.recordings()}
        outcomes = [one for one in built.values() if one is not None]
        usual = typical_sharpness(clip.quality for one in outcomes for clip in one.clips)
        outcome = built[recording]
        if outcome is None or not outcome.clips:
            return []
        times_s = load_arrays(self.workspace.signals(recording))["infrared_times_s"].astype(float)
        found = []
        for facts in outcome.clips:
            look, _ = self.look(facts)
            with self.workspace.at_hand(Workspace.clip_path(facts.clip, facts.fingerprint)) as path:
                _, about = open_clip(path)
            # by the frames' own times: between frames some may be lost
            start_s = float(times_s[about.first_infrared_frame] - times_s[0])
            sharpness = facts.quality.visible_sharpness
            concerns = tuple(clip_concerns(facts.clip, sharpness, look, usual))
            found.append(ReviewedClip(facts, look, start_s, concerns))
        return found


def changes_of(edit: ReviewEdit, recording: Recording, desk: Desk) -> dict[str, JsonValue]:
    """The fields of a recording that an edit changes.

    Raises:
        ReviewError: the recording's clocks or view are not to be estimated, or its rig moved.
    """
    changes: dict[str, JsonValue] = {}
    if edit.decision == "accept":
        changes["review"] = {"decision": "accept"}
    elif edit.decision == "reject":
        changes["review"] = {"decision": "reject", "reason": (edit.reason or "").strip()}
    elif edit.decision == "undecided":
        changes["review"] = None
    if edit.tags is not None:
        changes["tags"] = list[JsonValue](sorted(set(edit.tags))) or None
    if edit.leave_out is not None:
        changes["leave_out"] = [span.model_dump(mode="json") for span in edit.leave_out] or None
    if (edit.offset_s is not None or edit.correction is not None) and recording.registered:
        raise ReviewError(
            f"{recording.id} is registered: true, which leaves no room for an offset or a "
            "homography; remove that from the catalog first"
        )
    if edit.offset_s is not None:
        changes["offset_s"] = round(edit.offset_s, 6)
    if edit.correction is not None:
        changes["homography"] = _corrected(edit.correction, recording, desk)
        changes["point_pairs"] = None
    return changes


def _corrected(correction: Correction, recording: Recording, desk: Desk) -> JsonValue:
    outcome = desk.outcome(recording.id)
    register = load(desk.workspace.facts(recording.id, "register"), RegisterFacts)
    clips = {clip.clip: clip for clip in outcome.clips} if outcome is not None else {}
    clip = clips.get(correction.clip)
    if clip is None or register is None:
        raise ReviewError(f"{recording.id} has no clip {correction.clip} any more; load the page")
    if register.stretches:
        raise ReviewError(
            f"the rig moved during {recording.id}, so that no single homography holds; leave out "
            "one of the parts, build, and correct what is left"
        )
    corner = np.array(register.crop[:2], np.float64)
    seen, belong = (np.array(p) + corner for p in (correction.seen_at, correction.belong_at))
    if is_degenerate(seen) or is_degenerate(belong):
        raise ReviewError("three of the four points lie on a line; spread them over the picture")
    moved = homography_through(seen, belong) @ matrix_of(clip.homography)
    return [[float(value) for value in row] for row in moved / moved[2, 2]]


class Door:
    """Lets in who knows the token, once; afterwards the browser that did, and no other page."""

    def __init__(self, port: int) -> None:
        """Serve at that port."""
        self.origin = f"http://{HOST}:{port}"
        self._token: str | None = secrets.token_urlsafe(32)
        self._session = secrets.token_urlsafe(32)

    def address(self) -> str:
        """Where to enter, once."""
        return f"{self.origin}/enter?token={self._token}"

    def enter(self, token: str) -> Response:
        """Give the browser its session; a token that was used opens nothing any more."""
        if self._token is None or not hmac.compare_digest(token.encode(), self._token.encode()):
            return refused(403, "this address was used already, or is none; start review again")
        self._token = None
        response = RedirectResponse("/", status_code=303)
        response.set_cookie(COOKIE, self._session, httponly=True, samesite="strict")
        return response

    def may_pass(self, request: Request) -> bool:
        """Whether a request is of the browser that entered, and of a page of ours."""
        if f"http://{request.headers.get('host')}" != self.origin:
            return False  # another name for this machine: a page elsewhere that had it rebound
        if request.method != "GET" and request.headers.get("origin") != self.origin:
            return False
        cookie = request.cookies.get(COOKIE, "")
        is_entering = request.method == "GET" and request.url.path == "/enter"
        return is_entering or hmac.compare_digest(cookie.encode(), self._session.encode())


def refused(status: int, *lines: str) -> JSONResponse:
    """An answer that says why not."""
    return JSONResponse({"error": list(lines)}, status_code=status)


def make_app(desk: Desk, door: Door) -> FastAPI:
    """The pages and what they send to, behind the door."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)

    @app.middleware("http")
    async def guard(request: Request, serve: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await serve(request) if door.may_pass(request) else refused(403, "not from here")
        response.headers.update(SAFE)
        return response

    @app.exception_handler(TwinbandError)
    async def say(_: Request, error: TwinbandError) -> Response:
        return refused(422, *str(error).splitlines())

    @app.exception_handler(RequestValidationError)
    async def say_invalid(_: Request, error: RequestValidationError) -> Response:
        told = [f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors()]
        return refused(422, *told)

    @app.get("/enter")
    def enter(token: str = "") -> Response:
        return door.enter(token)

    _add_pages(app, desk)
    return app


def _add_pages(app: FastAPI, desk: Desk) -> None:
    pages = templates(PAGES, REPORT_PAGES)

    @app.get("/")
    def first() -> Response:
        recordings = list(desk.opened().recordings())
        waiting = [r.id for _, r in recordings if r.review is None] or [recordings[0][1].id]
        return RedirectResponse(f"/recordings/{waiting[0]}", status_code=303)

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in STATIC:
            return refused(404, "no such file")
        return FileResponse(STATIC[name] / name)

    @app.get("/films/{recording}/{clip}")
    def film(recording: Slug, clip: Slug) -> Response:
        outcome = desk.outcome(recording)
        for facts in outcome.clips if outcome is not None else ():
            if facts.clip == clip:
                return FileResponse(desk.look(facts)[1], media_type="video/mp4")
        return refused(404, "no film")

    @app.get("/recordings/{recording}")
    def page(recording: Slug, clip: str = "") -> Response:
        values = page_of(desk, recording, clip)
        return HTMLResponse(pages.get_template("review.html").render(values))

    @app.post("/recordings/{recording}")
    def decide(recording: Slug, edit: ReviewEdit) -> Response:
        _, found = run_find(desk.catalog, recording)
        changes = changes_of(edit, found, desk)
        now = run_change(desk.catalog, recording, changes) if changes else found
        return JSONResponse({"written": sorted(changes), "recording": now.model_dump(mode="json")})


def page_of(desk: Desk, recording: str, clip: str) -> Mapping[str, object]:
    """What the page of a recording is made of.

    Raises:
        CatalogError: the catalog has problems.
        ReviewError: it has no such recording.
    """
    catalog = desk.opened()
    recordings = list(catalog.recordings())
    names = [one.id for _, one in recordings]
    if recording not in names:
        raise ReviewError(f"{desk.catalog} has no recording {recording}; it may have been renamed")
    place = names.index(recording)
    session, found = recordings[place]
    clips = desk.clips(recording, catalog)
    shown = next((one for one in clips if one.facts.clip == clip), clips[0] if clips else None)
    waiting = [r.id for _, r in recordings[place + 1 :] + recordings[:place] if r.review is None]
    outcome = desk.outcome(recording)
    return {
        "dataset": catalog.dataset.name,
        "recordings": [_listed(one, one_session) for one_session, one in recordings],
        "reviewed": sum(one.review is not None for _, one in recordings),
        "session": session,
        "recording": found,
        "clips": clips,
        "shown": shown,
        "next": waiting[0] if waiting else None,
        "rejection": None if outcome is None else outcome.rejection,
        "is_built": outcome is not None,
    }


def _listed(recording: Recording, session: Session) -> dict[str, str]:
    state = "waiting" if recording.review is None else f"{recording.review.decision}ed"
    return {"id": recording.id, "session": session.id, "state": state}


def serve_review(
    catalog: Path, work: Path | str, port: int, announce: Callable[[str], None]
) -> Mapping[str, int]:
    """Serve the page on loopback until the process is told to stop.

    Args:
        catalog: decisions are written there.
        work: the workspace; looks at clips are kept there.
        port: 0 takes any that is free.
        announce: told of the address to open, which works once.

    Returns:
        How many recordings are accepted, rejected and waiting.

    Raises:
        CatalogError: the catalog has problems.
        OSError: the port is taken.
    """
    with opened_workspace(work, "facts/*", "looks/*") as workspace:
        desk = Desk(catalog, workspace)
        desk.opened()
        _serve(desk, port, announce)
        workspace.keep()
    reviews = [recording.review for _, recording in desk.opened().recordings()]
    return {
        "accepted": sum(one is not None and one.decision == "accept" for one in reviews),
        "rejected": sum(one is not None and one.decision == "reject" for one in reviews),
        "waiting": reviews.count(None),
    }


def _serve(desk: Desk, port: int, announce: Callable[[str], None]) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        door = Door(listener.getsockname()[1])
        app = make_app(desk, door)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        listener.listen()
        with suppress(KeyboardInterrupt):
            announce(door.address())
            server.run(sockets=[listener])
