"""The report in a real browser: each chart drawn, nobody asked for anything, light and dark, wide and narrow.

Outside of `make test`, since it needs a Chromium: `make check-report` runs it. pytest does not find it by itself.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal

import pytest
from conftest import MINUTE, NOON, Etl
from playwright.sync_api import Browser, Page, sync_playwright
from test_report import HOSTILE, THAT_DAY, facts_of, lived

from etl.demo.clock import Clock
from etl.demo.membership import Membership
from etl.demo.world import World
from etl.report.page import render

assert lived  # a fixture

SWITCHES = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PHONE, DESK = 360, 1280

Scheme = Literal["light", "dark"]
OpenPage = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # With its own folder for what it keeps, made anew and thrown away.
        home = tmp_path_factory.mktemp("chromium")
        browser = playwright.chromium.launch(
            executable_path=os.environ["CHROMIUM"], args=SWITCHES, env={**os.environ, "HOME": str(home)}
        )
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, file: Path, width: int, scheme: Scheme) -> Iterator[Page]:
    """Open a page from its file, and claim in the end that it complained of nothing and asked for nothing."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url.partition(",")[0]))
    page.goto(file.as_uri())
    page.wait_for_function(
        "document.querySelectorAll('.plot').length == document.querySelectorAll('.plot .plot-container').length"
    )
    yield page
    page.close()
    assert said == []
    assert {each for each in asked if not each.startswith("data:")} == {file.as_uri()}


@pytest.fixture
def page_of(browser: Browser, tmp_path: Path) -> OpenPage:
    """Write the report of a product, and open it."""

    def open_page(etl: Etl, width: int = DESK, scheme: Scheme = "light") -> AbstractContextManager[Page]:
        (tmp_path / "report.html").write_text(render(facts_of(etl, THAT_DAY)), "utf-8")
        return opened(browser, tmp_path / "report.html", width, scheme)

    return open_page


def drawn(page: Page, selector: str) -> int:
    """How many of these there are, bars of nothing left out."""
    return int(
        page.evaluate(
            "selector => [...document.querySelectorAll(selector)]"
            ".filter(each => each.getBoundingClientRect().height > 0).length",
            selector,
        )
    )


def test_each_chart_is_drawn_with_all_that_it_was_given(lived: Etl, page_of: OpenPage) -> None:
    with page_of(lived) as page:
        shown = {
            "ended": drawn(page, "#ended .bars .point path"),
            "open-over-time": drawn(page, "#open-over-time .bars .point path"),
            "queue-spread": drawn(page, "#queue-spread .bars .point path"),
            "run-spread": drawn(page, "#run-spread .bars .point path"),
            "model-times": drawn(page, "#model-times path.box"),
            "success": drawn(page, "#success .scatterlayer path.point"),
            "open-jobs": drawn(page, "#open-jobs .scatterlayer path.point"),
            "capacity": drawn(page, "#capacity .heatmaplayer image"),
        }
    # A success and a failure; twelve hours that began with jobs waiting, and one with one running; two bins each;
    # queue and run of one model; one model; one job and the mark of its model; one picture of all cells.
    assert shown == {
        "ended": 2, "open-over-time": 13, "queue-spread": 2, "run-spread": 2, "model-times": 2, "success": 1,
        "open-jobs": 2, "capacity": 1,
    }  # fmt: skip


def test_bars_are_as_high_as_their_numbers(lived: Etl, page_of: OpenPage) -> None:
    with page_of(lived) as page:
        heights = page.evaluate(
            "[...document.querySelectorAll('#queue-spread .bars .point path')]"
            ".map(each => each.getBoundingClientRect().height)"
        )
    assert heights[0] == pytest.approx(heights[1], abs=1)
    assert heights[0] > 100


def test_no_text_of_a_chart_lies_on_another(lived: Etl, page_of: OpenPage) -> None:
    overlapping = """() => [...document.querySelectorAll('.plot')].flatMap(plot => {
        const texts = [...plot.querySelectorAll('svg text')].filter(each => each.textContent.trim());
        const boxes = texts.map(each => [each.textContent, each.getBoundingClientRect()]);
        return boxes.flatMap(([text, a], place) => boxes.slice(place + 1)
            .filter(([, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
                && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4)
            .map(([other]) => [plot.id, text, other]));
    })"""
    for width in (DESK, PHONE):
        with page_of(lived, width) as page:
            assert page.evaluate(overlapping) == []


