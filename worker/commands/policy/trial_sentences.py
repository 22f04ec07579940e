"""The sentences of a trial's result, for terminal and page."""

from collections.abc import Iterator, Sequence

from schemas.labels import CATEGORY_NAMES, CATEGORY_SLUGS
from worker.commands.policy.trial_report import TrialExample, TrialReport

NAMES = dict(zip(CATEGORY_SLUGS, CATEGORY_NAMES, strict=True))
NAMES_MAX = 5


def summary(report: TrialReport) -> str:
    """Return how many decisions differ."""
    verdicts, flagged = report.verdicts, report.flagged
    span = f", from {verdicts.first} to {verdicts.last}" if verdicts.first else ""
    if not verdicts.decided:
        return (
            f"{report.policy.file}: no verdict to decide again; records read {verdicts.read:,}{span}. Name a file "
            "with a verdict a line (--verdicts), or an earlier time (--since)"
        )
    return (
        f"{report.policy.file}: {verdicts.decided:,} verdicts decided again{span}: {flagged.before:,} were "
        f"flagged, {flagged.after:,} would be; {flagged.newly_flagged:,} newly flagged, "
        f"{flagged.newly_passed:,} newly passed"
    )


def alert_sentence(report: TrialReport) -> str:
    """Return how many messages raised an alert and would raise one, and what becomes of the other flagged ones."""
    alerts = report.alerts
    parts = []
    if alerts.exempt:
        parts.append(f"exempt: {alerts.exempt:,}")
    if alerts.below_level:
        parts.append(f"below the level of alerts: {alerts.below_level:,}")
    if alerts.undecided:
        parts.append(f"perhaps with an allowed text: {alerts.undecided:,}")
    sentence = (
        f"Alerts before they are coalesced: {alerts.before:,} before, {alerts.raised:,} after; "
        f"{alerts.newly_alerting:,} newly alerting, {alerts.newly_silenced:,} newly silenced."
    )
    others = f" Of the messages that the policy flags: {', '.join(parts)}." if parts else ""
    return sentence + others


def caveats(report: TrialReport) -> Iterator[str]:
    """Yield a sentence about each kind of verdict that could not be decided again, or not for certain."""
    verdicts, alerts = report.verdicts, report.alerts
    if verdicts.not_scored:
        yield (
            f"{verdicts.not_scored:,} verdicts can't be decided again: an exemption kept these messages from being "
            "scored, and this policy needs their scores."
        )
    if verdicts.unreadable:
        yield f"Records that are not verdicts (schema verdict/1), and count nowhere: {verdicts.unreadable:,}."
    if alerts.undecided:
        yield (
            f"For {alerts.undecided:,} messages only the text tells whether they raise an alert: they have the "
            "length of an allowed text, and a verdict has no text."
        )
    if alerts.assumed:
        yield (
            f"For {alerts.assumed:,} messages it is not certain that they raised an alert: a verdict has a level, "
            "and not the level from which its policy raised alerts. They count as alerts. --against OLD names a "
            "policy that judged, and its alerts.level decides about the verdicts of its version."
        )
    for one in report.untried:
        topic = "" if one.topic is None else f" of {one.topic}"
        names = listed(one.entries)
        yield (
            f"No verdict{topic} has the field {one.field} ({one.verdicts:,} verdicts). They were decided again "
            f"without it, so {names} could not be tried. A shape that reads the field (WORKER_INPUT__SHAPE) "
            "puts it into verdicts."
        )


def listed(names: Sequence[str]) -> str:
    """Return names in a sentence, at most ``NAMES_MAX``."""
    more = f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
    return ", ".join(names[:NAMES_MAX]) + more


def example_groups(report: TrialReport) -> Iterator[tuple[str, Sequence[TrialExample]]]:
    """Yield the title and the examples of each change that has examples."""
    for one in report.categories:
        if one.examples_flagged:
            yield f"{NAMES[one.category]}: newly flagged", one.examples_flagged
        if one.examples_passed:
            yield f"{NAMES[one.category]}: newly passed", one.examples_passed
    for change in report.levels:
        if change.examples:
            yield f"Level {change.before} before, {change.after} after", change.examples
