"""`policy try`: deciding again from stored scores, and what can't be decided."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.stored_verdicts import stored_verdict, write_verdicts
from worker.cli import main
from worker.commands.policy import stored_verdicts
from worker.errors import ConfigurationError, ExitCode

ROOT = Path(__file__).parents[2]
SCHEMA = Draft202012Validator(json.loads((ROOT / "schemas/v1/policy-trial.schema.json").read_bytes()))
POLICY = """\
schema: policy/1
version: next
levels: [review, remove]
thresholds:
  default: {review: 0.5, remove: 0.9}
  hate: {review: 0.3}
  privacy: off
"""


class Trial:
    """Tries a policy on verdicts, and returns the result."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def of(self, policy: str, *verdicts: object, examples: int = 3, options: tuple[str, ...] = ()) -> Any:
        """Return the JSON result."""
        printed = self.printed(policy, *verdicts, options=("--json", "--examples", str(examples), *options))
        result = json.loads(printed)
        SCHEMA.validate(result)
        return result

    def printed(self, policy: str, *verdicts: object, options: tuple[str, ...] = ()) -> str:
        (self.folder / "policy.yaml").write_text(policy)
        file = write_verdicts(self.folder / "verdicts.jsonl", *verdicts)
        assert main(["policy", "try", "policy.yaml", "--verdicts", file, *options]) is ExitCode.DONE
        return self._capsys.readouterr().out


