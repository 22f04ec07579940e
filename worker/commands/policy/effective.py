"""The thresholds that hold for some messages, and the line of the file that sets each."""

from collections.abc import Collection, Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.labels import CATEGORY_NAMES, CATEGORY_SLUGS
from worker.logs import escaped
from worker.moderation.policies import (
    EffectiveThreshold,
    MessageFields,
    Policy,
    PolicySource,
    effective_thresholds,
    threshold_text,
    threshold_values,
)
from worker.moderation.policies.inheritance import EffectiveThresholds
from worker.moderation.yaml_document import Path


def show_effective(source: PolicySource, file: str, fields: MessageFields, console: Console) -> None:
    """Print what decides about messages with these fields.

    Args:
        source: The policy.
        file: The name of its file.
        fields: The fields of the messages. A field that is not given is absent.
        console: Where to print.
    """
    resolution = Policy.of_file(source).resolve(fields)
    for line in _entries(source, file, resolution.rule, resolution.exempt, [one.name for one in resolution.allow]):
        console.print(Text(escaped(line)), soft_wrap=True)
    rule = resolution.row - 1 if resolution.row else None
    effective = effective_thresholds(source.file, rule=rule)
    own_values = threshold_values(effective)
    console.print("", _table(source, effective, CATEGORY_SLUGS))
    for number, candidate in enumerate(source.file.shadow):
        tried = effective_thresholds(source.file, rule=rule, candidate=number)
        values = threshold_values(tried)
        changed = [slug for slug in CATEGORY_SLUGS if values[slug] != own_values[slug]]
        title = f"shadow candidate: {candidate.name} ({_line(source, ('shadow', candidate.name))})"
        if not changed:
            title += ": decides about these messages as the policy does"
        console.print(Text(f"\n{escaped(title)}"), soft_wrap=True)
        if changed:
            console.print("", _table(source, tried, changed))


def _entries(
    source: PolicySource, file: str, rule: str | None, exempt: str | None, allowed: list[str]
) -> Iterator[str]:
    yield f"{file}, version {source.file.version or source.digest}"
    yield (
        f"rule: {rule} ({_line(source, ('rules', rule))})"
        if rule
        else "rule: none matches; the base thresholds hold"
    )
    if exempt is not None:
        score = next(one.score for one in source.file.exempt if one.name == exempt)
        effect = "no alert" if score else "not scored, no alert"
        yield f"exempt: {exempt} ({_line(source, ('exempt', exempt))}): {effect}"
    for name in allowed:
        yield f"allowed texts: {name} ({_line(source, ('allow', name))})"
    yield from _alert_lines(source)


def _alert_lines(source: PolicySource) -> Iterator[str]:
    """Yield which messages raise an alert, what an alert holds, and how alerts are coalesced."""
    alerts = source.file.alerts
    yield f"alerts: from the level {alerts.level or source.file.levels[0]}{_where(source, 'level')}"
    yield f"text in alerts: {alerts.text}{_where(source, 'text')}"
    if alerts.coalesce is None:
        yield "coalescing: none; every message that should alert raises an alert"
    else:
        keys = ", ".join(alerts.coalesce.by)
        yield f"coalescing: by {keys}, in windows of {alerts.coalesce.window_s} s{_where(source, 'coalesce')}"


def _where(source: PolicySource, key: str) -> str:
    """Return the line of a key of ``alerts``; nothing if the file does not have the key."""
    path: Path = ("alerts", key)
    return f" (line {_place(source, path)})" if path in source.document.values else ""


def _line(source: PolicySource, entry: tuple[str, str | None]) -> str:
    """Return the line of an entry with a name."""
    section, name = entry
    entries = getattr(source.file, section)
    index = next(number for number, one in enumerate(entries) if one.name == name)
    return f"line {_place(source, (section, index))}"


def _table(source: PolicySource, thresholds: EffectiveThresholds, slugs: Collection[str]) -> Table:
    """Return the thresholds of some categories at each level, with their lines."""
    levels = source.file.levels
    table = Table("category", *(escaped(level) for level in levels), box=None, pad_edge=False)
    for slug, name in zip(CATEGORY_SLUGS, CATEGORY_NAMES, strict=True):
        if slug in slugs:
            table.add_row(name, *(_cell(source, thresholds[slug][level]) for level in levels))
    return table


def _cell(source: PolicySource, threshold: EffectiveThreshold) -> Text:
    return Text(threshold_text(threshold.value)).append(f"  line {_place(source, threshold.path)}", style="dim")


def _place(source: PolicySource, path: Path) -> int:
    line, _ = source.document.keys.get(path) or source.document.values[path]
    return line
