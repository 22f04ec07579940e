"""The page of `policy try`, opened in a real browser."""

from collections.abc import Iterator

import orjson
import pytest

from tests.browser import OpenedPage, opened
from tests.stored_verdicts import stored_verdict
from worker.commands.policy.trial_page import trial_page
from worker.commands.policy.trial_run import run_trial
from worker.moderation.policies import parse_policy

HOSTILE = "<img src=https://example.org/x>"
POLICY = """\
schema: policy/1
version: next
levels: [review, remove]
thresholds:
  default: {review: 0.5, remove: 0.9}
  hate: {review: 0.3}
exempt: [{name: staff, when: {role: mod}}]
"""
VERDICTS = [
    orjson.dumps(one)
    for one in (
        stored_verdict(7, {"hate": 0.4}, channel_id=HOSTILE),
        stored_verdict(8, {"privacy": 0.95}),
        *(stored_verdict(offset, {}) for offset in range(9, 20)),
    )
]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenedPage]:
    report = run_trial(parse_policy(POLICY.encode(), "next.yaml"), "next.yaml", iter([VERDICTS]), examples=3)
    path = tmp_path_factory.mktemp("page") / "trial.html"
    path.write_text(trial_page(report).html(), encoding="utf-8")
    with opened(path) as found:
        yield found


def test_the_page_asks_for_nothing_even_if_a_channel_s_name_is_html(shown: OpenedPage) -> None:
    assert shown.requests_elsewhere == []
    assert shown.complaints == []
    assert shown.page.locator("img").count() == 0
    assert shown.page.get_by_role("rowheader", name=HOSTILE).is_visible()


def test_a_screen_reader_finds_each_figure_in_a_table_and_each_picture_with_its_numbers(shown: OpenedPage) -> None:
    outline = shown.page.locator("body").aria_snapshot()
    for wanted in (
        'heading "Policy trial: next.yaml" [level=1]',
        'table "Flagged messages by category; a message may count in several"',
        'row "Hate 0 1 1 0"',
        'img "Flagged messages by category"',
        'img "Messages by level"',
        'table "Messages by level before and after"',
        'row "flagged remove 1"',
        'table "Hate: newly flagged"',
        'rowheader "chat.messages[0]@7"',
    ):
        assert wanted in outline
    descriptions = shown.page.locator("svg desc").all_text_contents()
    assert descriptions == [
        "Privacy: 1 before, 1 after; Hate: 0 before, 1 after",
        "review: 0 before, 1 after; remove: 0 before, 1 after; flagged: 1 before, 0 after",
    ]


def test_the_page_says_what_could_not_be_tried(shown: OpenedPage) -> None:
    text = shown.page.locator("main").inner_text()
    assert "13 verdicts decided again" in text
    assert "1 before, 2 after; 1 newly alerting, 0 newly silenced." in text
    assert "No verdict of chat.messages has the field role (13 verdicts)." in text


def test_every_table_and_section_can_be_reached_by_keyboard(shown: OpenedPage) -> None:
    page = shown.page
    reached = [name if tag in {"A", "DIV"} else tag for tag, _, name in shown.tabbed(20)]
    tables = page.locator("caption").all_text_contents()
    sections = page.locator("h2").all_text_contents()
    assert [name for name in dict.fromkeys(reached) if name in sections] == sections
    assert [name for name in dict.fromkeys(reached) if name in tables] == tables


def test_the_bars_are_as_long_as_their_counts_and_no_text_leaves_the_picture(shown: OpenedPage) -> None:
    picture = shown.page.locator("svg").first
    width = picture.evaluate("svg => svg.viewBox.baseVal.width")
    boxes = picture.evaluate(
        "svg => [...svg.querySelectorAll('text')].map(one => one.getBBox()).map(box => [box.x, box.x + box.width])"
    )
    assert boxes
    assert all(left >= 0 and right <= width for left, right in boxes)