@pytest.fixture
def trial(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Trial:
    monkeypatch.chdir(tmp_path)
    return Trial(tmp_path, capsys)


def test_a_trial_counts_what_is_newly_flagged_and_newly_passed(trial: Trial) -> None:
    result = trial.of(
        POLICY,
        stored_verdict(1, {"hate": 0.4}, channel_id="a"),
        stored_verdict(2, {"privacy": 0.7}, channel_id="b"),
        stored_verdict(3, {"hate": 0.95}),
        stored_verdict(4, {}),
    )
    assert result["flagged"] == {"before": 2, "after": 2, "newly_flagged": 1, "newly_passed": 1}
    by_category = {one["category"]: one for one in result["categories"]}
    assert {slug for slug, one in by_category.items() if one["newly_flagged"]} == {"hate"}
    assert {slug for slug, one in by_category.items() if one["newly_passed"]} == {"privacy"}
    levels = {(one["before"], one["after"]): one["verdicts"] for one in result["levels"]}
    assert levels == {(None, None): 1, (None, "review"): 1, ("flagged", None): 1, ("flagged", "remove"): 1}
    assert [(one["channel_id"], one["newly_flagged"], one["newly_passed"]) for one in result["channels"]] == [
        ("a", 1, 0),
        ("b", 0, 1),
    ]
    assert result["judged_by"] == [{"version": "before", "verdicts": 4}]
    assert result["policy"] == {"file": "policy.yaml", "version": "next", "levels": ["review", "remove"]}


def test_an_example_names_the_message_by_its_offset(trial: Trial) -> None:
    result = trial.of(POLICY, stored_verdict(7, {"hate": 0.4}))
    (example,) = next(one for one in result["categories"] if one["category"] == "hate")["examples_flagged"]
    assert (example["topic"], example["partition"], example["offset"]) == ("chat.messages", 0, 7)
    assert (example["score"], example["threshold"]) == (0.4, 0.3)
    assert (example["level_before"], example["level_after"]) == (None, "review")
    assert example["timestamp"] == "2026-01-31T09:30:00.000Z"


@pytest.mark.parametrize(
    ("timestamp_ms", "shown"), [(2**62, "9999-12-31T23:59:59.999Z"), (-(2**62), "1970-01-01T00:00:00.000Z")]
)
def test_an_example_has_the_nearest_time_that_rfc_3339_can_write(
    trial: Trial, timestamp_ms: int, shown: str
) -> None:
    """A producer sets the time of its records, and may set any number."""
    verdict = stored_verdict(7, {"hate": 0.4})
    verdict["source"]["timestamp_ms"] = timestamp_ms
    result = trial.of(POLICY, verdict)
    (example,) = next(one for one in result["categories"] if one["category"] == "hate")["examples_flagged"]
    assert example["timestamp"] == shown


def test_examples_are_few_and_do_not_depend_on_the_order_of_reading(trial: Trial) -> None:
    verdicts = [stored_verdict(offset, {"hate": 0.4}) for offset in range(50)]

    def examples(*given: object) -> Any:
        return next(one for one in trial.of(POLICY, *given)["categories"] if one["category"] == "hate")[
            "examples_flagged"
        ]

    assert examples(*verdicts) == examples(*reversed(verdicts))
    assert len(examples(*verdicts)) == 3


def test_rules_decide_about_their_messages(trial: Trial) -> None:
    rules = 'rules: [{name: kids, when: {channel_id: "kids-*"}, thresholds: {hate: {review: 0.1}}}]\n'
    result = trial.of(
        POLICY + rules,
        stored_verdict(1, {"hate": 0.2}, channel_id="kids-1"),
        stored_verdict(2, {"hate": 0.2}),
    )
    counts = {one["rule"]: (one["verdicts"], one["newly_flagged"]) for one in result["rules"]}
    assert counts == {"kids": (1, 1), None: (1, 0)}


def test_a_score_equal_to_its_threshold_is_not_above_it(trial: Trial) -> None:
    assert trial.of(POLICY, stored_verdict(1, {"hate": 0.3}))["flagged"]["after"] == 0


def test_a_verdict_that_was_not_scored_can_t_be_decided_by_a_policy_that_wants_scores(trial: Trial) -> None:
    unscored = stored_verdict(1, {}, outcome="exempt", exempt="bots", roles=["bot"])
    result = trial.of(POLICY, unscored, stored_verdict(2, {}))
    assert (result["verdicts"]["decided"], result["verdicts"]["not_scored"]) == (1, 1)
    exempt = "exempt: [{name: bots, when: {role: bot}, score: false}]\n"
    assert trial.of(POLICY + exempt, unscored)["verdicts"] == {
        **result["verdicts"],
        "read": 1,
        "not_scored": 0,
    }


def test_a_message_that_would_no_longer_be_scored_is_newly_passed(trial: Trial) -> None:
    exempt = "exempt: [{name: bots, when: {role: bot}, score: false}]\n"
    result = trial.of(POLICY + exempt, stored_verdict(1, {"hate": 0.95}, roles=["bot"]))
    assert result["flagged"] == {"before": 1, "after": 0, "newly_flagged": 0, "newly_passed": 1}


def test_alerts_are_counted_by_what_becomes_of_them(trial: Trial) -> None:
    policy = (
        POLICY
        + "exempt: [{name: staff, when: {role: mod}}]\n"
        + "allow: [{name: slang, texts: [kill the boss], categories: [violent_crimes]}]\n"
        + "alerts: {level: remove}\n"
    )
    result = trial.of(
        policy,
        stored_verdict(1, {"hate": 0.95}, roles=["mod"]),
        stored_verdict(2, {"hate": 0.4}),
        stored_verdict(3, {"violent_crimes": 0.95}),  # 13 characters, as the allowed text
        stored_verdict(4, {"violent_crimes": 0.95, "hate": 0.95}),  # the text would not help
        stored_verdict(5, {"violent_crimes": 0.95}, input={"characters": 12, "tokens": 4, "truncated": False}),
    )
    after = {name: result["alerts"][name] for name in ("raised", "exempt", "below_level", "undecided")}
    assert after == {"raised": 2, "exempt": 1, "below_level": 1, "undecided": 1}


EVERYBODY = 'exempt: [{name: all, when: {user_id: "*"}}]\n'


def changed_alerts(result: Any) -> tuple[int, int, int]:
    """Return the alerts before, the newly alerting and the newly silenced messages."""
    alerts = result["alerts"]
    return alerts["before"], alerts["newly_alerting"], alerts["newly_silenced"]


def test_alerts_that_an_exemption_or_the_level_of_alerts_withholds_are_newly_silenced(trial: Trial) -> None:
    flagged = [
        stored_verdict(1, {"hate": 0.95}, user_id="u"),
        stored_verdict(2, {"hate": 0.6}, user_id="u"),
        stored_verdict(3, {}, user_id="u"),
    ]
    assert changed_alerts(trial.of(POLICY, *flagged)) == (2, 0, 0)
    assert changed_alerts(trial.of(POLICY + EVERYBODY, *flagged)) == (2, 0, 2)
    assert changed_alerts(trial.of(POLICY + "alerts: {level: remove}\n", *flagged)) == (2, 0, 1)


def test_a_message_that_is_not_exempt_or_not_allowed_any_more_is_newly_alerting(trial: Trial) -> None:
    withheld = [
        stored_verdict(1, {"hate": 0.95}, level="remove", exempt="staff"),
        stored_verdict(2, {"hate": 0.95}, level="remove", allowed="slang"),
        stored_verdict(3, {"hate": 0.4}, level=None),
    ]
    assert changed_alerts(trial.of(POLICY, *withheld)) == (0, 3, 0)


def test_a_message_with_an_undecided_alert_is_neither_newly_alerting_nor_newly_silenced(trial: Trial) -> None:
    policy = POLICY + "allow: [{name: slang, texts: [kill the boss]}]\n"
    verdicts = [stored_verdict(1, {"hate": 0.6}), stored_verdict(2, {"hate": 0.6}, level="review", allowed="slang")]
    assert changed_alerts(trial.of(policy, *verdicts)) == (1, 0, 0)


def test_the_policy_that_judged_says_which_levels_raised_an_alert(trial: Trial) -> None:
    old = POLICY.replace("next", "before") + "alerts: {level: remove}\n"
    (trial.folder / "old.yaml").write_text(old)
    (trial.folder / "other.yaml").write_text(old.replace("before", "other"))
    verdicts = [
        stored_verdict(1, {"hate": 0.6}, level="review"),
        stored_verdict(2, {"hate": 0.95}, level="remove"),
    ]
    unknown = trial.of(POLICY, *verdicts)
    assert (changed_alerts(unknown), unknown["alerts"]["assumed"]) == ((2, 0, 0), 2)
    known = trial.of(POLICY, *verdicts, options=("--against", "old.yaml"))
    assert (changed_alerts(known), known["alerts"]["assumed"]) == ((1, 1, 0), 0)
    assert trial.of(POLICY, *verdicts, options=("--against", "other.yaml")) == unknown
    assert "For 2 messages it is not certain that they raised an alert" in trial.printed(POLICY, *verdicts)
    assert "not certain" not in trial.printed(POLICY, *verdicts, options=("--against", "old.yaml"))


def test_the_terminal_and_the_page_say_that_alerts_are_silenced_although_no_flag_changes(trial: Trial) -> None:
    policy = POLICY + EVERYBODY
    verdicts = [stored_verdict(offset, {"hate": 0.95}, user_id="u") for offset in (1, 2)]
    sentence = (
        "Alerts before they are coalesced: 2 before, 0 after; 0 newly alerting, 2 newly silenced. Of the "
        "messages that the policy flags: exempt: 2."
    )
    shown = trial.printed(policy, *verdicts)
    assert "0 newly flagged, 0 newly passed" in shown
    assert sentence in shown
    assert sentence in trial.printed(policy, *verdicts, options=("--out", "-"))


def test_a_field_that_no_verdict_has_is_named_with_the_entries_that_use_it(trial: Trial) -> None:
    policy = POLICY + "exempt: [{name: staff, when: {role: mod}}]\n"
    other = stored_verdict(2, {}, roles=["mod"])
    other["source"]["topic"] = "other.messages"
    result = trial.of(policy, stored_verdict(1, {}), other)
    assert result["untried"] == [
        {"field": "role", "topic": "chat.messages", "verdicts": 1, "entries": ["staff"]},
    ]


def test_what_is_not_a_verdict_is_counted_and_stops_nothing(trial: Trial) -> None:
    broken: list[object] = [
        stored_verdict(1, {}) | {"category_scores": {"hate": 0.5}},
        stored_verdict(1, {}) | {"category_scores": None},
        stored_verdict(1, {}) | {"schema": "verdict/2"},
        stored_verdict(1, {}) | {"roles": 7, "channel_id": ["a"]},
        stored_verdict(1, {}) | {"source": {"topic": "t"}},
        stored_verdict(1, {"hate": -1}),
        stored_verdict(1, {"hate": 2}),
        stored_verdict(1, {"hate": 1e300}),
        {"skipped": {"reason": "a join"}},
        [],
        None,
    ]
    result = trial.of(
        POLICY, *broken, stored_verdict(2, {"hate": 0.95}), stored_verdict(3, {"hate": 1, "privacy": 0})
    )
    assert (result["verdicts"]["read"], result["verdicts"]["unreadable"]) == (len(broken) + 2, len(broken))
    assert result["flagged"]["after"] == 2


def test_verdicts_of_classify_name_no_input(trial: Trial) -> None:
    result = trial.of(POLICY, stored_verdict(None, {"hate": 0.4}))
    (example,) = next(one for one in result["categories"] if one["category"] == "hate")["examples_flagged"]
    assert (example["topic"], example["message_id"]) == (None, "m-None")
    assert result["verdicts"]["first"] is None


def test_no_verdicts_are_no_error(trial: Trial) -> None:
    assert trial.of(POLICY)["verdicts"]["read"] == 0
    assert "no verdict to decide again" in trial.printed(POLICY)


def test_the_terminal_shows_counts_examples_and_doubts_without_control_characters(trial: Trial) -> None:
    shown = trial.printed(
        POLICY + "exempt: [{name: staff, when: {role: mod}}]\n",
        stored_verdict(7, {"hate": 0.4}, channel_id="a\x1b[2J"),
        {},
    )
    assert "1 verdicts decided again" in shown
    assert "Hate 0 1 1 0" in [" ".join(line.split()) for line in shown.splitlines()]
    assert "chat.messages[0]@7  score 0.4, threshold 0.3, channel a\\x1b[2J" in shown
    assert "! Records that are not verdicts (schema verdict/1), and count nowhere: 1." in shown
    assert "! No verdict of chat.messages has the field role (1 verdicts)." in shown
    assert "\x1b" not in shown


def test_the_table_is_printed_unless_json_or_the_page_is_printed(trial: Trial) -> None:
    verdict = stored_verdict(1, {"hate": 0.4})
    assert "1 newly flagged" in trial.printed(POLICY, verdict, options=("--json", "trial.json"))
    printed = trial.printed(POLICY, verdict, options=("--json", "-", "--out", "trial.html"))
    assert json.loads(printed) == json.loads((trial.folder / "trial.json").read_bytes())
    assert trial.printed(POLICY, verdict, options=("--out", "-")).startswith("<!DOCTYPE html>")


def test_the_page_shortens_the_id_of_a_channel_and_writes_no_control_character(trial: Trial) -> None:
    verdicts = [
        stored_verdict(at, {"hate": 0.4}, channel_id=name) for at, name in enumerate(["x" * 9999, "\u202eb"])
    ]
    page = trial.printed(POLICY, *verdicts, options=("--out", "-"))
    assert f"{'x' * 59}…" in page
    assert "x" * 60 not in page
    assert "\u202e" not in page


def test_a_place_that_can_t_be_written_is_refused_before_the_verdicts_are_read(trial: Trial) -> None:
    (trial.folder / "policy.yaml").write_text(POLICY)
    with pytest.raises(ConfigurationError, match="there is no such folder"):
        main(["policy", "try", "policy.yaml", "--verdicts", "none.jsonl", "--json", "missing/trial.json"])


def test_a_gzipped_file_is_read_and_a_damaged_one_is_an_error(trial: Trial) -> None:
    whole = gzip.compress(json.dumps(stored_verdict(1, {"hate": 0.4})).encode())
    (trial.folder / "policy.yaml").write_text(POLICY)
    file = trial.folder / "verdicts.jsonl.gz"
    file.write_bytes(whole)
    assert main(["policy", "try", "policy.yaml", "--verdicts", str(file), "--json", "out.json"]) is ExitCode.DONE
    assert json.loads((trial.folder / "out.json").read_bytes())["flagged"]["newly_flagged"] == 1
    file.write_bytes(whole[:-9])
    with pytest.raises(ConfigurationError, match="damaged"):
        main(["policy", "try", "policy.yaml", "--verdicts", str(file)])


def test_a_file_that_is_not_there_is_an_error_with_its_name(trial: Trial) -> None:
    (trial.folder / "policy.yaml").write_text(POLICY)
    with pytest.raises(ConfigurationError, match=r"none\.jsonl can't be read \(No such file"):
        main(["policy", "try", "policy.yaml", "--verdicts", "none.jsonl"])


def test_more_verdicts_than_a_chunk_count_as_one_set(trial: Trial) -> None:
    count = stored_verdicts.CHUNK_VERDICTS + 1
    result = trial.of(POLICY, *[stored_verdict(offset, {"hate": 0.4}) for offset in range(count)])
    assert result["flagged"] == {"before": 0, "after": count, "newly_flagged": count, "newly_passed": 0}
