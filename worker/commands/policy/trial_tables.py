"""A trial's result on a terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.commands.policy.trial_report import TrialExample, TrialReport
from worker.commands.policy.trial_sentences import NAMES, alert_sentence, caveats, example_groups, summary
from worker.logs import escaped

COUNTS = ("before", "after", "newly flagged", "newly passed")
NOTHING = "-"


def show_trial(report: TrialReport, console: Console) -> None:
    """Print the counts, the examples and what could not be decided."""
    console.print(Text(escaped(summary(report)), style="bold"), soft_wrap=True)
    if report.flagged.before or report.flagged.after:
        console.print(Text(alert_sentence(report)), soft_wrap=True)
    changed = [one for one in report.categories if one.before or one.after]
    if changed:
        table = _table("category", *COUNTS)
        for one in changed:
            table.add_row(NAMES[one.category], *_cells(one.before, one.after, one.newly_flagged, one.newly_passed))
        console.print("", table)
    if report.verdicts.decided:
        _show_levels(report, console)
        _show_rules_and_channels(report, console)
        _show_examples(report, console)
    for sentence in caveats(report):
        console.print(Text(f"\n! {escaped(sentence)}", style="yellow"), soft_wrap=True)


def _show_levels(report: TrialReport, console: Console) -> None:
    table = _table("level before", "messages", after="level after")
    for one in report.levels:
        style = "bold" if one.before != one.after else "dim"
        table.add_row(
            *(escaped(level or NOTHING) for level in (one.before, one.after)), f"{one.verdicts:,}", style=style
        )
    console.print("", table)


def _show_rules_and_channels(report: TrialReport, console: Console) -> None:
    if len(report.rules) > 1 or any(one.rule is not None for one in report.rules):
        table = _table("rule", "messages", *COUNTS)
        for one in report.rules:
            counts = _cells(one.verdicts, one.before, one.after, one.newly_flagged, one.newly_passed)
            table.add_row(escaped(one.rule or "no rule"), *counts)
        console.print("", table)
    if report.channels:
        table = _table("channel", *COUNTS[2:])
        for channel in report.channels:
            table.add_row(
                escaped(channel.channel_id or NOTHING, 60), *_cells(channel.newly_flagged, channel.newly_passed)
            )
        console.print("", table)
        if report.channels_changed > len(report.channels):
            console.print(f"{report.channels_changed - len(report.channels):,} more channels have changes.")


def _show_examples(report: TrialReport, console: Console) -> None:
    for title, examples in example_groups(report):
        console.print(Text(f"\n{escaped(title)}, for example", style="bold"), soft_wrap=True)
        for example in examples:
            line = Text(f"  {place(example)}", style="cyan").append(
                f"  {escaped(details(example))}", style="default"
            )
            console.print(line, soft_wrap=True)


def place(example: TrialExample) -> str:
    """Return topic, partition and offset of an example; the message's id if the verdict names no input."""
    if example.topic is None:
        return escaped(example.message_id, 60)
    item = "" if example.item is None else f"#{example.item}"
    return f"{escaped(example.topic)}[{example.partition}]@{example.offset}{item}"


def details(example: TrialExample) -> str:
    """Return what else is known of an example, on one line."""
    named = {
        "score": example.score,
        "threshold": "off" if example.score is not None and example.threshold is None else example.threshold,
        "channel": example.channel_id,
        "rule": example.rule,
        "at": example.timestamp,
    }
    return ", ".join(f"{name} {str(value)[:80]}" for name, value in named.items() if value is not None)


def _table(first: str, *columns: str, after: str | None = None) -> Table:
    table = Table(first, box=None, pad_edge=False)
    if after is not None:
        table.add_column(after)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _cells(*counts: int) -> list[str]:
    return [f"{count:,}" for count in counts]
