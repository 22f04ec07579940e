"""The pages of reports, opened in a real browser."""

import re
from collections.abc import Iterator

import pytest

from tests.browser import OpenedPage, opened
from worker.commands.report_page.charts import Chart, ScoreHistogram
from worker.commands.report_page.page import ReportPage, ReportSection, ReportTable

HOSTILE = "<script>alert(1)</script>&\"'"

TABLE = ReportTable(caption="A wide table", columns=["category", *"abcdefghij"], rows=[["hate", *["100.0 %"] * 10]])
CURVE = Chart(
    title="ROC",
    description="Hate: area under the curve 0.812.",
    x_label="false-alarm rate",
    y_label="recall",
    curves=[("recall", [(0, 0), (0.2, 0.9), (1, 1)])],
    point=(0.2, 0.9),
)
HISTOGRAM = Chart(
    title="Scores",
    description=f"Shares of scores. {HOSTILE}",
    x_label="score",
    y_label="share",
    histograms=[
        ScoreHistogram(name="with label", shares=[0.2, 0.8]),
        ScoreHistogram(name="without label", shares=[0.9, 0.1]),
    ],
    threshold=0.5,
    numbers=ReportTable(caption="Shares by score", columns=["score", "share"], rows=[["0.0 to 0.5", "0.2"]]),
)
PAGE = ReportPage(
    title=f"Report of {HOSTILE}",
    paragraphs=["A sentence.", f"The version {'v' * 200}."],
    sections=[
        ReportSection(title="Figures", paragraphs=[HOSTILE], tables=[TABLE]),
        ReportSection(title="Curves", charts=[CURVE, HISTOGRAM]),
    ],
)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenedPage]:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(PAGE.html(), encoding="utf-8")
    with opened(path) as found:
        yield found


def test_the_page_asks_for_nothing_and_the_browser_does_not_complain(shown: OpenedPage) -> None:
    assert shown.requests_elsewhere == []
    assert sum(address.startswith("file:") for address in shown.requests) == 1
    assert shown.complaints == []


def test_the_page_names_no_address_and_has_no_script() -> None:
    page = PAGE.html()
    assert not re.search(r"https?://|<script|@import|url\(", page)
    assert page.count("&lt;script&gt;") >= 3


def test_text_of_the_report_is_text_in_the_page(shown: OpenedPage) -> None:
    assert shown.page.title() == f"Report of {HOSTILE}"
    assert shown.page.locator("section p").first.text_content() == HOSTILE


def test_a_screen_reader_finds_landmarks_headings_tables_and_pictures(shown: OpenedPage) -> None:
    outline = shown.page.locator("body").aria_snapshot()
    for wanted in (
        "- banner:",
        '- navigation "Sections":',
        "- main:",
        '- heading "Figures" [level=2]',
        '- table "A wide table":',
        '- columnheader "category"',
        '- rowheader "hate"',
        '- img "ROC"',
        '- img "Scores"',
    ):
        assert wanted in outline
    described = shown.page.locator("svg desc").all_text_contents()
    assert described == [CURVE.description, HISTOGRAM.description]


def test_every_link_table_and_detail_can_be_reached_and_opened_by_keyboard(shown: OpenedPage) -> None:
    page = shown.page
    reached = shown.tabbed(6)
    assert reached == [
        ["A", None, "Skip to the content"],
        ["A", None, "Figures"],
        ["A", None, "Curves"],
        ["DIV", "region", "A wide table"],
        ["SUMMARY", None, "Numbers of this chart: Scores"],
        ["BODY", None, reached[5][2]],
    ]
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("table", name="Shares by score").is_visible()


def test_the_skip_link_leads_to_the_content(shown: OpenedPage) -> None:
    shown.page.locator(".skip").focus()
    shown.page.keyboard.press("Enter")
    assert shown.page.evaluate("document.activeElement.id") == "content"


def test_a_wide_table_scrolls_by_keyboard_and_the_page_does_not_become_wider(shown: OpenedPage) -> None:
    page = shown.page
    page.set_viewport_size({"width": 320, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    region = page.get_by_role("region", name="A wide table")
    region.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("element => element.scrollLeft > 0", arg=region.element_handle())
    page.set_viewport_size({"width": 1280, "height": 900})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_in_light_and_dark(shown: OpenedPage, scheme: str) -> None:
    """WCAG 2.2 wants 4.5 to 1 for text of this size."""
    shown.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    colours = shown.page.evaluate(
        """() => [...document.querySelectorAll('h1, p, caption, th, td, a, figcaption, summary')].map(
            one => [getComputedStyle(one).color, getComputedStyle(document.body).backgroundColor])"""
    )
    assert colours
    assert min(contrast(*pair) for pair in colours) >= 4.5


def contrast(one: str, other: str) -> float:
    """Return WCAG's contrast ratio of two colours such as ``rgb(1, 2, 3)``."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """Return WCAG's relative luminance."""
    shares = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in shares]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