def colours(page: Page) -> list[str]:
    """The page's own colours, and those of a bar and of the letters in a chart."""
    found: list[str] = page.evaluate(
        """() => [
            getComputedStyle(document.body).backgroundColor,
            getComputedStyle(document.body).color,
            getComputedStyle(document.querySelector('#ended .bars .point path')).fill,
            getComputedStyle(document.querySelector('#ended .legendtext')).fill,
        ]"""
    )
    return found


def test_light_and_dark_differ_in_each_colour_also_when_they_change_while_it_is_open(
    lived: Etl, page_of: OpenPage
) -> None:
    with page_of(lived, scheme="dark") as page:
        dark = colours(page)
        page.emulate_media(color_scheme="light")
        page.wait_for_function(
            "before => getComputedStyle(document.querySelector('#ended .legendtext')).fill != before", arg=dark[3]
        )
        changed = colours(page)
    with page_of(lived) as page:
        light = colours(page)
    assert changed == light
    assert all(one != other for one, other in zip(dark, light, strict=True))


def test_on_paper_it_is_light(lived: Etl, page_of: OpenPage) -> None:
    with page_of(lived) as page:
        light = colours(page)
    with page_of(lived, scheme="dark") as page:
        page.emulate_media(media="print")
        page.wait_for_function(
            "colour => getComputedStyle(document.querySelector('#ended .legendtext')).fill == colour", arg=light[3]
        )
        assert colours(page)[1:] == light[1:]


def test_a_narrow_screen_scrolls_tables_within_their_boxes_and_never_the_page(
    lived: Etl, page_of: OpenPage
) -> None:
    with page_of(lived, PHONE) as page:
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE
        assert page.evaluate(
            "[...document.querySelectorAll('.scroll')].some(each => each.scrollWidth > each.clientWidth)"
        )
        beyond = "each => each.getBoundingClientRect().right > innerWidth"
        assert not page.evaluate(f"[...document.querySelectorAll('.plot svg')].some({beyond})")
        assert drawn(page, "#ended .bars .point path") == 2


def test_pointing_at_a_bar_tells_its_number_with_its_unit(lived: Etl, page_of: OpenPage) -> None:
    with page_of(lived) as page:
        page.locator("#run-spread .bars .point").first.scroll_into_view_if_needed()
        box = page.locator("#run-spread .bars .point path").first.bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_selector("#run-spread .hovertext")
        told = page.locator("#run-spread .hovertext").text_content() or ""
    assert "1 job (50.0 %)" in told
    assert "took 26 min to 42 min" in told


def test_a_hostile_name_is_read_as_it_is_written(
    etl: Etl, world: World, clock: Clock, membership: Membership, page_of: OpenPage
) -> None:
    job = world.create_job(membership, world.add_trained_model(membership, "<i>x</i>"), name="gone")
    world.create_job(membership, name="<b>x</b>")
    world.create_job(membership, name=HOSTILE)
    etl.sync()
    clock.set(NOON + 10 * MINUTE)
    world.set_status(job, "CREATE_FAILED")
    etl.sync()
    with page_of(etl) as page:
        labels = page.locator("#open-jobs .ytick text").all_text_contents()
        assert page.title().startswith("Clean Rooms ML inference jobs")
        assert "<i>x</i>" in page.locator("#success .ytick text").all_text_contents()
    assert sorted(labels) == ["</script><scrip…> \\u202egnp\\x07", "<b>x</b>"]


def test_an_empty_page_draws_nothing_and_breaks_nothing(etl: Etl, page_of: OpenPage) -> None:
    with page_of(etl, PHONE) as page:
        assert drawn(page, ".plot") == 0
        assert drawn(page, ".nothing") == 13  # eight charts, five tables
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE


def test_the_page_is_forbidden_to_ask_anybody(lived: Etl, browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(render(facts_of(lived, THAT_DAY)), "utf-8")
    page = browser.new_page()
    page.goto(file.as_uri())
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    refused = page.evaluate("fetch('http://127.0.0.1:1/').catch(error => error.message)")
    page.close()
    assert (refused, asked) == ("Failed to fetch", [])
