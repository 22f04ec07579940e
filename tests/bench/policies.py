"""Measure what a policy file costs: ``python -m tests.bench.policies LOG --tokenizer tokenizer.json``.

The benchmark is the one of ``tests.bench.pipeline``: everything around the model, on the embedded Kafka. The
contenders take turns, and all get the same messages of 100,000 channels:

- ``no policy``: the thresholds of the settings
- ``example``: the example policy of the deployment: two rules, two exemptions, allowed texts, one candidate
- ``1,000 rules``: each rule names 100 channels, so that a rule decides about every message
"""

import statistics
import sys
from functools import partial

from tests.bench.pipeline import ROOT, Contender, course_on_broker, log_options, texts_of
from tests.bench.side_by_side import medians, say, write

CHANNELS = 100_000
RULES = 1000
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


def main() -> None:
    """Run the contenders in turn."""
    parser = log_options(__doc__, rounds=3)
    options = parser.parse_args()
    command = (sys.executable, "-m", "tests.bench.pipeline_worker", str(options.tokenizer.resolve()))
    with course_on_broker() as course:
        course.channels, course.is_compared = CHANNELS, False
        rules = course.folder / "rules.yaml"
        rules.write_text(many_rules())
        settings = {
            "no policy": {},
            "example": {"WORKER_POLICY__PATH": str(EXAMPLE)},
            "1,000 rules": {"WORKER_POLICY__PATH": str(rules)},
        }
        cacheless = {"WORKER_CACHE__BYTES_MAX": "0"}
        course.feed(texts_of(options.log), options.messages)
        contenders = {
            name: Contender(command=command, messages=options.messages, settings={**cacheless, **own})
            for name, own in settings.items()
        }
        rates = medians(
            {name: partial(course.run, name, contender) for name, contender in contenders.items()},
            rounds=options.rounds,
        )
        cpu_us = {name: statistics.median(run.cpu_us for run in runs) for name, runs in course.runs.items()}
        report = {
            "log": options.log.name,
            "messages": options.messages,
            "channels": CHANNELS,
            "rounds": options.rounds,
            "contenders": {
                name: {
                    "messages_per_s": round(rates[name]),
                    "of_no_policy": round(rates[name] / rates["no policy"], 3),
                    "cpu_us_per_message": round(cpu_us[name], 2),
                }
                for name in rates
            },
        }
        say(str(report["contenders"]))
        write("policies", report)


if __name__ == "__main__":
    main()
