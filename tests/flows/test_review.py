"""`twinband review` in a real browser: decisions are in the catalog at once, and builds obey."""

import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from flows.review import Desk
from pipeline.review_catalog import run_find
from pipeline.workspace import Workspace, load
from schemas.catalog import Recording
from schemas.facts import ShardFacts
from tests.flows.browser import DESK, LAPTOP, Visit, chromium, visiting
from tests.flows.conftest import Built
from tests.flows.rig import (
    COMMAND,
    FPS,
    QUAY_FRAMES,
    Running,
    build,
    harbour,
    registered,
    running,
    wait_until,
    write_catalog,
)

ADDRESS = re.compile(r"open (http://127\.0\.0\.1:\d+)(/enter\?token=\S+)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def catalog(built: Built, tmp_path: Path) -> Path:
    """A catalog of one's own beside the built one, which names the same footage."""
    text = built.catalog.read_text()
    path = tmp_path / "catalog.yaml"
    path.write_text(f"# ours\n{text}")
    return path


@pytest.fixture
def work(built: Built, tmp_path: Path) -> Path:
    return built.copy(tmp_path)


@contextmanager
def reviewing(catalog: Path, work: Path) -> Iterator[tuple[Running, str, str]]:
    """The running command, where it serves, and the way in that works once."""
    with running(COMMAND, "review", "-c", catalog, "--work", work, "--json") as command:
        wait_until(lambda: ADDRESS.search(command.said()) is not None, "the page is served")
        found = ADDRESS.search(command.said())
        assert found is not None
        yield command, found[1], found[1] + found[2]


def entered(visit: Visit, address: str) -> Page:
    visit.page.goto(address)
    expect(visit.page.locator("h1")).to_be_visible()
    return visit.page


def written(catalog: Path, recording: str) -> Recording:
    return run_find(catalog, recording)[1]


@pytest.mark.slow
def test_recordings_are_gone_through_by_keys_and_the_catalog_has_each_decision_at_once(
    catalog: Path, work: Path, browser: Browser
) -> None:
    with reviewing(catalog, work) as (command, _, address), visiting(browser) as visit:
        page = entered(visit, address)
        expect(page.locator("#progress")).to_have_text("0 of 2 reviewed")
        first = page.locator("body").get_attribute("data-recording") or ""
        expect(page.locator("#where")).to_contain_text("pair 0 of")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#where")).to_contain_text("pair 1 of")
        visit.picture("review")

        page.keyboard.press("a")
        expect(page.locator("#progress")).to_have_text("1 of 2 reviewed")
        accepted = written(catalog, first).review
        expect(page.locator("#where")).to_contain_text("pair 0 of")
        second = page.locator("body").get_attribute("data-recording") or ""
        page.keyboard.press("r")
        expect(page.locator("#said")).to_contain_text("a rejection needs a reason")
        page.fill("#reason", "a bus <b>stands</b> before it")
        page.click("#reject")
        expect(page.locator("#progress")).to_have_text("2 of 2 reviewed")
        rejected = written(catalog, second).review
        expect(page.locator("#said")).to_contain_text("<b>stands</b>")
        command.process.send_signal(signal.SIGINT)
        answer = command.answer()

    assert accepted is not None
    assert accepted.decision == "accept"
    assert rejected is not None
    assert rejected.reason == "a bus <b>stands</b> before it"
    assert catalog.read_text().startswith("# ours\n")
    assert (answer.code, answer.document) == (0, {"accepted": 1, "rejected": 1, "waiting": 0})
    assert visit.errors == []


@pytest.mark.slow
def test_tags_and_trims_are_written_and_the_next_build_obeys(
    catalog: Path, work: Path, browser: Browser
) -> None:
    with reviewing(catalog, work) as (_, _, address), visiting(browser) as visit:
        page = entered(visit, address)
        page.goto(page.url.rsplit("/", 1)[0] + "/quay")
        page.fill("#tags", "night, low-light")
        page.click("#tag")
        expect(page.locator("#said")).to_have_text("written: tags")
        page.fill("#tags", "No Tag!")
        page.click("#tag")
        expect(page.locator("#said")).to_contain_text("tags")
        page.keyboard.press("Home")
        page.locator("#player").focus()
        page.keyboard.press("i")
        page.fill("#scrub", "20")
        expect(page.locator("#where")).to_contain_text("pair 20 of")
        page.locator("#player").focus()
        page.keyboard.press("o")
        page.fill("#why", "a hand before the lens")
        page.click("#trim")
        expect(page.locator("#spans li")).to_contain_text("0.00 to 0.80 s: a hand")

    now = written(catalog, "quay")
    answer = build(catalog, work)
    outcome = load(Workspace(work).facts("quay", "shard"), ShardFacts)
    assert now.tags == ("low-light", "night")
    assert [(s.from_s, s.to_s) for s in now.leave_out] == [(0.0, 0.8)]
    assert answer.code == 0, answer.complaints
    assert outcome is not None
    assert outcome.clips[0].pairs == 60
    assert "a hand before the lens" in outcome.left_out[0].reason


@pytest.mark.slow
def test_four_points_that_are_dragged_correct_the_homography(
    catalog: Path, work: Path, browser: Browser
) -> None:
    outcome = load(Workspace(work).facts("walk", "shard"), ShardFacts)
    assert outcome is not None
    clip = outcome.clips[0]
    with reviewing(catalog, work) as (_, _, address), visiting(browser, DESK) as visit:
        page = entered(visit, address)
        page.goto(page.url.rsplit("/", 1)[0] + "/walk")
        expect(page.locator("#where")).to_contain_text("pair 0 of")
        box = page.locator("#stack").bounding_box()
        assert box is not None
        scale = clip.width / box["width"]
        for handle in page.locator(".handle").all():
            at = handle.bounding_box()
            assert at is not None
            x, y = at["x"] + at["width"] / 2, at["y"] + at["height"] / 2
            page.mouse.move(x, y)
            page.mouse.down()
            page.mouse.move(x + 12, y - 8, steps=4)
            page.mouse.up()
        visit.picture("points")
        page.click("#homography")
        expect(page.locator("#said")).to_have_text(re.compile("written: homography"))
        page.fill("#shift", "2")
        page.click("#offset")
        expect(page.locator("#said")).to_have_text("written: offset_s")

    now = written(catalog, "walk")
    assert now.homography is not None
    before, after = np.array(clip.homography), np.array(now.homography)
    places = np.array([[20, 15, 1], [40, 30, 1]]).T
    there, here = ((h @ places)[:2] / (h @ places)[2] for h in (before, after))
    moved = (here - there).T
    assert moved == pytest.approx(np.tile([12 * scale, -8 * scale], (2, 1)), abs=0.2 * scale)
    assert now.offset_s == pytest.approx(clip.offset_s - 2 / clip.fps, abs=1e-5)
    assert visit.errors == []


def test_no_page_is_wider_than_the_screen_or_asks_elsewhere(
    catalog: Path, work: Path, browser: Browser
) -> None:
    with reviewing(catalog, work) as (_, origin, address), visiting(browser) as visit:
        page = entered(visit, address)
        for width, height in (LAPTOP, DESK):
            page.set_viewport_size({"width": width, "height": height})
            for recording in ("walk", "quay"):
                page.goto(f"{origin}/recordings/{recording}")
                expect(page.locator("#where")).to_contain_text("pair 0 of")
                visit.picture(f"review-{recording}")
                assert visit.overflow_px() == 0
        # of the two, quay is registered, so that nothing of it is to be corrected
        assert page.locator(".handle").count() == 0

    assert visit.errors == []
    assert all(url.startswith((origin, "data:")) for url in visit.asked), visit.asked


@pytest.mark.slow
def test_a_clip_begins_when_its_first_frame_was_filmed_whatever_was_lost_before(
    built: Built, tmp_path: Path
) -> None:
    quay = tmp_path / "footage" / "quay"
    shutil.copytree(built.footage / "quay", quay)
    times_s = [number / FPS + (0.2 if number >= 40 else 0) for number in range(QUAY_FRAMES)]
    rows = "".join(f"{number},{time_s}\n" for number, time_s in enumerate(times_s))
    (quay / "times.csv").write_text(f"frame,time_s\n{rows}")
    clock = {"infrared": "quay/times.csv", "visible": "quay/times.csv"}
    sessions = [harbour(registered("quay", timestamps=clock))]
    catalog = write_catalog(tmp_path / "gap.yaml", tmp_path / "footage", sessions)
    assert build(catalog, tmp_path / "work").code == 0

    desk = Desk(catalog, Workspace(tmp_path / "work"))
    clips = desk.clips("quay", desk.opened())

    assert [clip.facts.clip for clip in clips] == ["quay-000000", "quay-000040"]
    assert [clip.start_s for clip in clips] == pytest.approx([0, 40 / FPS + 0.2])


def test_nobody_else_is_let_in(catalog: Path, work: Path) -> None:
    text = catalog.read_text()
    edit = {"decision": "accept"}
    with reviewing(catalog, work) as (_, origin, address):
        with httpx2.Client(base_url=origin) as stranger:
            statuses = [
                stranger.get("/recordings/quay").status_code,
                stranger.post("/recordings/quay", json=edit).status_code,
                stranger.get("/enter?token=guessed").status_code,
            ]
        with httpx2.Client(base_url=origin) as owner:
            assert owner.get(address).status_code == 303
            here = owner.get("/recordings/quay").status_code
            rebound = owner.get("/recordings/quay", headers={"Host": "evil.example"}).status_code
            for origin_sent in ("http://evil.example", None):
                headers = {} if origin_sent is None else {"Origin": origin_sent}
                answer = owner.post("/recordings/quay", json=edit, headers=headers)
                statuses.append(answer.status_code)
            allowed = owner.post("/recordings/quay", json=edit, headers={"Origin": origin})
            bad = owner.post("/recordings/..%2f", json=edit, headers={"Origin": origin})
        with httpx2.Client(base_url=origin) as late:
            statuses.append(late.get(address).status_code)

    assert statuses == [403] * 6
    assert (here, rebound, allowed.status_code, bad.status_code) == (200, 403, 200, 404)
    assert catalog.read_text() != text
    assert "frame-ancestors 'none'" in allowed.headers["Content-Security-Policy"]


def test_a_kill_right_after_a_decision_loses_nothing(catalog: Path, work: Path) -> None:
    with reviewing(catalog, work) as (command, origin, address):
        with httpx2.Client(base_url=origin, headers={"Origin": origin}) as owner:
            owner.get(address)
            owner.post("/recordings/quay", json={"decision": "reject", "reason": "too dark"})
            refused = owner.post("/recordings/quay", json={"correction": None, "offset_s": 99})
        command.process.kill()
        command.process.wait()

    review = written(catalog, "quay").review
    assert review is not None
    assert review.reason == "too dark"
    assert refused.status_code == 422
    assert "offset_s" in refused.json()["error"][0]
