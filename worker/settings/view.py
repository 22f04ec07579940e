"""Show the settings to people: the values in force, their places, and the descriptions."""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.settings.groups import GROUPS, VARIABLES, shown
from worker.settings.load import LoadedSettings, Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """A variable with its value and place; a secret is masked."""

    variable: str
    value: str
    origin: Origin


def describe(loaded: LoadedSettings) -> list[SettingRow]:
    """Return a row for every variable, in the order of ``groups``."""
    return [
        SettingRow(
            variable=variable,
            value=shown(loaded.settings.value(variable)),
            origin=loaded.origins.get(variable, Origin.DEFAULT),
        )
        for variable in VARIABLES
    ]


def render(rows: Sequence[SettingRow]) -> str:
    """Return aligned columns. The value comes last, because it may be long."""
    name, origin = (max(len(getattr(row, part)) for row in rows) for part in ("variable", "origin"))
    return "\n".join(f"{row.variable:<{name}}  {row.origin:<{origin}}  {row.value}" for row in rows)


def variables_for(*names: str) -> str:
    """Return lines for ``--help``: some variables, with description and default.

    Args:
        names: Groups, such as ``policy``, and single settings, such as ``policy.path``.
    """
    rows = [
        (variable, field.description or "", f" [{shown(field.default)}]" if field.default else "")
        for variable, (group, name) in VARIABLES.items()
        if group in names or f"{group}.{name}" in names
        for field in [GROUPS[group].model_fields[name]]
    ]
    width = max(len(variable) for variable, _, _ in rows)
    return "\n".join(f"  {variable:<{width}}  {sentence}{default}" for variable, sentence, default in rows)
