"""The plain view begins without the markup of the worker's shape, also in commands that have only texts."""

from collections.abc import Callable, Sequence

import pytest
import torch

from tests.in_process_worker import forward_of
from tests.small_models import options
from worker import classifier, wiring
from worker.classifier import Classifier
from worker.commands.bench.in_memory_loop import messages_per_second
from worker.commands.bench.stages import measure
from worker.commands.evaluate.text_scoring import TextScorer
from worker.commands.start_up import load
from worker.settings import Need, Settings

Use = Callable[[Settings, Classifier, Sequence[str]], object]


@pytest.fixture(scope="module")
def model() -> Classifier:
    """The bundled model."""
    return classifier.load(options("demo"), lambda _: None)


def settings_of(shape: str) -> Settings:
    environ = {"WORKER_MODEL__PATH": "demo", "WORKER_INPUT__SHAPE": shape, "WORKER_TEXT__WINDOWS_MAX": "1"}
    return load({Need.MODEL}, environ).settings


@pytest.mark.parametrize(
    ("shape", "shown"), [("discord", ":kek: kill @user"), ("plain", "<:kek:12> **kill** <@42>")]
)
def test_the_plain_view_has_no_markup_of_the_shape(shape: str, shown: str, model: Classifier) -> None:
    plain_text = wiring.plain_text_of(settings_of(shape), model)
    assert plain_text is not None
    assert plain_text.plain("<:kek:12> **k1ll** <@42>") == shown


@pytest.mark.parametrize("shape", ["discord", "plain"])
@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda *given: messages_per_second(*given, seconds=0), id="check and bench: all together"),
        pytest.param(lambda *given: measure(*given, seconds=0), id="bench: each stage"),
        pytest.param(
            lambda settings, model, texts: TextScorer(settings, model).score(texts, None, lambda _: None),
            id="evaluate and calibrate",
        ),
    ],
)
def test_texts_of_a_command_are_scored_without_the_markup_of_the_shape(
    use: Use, shape: str, model: Classifier
) -> None:
    [shown] = model.encode(["hello from Lisbon"])
    rows = list[list[int]]()

    def note(input_ids: torch.Tensor, _hidden: torch.Tensor) -> None:
        rows.extend(row[: len(shown.tokens)].tolist() for row in input_ids)

    with forward_of(model, note):
        use(settings_of(shape), model, ["**hello from Lisbon**"])
    assert (list(shown.tokens) in rows) == (shape == "discord")
