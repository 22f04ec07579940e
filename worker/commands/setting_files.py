"""The files that the settings name. Reports do not replace them."""

from pathlib import Path

from worker.commands.terminal import check_not_read
from worker.moderation.shapes.files import is_path
from worker.settings import Settings


def check_setting_files(
    settings: Settings, *outputs: Path | None, policy: Path | None = None, reference: Path | None = None
) -> None:
    """Refuse to write a result over the policy, the shape or the drift reference of the settings.

    Args:
        settings: The settings in effect.
        outputs: Where the results go: files, ``-`` for standard output, or None for nowhere.
        policy: Where a new policy goes. It may replace the policy of the settings.
        reference: Where a new drift reference goes. It may replace the drift reference of the settings.

    Raises:
        ConfigurationError: A result has the place of such a file.
    """
    policies = [settings.policy.path] if settings.policy.path is not None else []
    shapes = [settings.input.shape] if is_path(settings.input.shape) else []
    references = [settings.drift.reference] if settings.drift.reference is not None else []
    check_not_read([Path(name) for name in (*policies, *shapes, *references)], *outputs)
    check_not_read([Path(name) for name in (*shapes, *references)], policy)
    check_not_read([Path(name) for name in (*policies, *shapes)], reference)
