"""A trial's result as a page: bars before and after, tables, and examples by offset."""

from collections.abc import Iterator

from worker.commands.policy.trial_report import TrialExample, TrialReport
from worker.commands.policy.trial_sentences import NAMES, alert_sentence, caveats, example_groups, summary
from worker.commands.policy.trial_tables import COUNTS, NOTHING, place
from worker.commands.report_page.bars import BarChart
from worker.commands.report_page.page import ReportPage, ReportSection, ReportTable
from worker.logs import escaped

SERIES = ("before", "after")
EXAMPLE_COLUMNS = ("message", "channel", "time", "score", "threshold", "level before", "level after", "rule")


def trial_page(report: TrialReport) -> ReportPage:
    """Return the page. It has ids of channels and offsets, and no text of a message."""
    return ReportPage(
        title=f"Policy trial: {report.policy.file}",
        paragraphs=[f"{summary(report)}.", *_paragraphs(report)],
        sections=list(_sections(report)),
    )


def _paragraphs(report: TrialReport) -> Iterator[str]:
    versions = ", ".join(f"{one.version} ({one.verdicts:,})" for one in report.judged_by)
    yield f"Before: as the messages were judged, by the policy versions {versions or NOTHING}."
    yield f"After: as {report.policy.file} decides, version {report.policy.version}."
    if report.flagged.before or report.flagged.after:
        yield alert_sentence(report)
    yield from caveats(report)


def _sections(report: TrialReport) -> Iterator[ReportSection]:
    yield _category_section(report)
    yield _level_section(report)
    yield ReportSection(
        title="Rules",
        tables=[
            ReportTable(
                caption="Messages by the rule that decides",
                columns=("rule", "messages", *COUNTS),
                rows=[
                    (
                        one.rule or "no rule",
                        f"{one.verdicts:,}",
                        *_counts(one.before, one.after, one.newly_flagged, one.newly_passed),
                    )
                    for one in report.rules
                ],
            )
        ],
    )
    more = report.channels_changed - len(report.channels)
    if report.channels:
        yield ReportSection(
            title="Channels",
            paragraphs=[f"{more:,} more channels have changes."] if more else (),
            tables=[
                ReportTable(
                    caption="The channels with most changes",
                    columns=("channel", *COUNTS[2:]),
                    rows=[
                        (escaped(one.channel_id or NOTHING, 60), *_counts(one.newly_flagged, one.newly_passed))
                        for one in report.channels
                    ],
                )
            ],
        )
    yield _example_section(report)


def _category_section(report: TrialReport) -> ReportSection:
    shown = [one for one in report.categories if one.before or one.after]
    return ReportSection(
        title="Categories",
        tables=[
            ReportTable(
                caption="Flagged messages by category; a message may count in several",
                columns=("category", *COUNTS),
                rows=[
                    (NAMES[one.category], *_counts(one.before, one.after, one.newly_flagged, one.newly_passed))
                    for one in report.categories
                ],
            )
        ],
        charts=[
            BarChart(
                title="Flagged messages by category",
                description="; ".join(
                    f"{NAMES[one.category]}: {one.before:,} before, {one.after:,} after" for one in shown
                )
                or "No message is flagged.",
                series=SERIES,
                rows=[(NAMES[one.category], one.before, one.after) for one in shown],
            )
        ],
    )


def _level_section(report: TrialReport) -> ReportSection:
    before: dict[str | None, int] = {}
    after: dict[str | None, int] = {}
    for one in report.levels:
        before[one.before] = before.get(one.before, 0) + one.verdicts
        after[one.after] = after.get(one.after, 0) + one.verdicts
    reached = [level for level in dict.fromkeys((*report.policy.levels, *before)) if level is not None]
    rows = [(level, before.get(level, 0), after.get(level, 0)) for level in reached]
    return ReportSection(
        title="Levels",
        tables=[
            ReportTable(
                caption="Messages by level before and after",
                columns=("level before", "level after", "messages"),
                rows=[(one.before or NOTHING, one.after or NOTHING, f"{one.verdicts:,}") for one in report.levels],
            )
        ],
        charts=[
            BarChart(
                title="Messages by level",
                description="; ".join(f"{level}: {old:,} before, {new:,} after" for level, old, new in rows),
                series=SERIES,
                rows=rows,
            )
        ],
    )


def _example_section(report: TrialReport) -> ReportSection:
    tables = [
        ReportTable(caption=title, columns=EXAMPLE_COLUMNS, rows=[_example_cells(one) for one in examples])
        for title, examples in example_groups(report)
    ]
    sentence = (
        "Each message is named by topic, partition and offset of the input. The page has no text; a person who may "
        "read the input topic finds the text there."
        if tables
        else "No decision differs."
    )
    return ReportSection(title="Examples", paragraphs=[sentence], tables=tables)


def _example_cells(example: TrialExample) -> tuple[str, ...]:
    is_score = example.score is not None
    return (
        place(example),
        escaped(example.channel_id or NOTHING, 60),
        example.timestamp or NOTHING,
        f"{example.score:.3f}" if is_score else NOTHING,
        NOTHING if not is_score else "off" if example.threshold is None else f"{example.threshold:g}",
        example.level_before or NOTHING,
        example.level_after or NOTHING,
        example.rule or NOTHING,
    )


def _counts(*counts: int) -> list[str]:
    return [f"{count:,}" for count in counts]
