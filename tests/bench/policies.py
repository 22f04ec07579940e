"""Measure what a policy file costs: ``python -m tests.bench.policies LOG --tokenizer tokenizer.json``.

The benchmark is the one of ``tests.bench.pipeline``: everything around the model, on the embedded Kafka. The
contenders take turns. Each has a policy and an order of the messages' channels. The policies:

- ``no policy``: the thresholds of the settings
- ``example``: the example policy of the deployment: two rules, two exemptions, allowed texts, one candidate
- ``1,000 rules``: each rule names 100 channels, so that a rule decides about every message

The orders of the same 100,000 channels:

- ``in turn``: each channel comes once, then each comes again
- ``zipf``: a few busy channels and many quiet ones, as in chat. The probability of the channel of rank ``k`` is in
  proportion to ``1 / k ** 0.99``. 0.99 is the constant of the zipfian distribution of YCSB (Cooper et al.,
  "Benchmarking Cloud Serving Systems with YCSB", SoCC 2010). As in YCSB's scrambled zipfian distribution, the ranks
  are shuffled: the busy channels belong to many rules. The seed is fixed.
"""

import statistics
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import cycle, islice
from typing import Any

import numpy as np

from tests.bench.pipeline_course import ROOT, Contender, Run, course_on_broker, log_options, texts_of
from tests.bench.side_by_side import medians, say, write

CHANNELS = 100_000
RULES = 1000
EXPONENT = 0.99
SEED = 1
EXAMPLE = ROOT / "deploy/kubernetes/components/policy/policy.yaml"


def many_rules() -> str:
    """Return a policy whose rules name each channel once, half of them by a glob."""
    lines = [
        "schema: policy/1",
        "levels: [review, remove]",
        "thresholds: {default: {review: 0.5, remove: 0.9}}",
        "rules:",
    ]
    for rule in range(RULES):
        names = [f"channel-{rule + RULES * number}" + "*" * (number % 2) for number in range(CHANNELS // RULES)]
        lines += [
            f"  - name: rule-{rule}",
            f"    when: {{channel_id: [{', '.join(names)}]}}",
            f"    thresholds: {{hate: {{review: 0.{rule % 4 + 2}}}}}",
        ]
    return "\n".join(lines) + "\n"


def zipf(messages: int) -> list[int]:
    """Return the number of each message's channel."""
    draw = np.random.default_rng(SEED)
    weights = np.arange(1, CHANNELS + 1) ** -EXPONENT
    ranks = draw.choice(CHANNELS, messages, p=weights / weights.sum())
    channels: list[int] = draw.permutation(CHANNELS)[ranks].tolist()
    return channels


def main() -> None:
    """Run the contenders in turn."""
    parser = log_options(__doc__, rounds=3)
    parser.set_defaults(messages=100_000)
    options = parser.parse_args()
    command = (sys.executable, "-m", "tests.bench.pipeline_worker", str(options.tokenizer.resolve()))
    orders = {"in turn": [*islice(cycle(range(CHANNELS)), options.messages)], "zipf": zipf(options.messages)}
    with course_on_broker() as course:
        course.is_compared = False
        rules = course.folder / "rules.yaml"
        rules.write_text(many_rules())
        settings = {
            "no policy": {},
            "example": {"WORKER_POLICY__PATH": str(EXAMPLE)},
            "1,000 rules": {"WORKER_POLICY__PATH": str(rules)},
        }
        contenders = {}
        for order, channels in orders.items():
            kind = order.replace(" ", "-")
            course.feed(texts_of(options.log), options.messages, kind, channels=channels)
            for policy, own in settings.items():
                contenders[f"{policy}, {order}"] = Contender(
                    command=command,
                    messages=options.messages,
                    kind=kind,
                    settings={"WORKER_CACHE__BYTES_MAX": "0", **own},
                )
        medians(
            {name: partial(course.run, name, contender) for name, contender in contenders.items()},
            rounds=options.rounds,
        )
        report = {
            "log": options.log.name,
            "messages": options.messages,
            "channels": CHANNELS,
            "rounds": options.rounds,
            "orders": {
                order: figures({one: course.runs[f"{one}, {order}"] for one in settings}) for order in orders
            },
        }
        say(str(report["orders"]))
        write("policies", report)


def figures(runs: Mapping[str, Sequence[Run]]) -> dict[str, dict[str, Any]]:
    """Return the figures of each policy.

    A ratio is the median of the ratios to the run without a policy in the same round: a machine that is slower for
    a minute changes both. The CPU time varies less than the messages a second.
    """
    without = runs["no policy"]
    return {policy: _figures(own, without) for policy, own in runs.items()}


def _figures(own: Sequence[Run], without: Sequence[Run]) -> dict[str, Any]:
    rates = [run.messages_per_s / other.messages_per_s for run, other in zip(own, without, strict=True)]
    cpu = [run.cpu_us / other.cpu_us for run, other in zip(own, without, strict=True)]
    return {
        "messages_per_s": round(statistics.median(run.messages_per_s for run in own)),
        "of_no_policy": round(statistics.median(rates), 3),
        "of_no_policy_each_round": [round(rate, 3) for rate in rates],
        "cpu_us_per_message": round(statistics.median(run.cpu_us for run in own), 2),
        "cpu_of_no_policy": round(statistics.median(cpu), 3),
        "cpu_of_no_policy_each_round": [round(ratio, 3) for ratio in cpu],
        "owner_cpu_us_per_message": round(statistics.median(run.threads_us["owner"] for run in own), 2),
    }


if __name__ == "__main__":
    main()
