"""Whether an unsafe passage is found anywhere in a long text: ``python -m tests.bench.passages DATA LOG...``.

DATA has texts with labels, as ``deploy.demo_model.train`` reads them. Each LOG has chat, as ``bench --texts`` reads
it. The bundled model is trained on short texts, and rarely sees a passage among other talk. So a small model is
trained that does (``tests.bench.passage_model``): on other passages and other talk than are measured.

Each measured passage is put between two random lines of a text of 4,000 tokens of talk. The worker judges the text,
the talk without the passage, and one window: the passage with the talk around it. It is a process with default
settings, and reads from a real Kafka. The question is what long texts lose, not what the model knows. So a passage
counts only if its window is flagged, and if the talk without it is not.
"""

import argparse
import random
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from deploy.demo_model.train import say
from tests.bench.passage_model import WINDOW, Line, Material, joined, material, train
from tests.kafka_env import KafkaEnv, chat
from tests.worker_process import workers
from worker.commands.broker.embedded import running_broker
from worker.commands.prove.worker_subprocess import COMMAND
from worker.records import Topic

TEXT_TOKENS = 4000
WORKER_S_MAX = 3600

Verdict = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trial:
    """A text with a passage, and what it is compared with.

    Attributes:
        text: Talk with a passage.
        start: Offset of the passage's first character in the text.
        end: Offset after its last character.
        window: The passage and the talk around it: on each side as many lines as fit half of a window.
        talk: The text without the passage.
        tokens: Tokens of the passage.
        tokens_before: Tokens of the text before the passage.
    """

    text: str
    start: int
    end: int
    window: str
    talk: str
    tokens: int
    tokens_before: int


def first_that_fit(lines: Iterable[Line], tokens: int) -> list[Line]:
    """Return the first lines that have at most this number of tokens."""
    found: list[Line] = []
    for line in lines:
        tokens -= len(line.tokens)
        if tokens < 0:
            break
        found.append(line)
    return found


def trial_of(source: Material, rng: random.Random) -> Trial:
    """Return a random passage at a random place in random talk."""
    passage = source.passage(rng)
    lines = source.talk_of(TEXT_TOKENS - len(passage.tokens), rng)
    place = rng.randint(0, len(lines))
    before, after = lines[:place], lines[place:]
    room = (WINDOW - len(passage.tokens)) // 2
    near = [*reversed(first_that_fit(reversed(before), room)), passage, *first_that_fit(after, room)]
    start = len(joined(before).text)
    return Trial(
        text=joined([*before, passage, *after]).text,
        start=start,
        end=start + len(passage.text),
        window=joined(near).text,
        talk=joined(lines).text,
        tokens=len(passage.tokens),
        tokens_before=len(joined(before).tokens),
    )


def verdicts(servers: str, model: Path, folder: Path, texts: Sequence[str], **changes: str) -> list[Verdict]:
    """Return a worker's verdict on each text, in order. ``changes`` are settings without ``WORKER_``."""
    scene = KafkaEnv(servers, str(model), inputs=(1,), partitions=1)
    scene.create()
    scene.send([chat(text) for text in texts])
    default = {"POLICY__THRESHOLD": "0.5"}  # the tests' environment has another threshold
    with workers(folder, (*COMMAND, "--until-end"), name=scene.group) as start:
        worker = start(scene.environ(**default, **changes))
        code = worker.end(seconds_max=WORKER_S_MAX)
        if code:
            raise SystemExit(f"the worker ended with {code}; {worker.said}")
    found: list[Verdict] = [orjson.loads(record.value() or b"") for record in scene.read(Topic.VERDICT)]
    found.sort(key=lambda verdict: verdict["source"]["offset"])
    if len(found) != len(texts):
        raise SystemExit(f"{len(found)} verdicts on {len(texts)} texts; {worker.said}")
    return found


def parts_with(trial: Trial, verdict: Verdict) -> tuple[bool, bool]:
    """Return whether the evidence overlaps the passage, and whether it holds all of it."""
    parts = [(part["start"], part["end"]) for part in verdict.get("evidence", ())]
    return (
        any(start < trial.end and trial.start < end for start, end in parts),
        # A window may end before the passage's line end.
        any(start <= trial.start and trial.end - 1 <= end for start, end in parts),
    )


def report(trials: Sequence[Trial], *judged: Sequence[Verdict]) -> None:
    """Print what became of the texts.

    Args:
        trials: The texts.
        judged: The verdicts on the talk, on the windows, on the texts, and on the heads of the texts alone.
    """
    rows = [*zip(trials, *judged, strict=True)]
    quiet = [row for row in rows if not row[1]["flagged"]]
    counted = [row for row in quiet if row[2]["flagged"]]
    flagged = [(trial, text) for trial, _, _, text, _ in counted if text["flagged"]]
    evidence = [parts_with(*one) for one in flagged]
    say(
        f"talk of about {TEXT_TOKENS} tokens without a passage, flagged: {share(len(rows) - len(quiet), len(rows))}"
    )
    say(f"of the others, windows with the passage that are flagged: {share(len(counted), len(quiet))}")
    say(f"of these, texts that are flagged: {share(len(flagged), len(counted))}")
    say(f"when only their heads are read: {share(sum(head['flagged'] for *_, head in counted), len(counted))}")
    say(f"evidence overlaps the passage: {share(sum(overlaps for overlaps, _ in evidence), len(flagged))}")
    say(f"evidence holds the whole passage: {share(sum(whole for _, whole in evidence), len(flagged))}")
    for trial, _, window, text, _ in counted:
        if not text["flagged"]:
            scores = [verdict["max_score"] for verdict in (window, text)]
            say(
                f"missed: {trial.tokens} tokens after {trial.tokens_before}; greatest score of the window "
                f"{scores[0]:.3f}, of the text {scores[1]:.3f}; {text['input']}"
            )


def share(some: int, of: int) -> str:
    """Return a number and its share as words."""
    return f"{some} of {of} ({some / max(1, of):.1%})"


def main() -> None:
    """Train, measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("logs", type=Path, nargs="+")
    parser.add_argument(
        "--sources", nargs="*", default=[], help="the sources of DATA's unsafe texts; by default all"
    )
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--model", type=Path, help="a folder for the model; if it has one, none is trained")
    options = parser.parse_args()
    rng = random.Random(options.seed)  # noqa: S311 - a seed gives the same texts
    trained, measured = material(options.data, options.logs, options.sources, options.seed)
    trials = [trial_of(measured, rng) for _ in range(options.texts)]
    texts = [trial.text for trial in trials]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = options.model or folder / "model"
        if not (model / "config.json").exists():
            train(trained, model, options.seed)
        with running_broker() as broker:
            judge = partial(verdicts, broker.bootstrap_servers, model, folder)
            report(
                trials,
                judge([trial.talk for trial in trials]),
                judge([trial.window for trial in trials]),
                judge(texts),
                judge(texts, TEXT__WINDOWS_MAX="1"),
            )


if __name__ == "__main__":
    main()
