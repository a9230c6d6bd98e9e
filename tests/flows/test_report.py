"""`twinband report`, opened from the disk in a real browser."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from flows.progress import silence
from flows.release import release_dataset
from pipeline.publish import run_release
from pipeline.publish_verify import verify_release
from pipeline.report import run_report
from pipeline.workspace import Workspace
from schemas.errors import ReleaseError
from schemas.release import Release, newest
from tests.flows.browser import DESK, LAPTOP, chromium, visiting
from tests.flows.conftest import Built
from tests.flows.rig import COMMAND, Answer, running
from tests.pipeline.studio import Studio

HOSTILE = (
    "<script>document.title='taken'</script> \"quoted\" 'single' ../../etc \u202egnp.exe "
    + "long" * 50
)


@dataclass(frozen=True)
class Reported:
    """A report made by the command, of a release with everything in it."""

    folder: Path
    work: Path
    answer: Answer
    release: Release

    def address(self, page: str = "index.html") -> str:
        return (self.folder / page).as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def reported(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Reported:
    work = built.copy(tmp_path_factory.mktemp("reported"))
    release = release_dataset(built.catalog, "v0.1.0", work)
    with running(COMMAND, "report", "--work", work, "--json") as command:
        answer = command.answer()
    return Reported(work / "reports" / "v0.1.0", work, answer, release)


def test_the_command_says_where_to_look_and_leaves_the_release_as_it_is(
    reported: Reported,
) -> None:
    assert reported.answer.code == 0, reported.answer.complaints
    assert reported.answer.document == {
        "report": str(reported.folder / "index.html"),
        "version": "v0.1.0",
        "clips": len(reported.release.clips),
    }
    assert verify_release("v0.1.0", Workspace(reported.work), quick=True) == []


@pytest.mark.parametrize("size", [LAPTOP, DESK])
def test_every_page_opens_without_an_error_a_request_elsewhere_or_an_overflow(
    reported: Reported, browser: Browser, size: tuple[int, int]
) -> None:
    with visiting(browser, size) as visit:
        for page in ("index.html", *(f"clips/{c.clip}.html" for c in reported.release.clips)):
            visit.page.goto(reported.address(page))
            visit.page.wait_for_load_state("load")
            visit.picture(page.replace("/", "-").removesuffix(".html"))
            assert visit.overflow_px() == 0, page
            empty = visit.page.evaluate(
                "[...document.querySelectorAll('section, figure, td')]"
                ".filter(box => !box.innerText.trim() && !box.querySelector('img, canvas')).length"
            )
            broken = visit.page.evaluate(
                "[...document.images].filter(i => i.loading !== 'lazy' && !i.naturalWidth).length"
            )
            assert (empty, broken) == (0, 0), page

    assert visit.errors == []
    assert all(url.startswith(("file://", "data:")) for url in visit.asked), visit.asked


def test_the_numbers_are_those_of_the_manifest(reported: Reported, browser: Browser) -> None:
    release = reported.release
    with visiting(browser) as visit:
        visit.page.goto(reported.address())
        told = visit.page.locator(".figure").all_inner_texts()
        rows = visit.page.locator("#splits tbody tr").all_inner_texts()
        cards = visit.page.locator(".card").all_inner_texts()

    figures = dict(text.split("\n")[::-1] for text in told)
    assert figures["clips"] == str(len(release.clips))
    assert figures["pairs of frames"] == f"{sum(clip.pairs for clip in release.clips):,}"
    assert figures["sites"] == str(len({clip.site for clip in release.clips}))
    assert figures["recordings left out"] == str(len(release.rejections))
    assert {row.split("\t")[0]: int(row.split("\t")[1]) for row in rows} == release.split_counts()
    for clip, card in zip(release.clips, cards, strict=True):
        assert clip.clip in card
        assert f"{clip.split} · {clip.site} · {clip.pairs} pairs" in card


def test_a_clip_s_page_tells_its_relation_and_evidence(
    reported: Reported, browser: Browser
) -> None:
    clip = next(clip for clip in reported.release.clips if clip.recording == "walk")
    with visiting(browser) as visit:
        visit.page.goto(reported.address(f"clips/{clip.clip}.html"))
        text = visit.page.inner_text("main")
        matrix = visit.page.locator(".matrix td").all_inner_texts()
        charts = visit.page.locator("img.chart").count()

    assert f"{clip.offset_s:+.4f} s" in text
    assert clip.root_hash in text
    assert matrix == [f"{value:.6g}" for row in clip.homography for value in row]
    assert charts == 4  # levels, times, clocks, residuals


def test_the_player_plays_steps_scrubs_and_compares(reported: Reported, browser: Browser) -> None:
    clip = reported.release.clips[0]
    with visiting(browser) as visit:
        page = visit.page
        where, compared = page.locator("#where"), page.locator("#registration")
        page.goto(reported.address(f"clips/{clip.clip}.html"))
        expect(where).to_contain_text("pair 0 of")

        page.keyboard.press("ArrowRight")
        expect(where).to_contain_text("pair 1 of")
        page.click("#on")
        expect(where).to_contain_text("pair 2 of")
        page.click("#back")
        expect(where).to_contain_text("pair 1 of")
        page.keyboard.press("End")
        expect(where).to_contain_text(f"pair {page.get_attribute('#scrub', 'max')} of")
        page.fill("#scrub", "5")
        expect(where).to_contain_text("pair 5 of")
        page.select_option("#speed", "2")
        page.click("#play")
        expect(where).to_have_text(re.compile(r"pair (9|[1-9]\d) of"))
        page.focus("#player")
        page.keyboard.press(" ")
        expect(page.locator("#play")).to_have_text("play")

        for key, mode in enumerate(("checkerboard", "wipe", "blink", "colours", "difference"), 1):
            page.keyboard.press(str(key))
            expect(compared).to_have_attribute("data-drawn", re.compile(f"{mode} "))
        page.keyboard.press("2")
        page.keyboard.press("ArrowUp")
        expect(compared).to_have_attribute("data-drawn", "wipe 55")
        visit.picture("wipe")

    assert visit.errors == []


def test_clips_are_found_by_word_and_split(reported: Reported, browser: Browser) -> None:
    clip = reported.release.clips[0]
    with visiting(browser) as visit:
        visit.page.goto(reported.address())
        visit.page.fill("#find", clip.clip)
        assert visit.page.locator(".card:visible").count() == 1
        visit.page.fill("#find", "nothing has this name")
        assert visit.page.locator(".card:visible").count() == 0
        assert visit.page.input_value("#find") != ""
        visit.page.fill("#find", "")
        visit.page.uncheck(f"input[name=split][value={clip.split}]")
        counts = reported.release.split_counts()
        left = len(reported.release.clips) - counts[clip.split]
        assert visit.page.locator(".card:visible").count() == left


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path, ["quay", "roof"])


def test_hostile_text_is_shown_as_text_and_does_not_widen_the_page(
    studio: Studio, browser: Browser
) -> None:
    catalog = studio.catalog(HOSTILE)
    dataset = catalog.dataset.model_copy(update={"licence": "<img src=x onerror=alert(1)>"})
    run_release(
        catalog.model_copy(update={"dataset": dataset}),
        "v1.0.0",
        studio.workspace,
        studio.outcomes,
    )

    page, _ = run_report("v1.0.0", studio.workspace, None, silence)

    with visiting(browser) as visit:
        visit.page.goto(page.as_uri())
        assert visit.page.title() == "harbour v1.0.0"
        assert "<script>document.title='taken'</script>" in visit.page.inner_text("main")
        assert "<img src=x onerror=alert(1)>" in visit.page.inner_text("main")
        assert visit.overflow_px() == 0
        assert visit.errors == []


def test_what_changed_since_the_release_before_is_told(studio: Studio, browser: Browser) -> None:
    studio.release("v1.9.0")
    studio.add("pier")
    studio.release("v1.10.0")

    page, release = run_report(None, studio.workspace, None, silence)

    assert release.version == "v1.10.0"
    with visiting(browser) as visit:
        visit.page.goto(page.as_uri())
        text = visit.page.inner_text("main")
    assert "Changes since v1.9.0" in text
    assert "1 clips added, 0 removed, 0 changed, 2 unchanged" in text
    assert "added pier-walk-000" in text


def test_a_report_takes_the_place_of_one_and_of_nothing_else(
    studio: Studio, tmp_path: Path
) -> None:
    studio.release()
    out = tmp_path / "pages"
    run_report("v1.0.0", studio.workspace, out, silence)
    (out / "clips" / "stale.html").touch()

    run_report("v1.0.0", studio.workspace, out, silence)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()

    assert not (out / "clips" / "stale.html").exists()
    with pytest.raises(ReleaseError, match=r"mine holds something that is no report"):
        run_report("v1.0.0", studio.workspace, tmp_path / "mine", silence)
    assert (tmp_path / "mine" / "letter.txt").exists()
    assert sorted(path.name for path in out.iterdir()) == (
        ["clips", "index.html", "media", "report.css", "report.js"]
    )


def test_no_release_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"holds no release; run twinband release first"):
        run_report(None, Workspace(tmp_path), None, silence)


def test_versions_are_ordered_by_their_numbers() -> None:
    assert newest(["v1.9.0", "v1.10.0", "v0.99.99"]) == "v1.10.0"
    assert newest(["v1.9.0", "v1.10.0", "v0.99.99"], before="v1.10.0") == "v1.9.0"
    assert newest(["v1.9.0"], before="v1.9.0") is None
