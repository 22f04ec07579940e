"""The worker's plain view begins without the markup of the worker's shape."""

import pytest

from worker import wiring
from worker.commands.start_up import load
from worker.settings import Need


@pytest.mark.parametrize(
    ("shape", "shown"), [("discord", ":kek: kill @user"), ("plain", "<:kek:12> **kill** <@42>")]
)
def test_the_plain_view_has_no_markup_of_the_shape(shape: str, shown: str) -> None:
    settings = load({Need.MODEL}, {"WORKER_MODEL__PATH": "demo", "WORKER_INPUT__SHAPE": shape}).settings
    plain_text = wiring.plain_text_of(settings, wiring.open_classifier(settings, lambda _: None))
    assert plain_text is not None
    assert plain_text.plain("<:kek:12> **k1ll** <@42>") == shown
