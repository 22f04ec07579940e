"""A comparison for people. Pure."""

from collections.abc import Iterator

from schemas.labels import CATEGORY_NAMES
from worker.commands.compare.comparison import ComparedCategory, ComparisonReport, lists_of_examples
from worker.commands.report_page.page import ReportPage, ReportSection, ReportTable
from worker.logs import escaped

FLAGS = ("category", "both flag", "only A flags", "only B flags", "neither flags")
SCORES = ("category", "mean", "mean, no sign", "99 % at most", "largest")
EXAMPLES = ("input", "category", "flagged by", "score A", "score B", "channel")


def comparison_page(report: ComparisonReport) -> ReportPage:
    """Return the page."""
    named = list(zip(CATEGORY_NAMES, report.categories, strict=True))
    flags = report.flags
    totals = ("Any category", *map(str, (flags.both, flags.only_a, flags.only_b, flags.neither)))
    scores = [
        (name, *(f"{value:+.4f}" if field == "mean" else f"{value:.4f}" for field, value in one.scores))
        for name, one in named
        if one.scores is not None
    ]
    examples = [row for name, one in named for row in _examples(name, one)]
    return ReportPage(
        title="Comparison of verdicts",
        paragraphs=list(_paragraphs(report)),
        sections=[
            ReportSection(
                title="Flags",
                tables=[
                    ReportTable(
                        caption="Input records by who flags them",
                        columns=FLAGS,
                        rows=[totals, *(_flags(name, one) for name, one in named)],
                    )
                ],
            ),
            ReportSection(
                title="Scores",
                paragraphs=["Each figure is about the score of B minus the score of A."],
                tables=[ReportTable(caption="How the scores differ", columns=SCORES, rows=scores)],
            ),
            ReportSection(
                title="Examples",
                paragraphs=() if examples else ["No flag differs."],
                tables=[
                    ReportTable(
                        caption="Records whose flags differ, the largest differences first",
                        columns=EXAMPLES,
                        rows=examples,
                    )
                ]
                if examples
                else (),
            ),
        ],
    )


def _paragraphs(report: ComparisonReport) -> Iterator[str]:
    for letter, side in (("A", report.a), ("B", report.b)):
        yield (
            f"{letter} is {side.name}: {side.verdicts} verdicts, policies {', '.join(side.policies) or 'none'}. "
            f"{side.only_here} input records have a verdict only here; {side.repeated} verdicts were replaced by a "
            f"later one; {side.without_source} name no input record."
        )
    yield f"{report.joined} input records have a verdict on both sides. All figures count these."


def _flags(name: str, one: ComparedCategory) -> tuple[str, ...]:
    flags = one.flags
    return (name, *map(str, (flags.both, flags.only_a, flags.only_b, flags.neither)))


def _examples(name: str, category: ComparedCategory) -> Iterator[tuple[str, ...]]:
    for side, examples in lists_of_examples(category):
        for one in examples:
            item = "" if one.item is None else f"#{one.item}"
            place = f"{one.topic}:{one.partition}:{one.offset}{item}"
            yield place, name, side, f"{one.score_a:.3f}", f"{one.score_b:.3f}", escaped(one.channel_id or "-", 60)
