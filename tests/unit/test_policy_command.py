"""`policy check` and `policy show`: what is wrong or doubtful in a file, and what decides about a message."""

import re
from pathlib import Path

import pytest

from schemas.labels import CATEGORY_SLUGS
from tests.stored_verdicts import stored_verdict, write_verdicts
from worker.cli import main
from worker.errors import ConfigurationError, ExitCode

ROOT = Path(__file__).parents[2]
HEAD = "schema: policy/1\nlevels: [review, remove]\nthresholds:\n  default: {review: 0.5, remove: 0.9}\n"
KIDS = (
    HEAD
    + "  hate: {review: 0.4}\n"
    + (
        "rules:\n"
        "  - name: kids\n"
        '    when: {channel_id: ["kids-*"], tenant_id: acme}\n'
        "    thresholds: {sexual_content: {review: 0.1}, hate: off}\n"
    )
)


@pytest.fixture
def printed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> "Printed":
    monkeypatch.chdir(tmp_path)
    return Printed(tmp_path, capsys)


class Printed:
    """Runs the command on a policy, and returns what it printed on a wide terminal."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def by(self, subcommand: str, policy: str, *options: str) -> str:
        (self.folder / "policy.yaml").write_text(policy)
        assert main(["policy", subcommand, "policy.yaml", *options]) is ExitCode.DONE
        return self._capsys.readouterr().out


def words(printed: str) -> list[str]:
    """Return the lines with one space between words."""
    return [" ".join(line.split()) for line in printed.splitlines()]


def test_a_right_file_is_summed_up_in_one_line(printed: Printed) -> None:
    assert printed.by("check", KIDS) == (
        "✓ policy.yaml: version e34b9ec3bb5edf1b, levels review, remove; rules 1, exemptions 0, groups of allowed "
        "texts 0, shadow candidates 0; doubts 0\n"
    )


def test_another_policy_with_the_same_version_is_doubtful(printed: Printed) -> None:
    (printed.folder / "old.yaml").write_text("version: spring\n" + KIDS)
    assert "doubts 0" in printed.by("check", "# The same.\nversion: spring\n" + KIDS, "--against", "old.yaml")
    found = printed.by("check", "version: spring\n" + KIDS.replace("0.1", "0.2"), "--against", "old.yaml")
    assert "! policy.yaml:1:10: the version 'spring' is also that of the other file" in found
    assert "doubts 1" in found


def test_a_broken_file_is_refused_with_all_its_faults_and_exit_code_2(printed: Printed) -> None:
    with pytest.raises(ConfigurationError) as refused:
        printed.by("check", HEAD + "  hat: {review: 0.4}\n  privacy: {review: 0.95}\n")
    assert refused.value.exit_code is ExitCode.CONFIGURATION
    lines = str(refused.value).splitlines()
    assert lines[0].startswith("policy.yaml:5:3: unknown category 'hat'; did you mean 'hate'?")


def test_levels_out_of_order_break_a_file(printed: Printed) -> None:
    with pytest.raises(ConfigurationError, match=r"policy\.yaml:5:\d+: .*privacy"):
        printed.by("check", HEAD + "  privacy: {review: 0.95}\n")


def test_a_rule_that_an_earlier_rule_leaves_nothing_is_doubtful(printed: Printed) -> None:
    found = printed.by(
        "check",
        KIDS + "  - name: young-kids\n"
        '    when: {channel_id: ["kids-a*", kids-7], tenant_id: [acme], edited: true}\n'
        "    thresholds: {hate: {review: 0.2}}\n"
        "  - name: other-tenants\n"
        '    when: {channel_id: ["kids-a*"]}\n'
        "    thresholds: {hate: {review: 0.2}}\n",
    )
    assert "! policy.yaml:10:11: the rule 'young-kids' never applies: the earlier rule 'kids' takes all" in found
    assert "other-tenants" not in found
    assert "doubts 1" in found


def test_entries_that_change_nothing_are_doubtful(printed: Printed) -> None:
    found = printed.by(
        "check",
        HEAD + "rules: [{name: same, when: {channel_id: a}, thresholds: {hate: {review: 0.5}}}]\n"
        "exempt:\n"
        "  - {name: staff, when: {role: '*'}}\n"
        "  - {name: bots, when: {role: [bot, app]}}\n"
        "allow:\n"
        "  - {name: slang, texts: [gg, kill the boss]}\n"
        "  - {name: game, when: {channel_id: g}, texts: [gg], categories: [hate]}\n"
        "shadow: [{name: same-again, thresholds: {hate: {remove: 0.9}}}]\n",
    )
    lines = [line.removeprefix("! policy.yaml:") for line in found.splitlines()[:-1]]
    assert [line.split(":")[0] for line in lines] == ["5", "8", "11", "12"]
    assert "the rule 'same' changes nothing" in lines[0]
    assert "the exemption 'bots' never applies: the earlier exemption 'staff'" in lines[1]
    assert "the allowed texts 'game' never apply: the earlier entry 'slang'" in lines[2]
    assert "the shadow candidate 'same-again' decides as the policy does" in lines[3]


def test_a_rule_without_effect_may_keep_messages_from_later_rules(printed: Printed) -> None:
    shielded = (
        "rules:\n"
        "  - {name: shield, when: {channel_id: a-1}, thresholds: {hate: {review: 0.5}}}\n"
        '  - {name: strict, when: {channel_id: "a-*"}, thresholds: {hate: {review: 0.1}}}\n'
    )
    assert "doubts 0" in printed.by("check", HEAD + shielded)


def strict_about_hate(rule: str) -> str:
    """Return a policy with a strict threshold for hate, and a rule with these thresholds."""
    return (
        HEAD + f"  hate: {{review: 0.2}}\nrules:\n  - {{name: kids, when: {{channel_id: k}}, thresholds: {rule}}}\n"
    )


def test_doubts_about_one_default_have_the_order_of_the_model_card(printed: Printed) -> None:
    strict = ("privacy", "hate", "violent_crimes", "sexual_content")
    base = HEAD + "".join(f"  {slug}: {{review: 0.2}}\n" for slug in strict)
    rule = "rules:\n  - {name: kids, when: {channel_id: k}, thresholds: {default: {review: 0.3}}}\n"
    found = re.findall("also holds for (.+?):", printed.by("check", base + rule))
    assert found == [slug for slug in CATEGORY_SLUGS if slug in strict]


def test_a_rule_whose_messages_are_not_scored_has_one_doubt(printed: Printed) -> None:
    policy = (
        HEAD
        + "rules:\n  - {name: x, when: {role: bot}, thresholds: {hate: {review: 0.1}}}\n"
        + "  - {name: y, when: {role: bot, channel_id: a}, thresholds: {hate: {review: 0.2}}}\n"
        + "exempt: [{name: bots, when: {role: bot}, score: false}]\n"
    )
    found = printed.by("check", policy)
    assert "never applies" not in found
    assert "doubts 2" in found


@pytest.mark.parametrize("base", ["0.5", "off"])
def test_a_category_that_the_default_of_a_rule_weakens_is_doubtful(printed: Printed, base: str) -> None:
    policy = strict_about_hate("{default: {review: 0.3}}").replace("0.5", base, 1).replace("0.9", base)
    found = printed.by("check", policy)
    assert (
        "policy.yaml:7:72: the default of the rule 'kids' also holds for hate: for the level 'review' 0.2 (line 5) "
        "becomes 0.3, which flags less; name hate in the rule"
    ) in found
    assert "doubts 1" in found


@pytest.mark.parametrize(
    "rule",
    [
        "{default: {review: 0.3}, hate: {review: 0.25}}",
        "{default: {review: 0.1}}",
        "{default: {remove: 0.8}}",
        "{default: off}",
        "{privacy: {review: 0.3}}",
    ],
)
def test_a_rule_that_names_the_strict_category_or_weakens_none_is_not_doubtful(printed: Printed, rule: str) -> None:
    assert "doubts 0" in printed.by("check", strict_about_hate(rule))


def test_a_rule_may_be_less_strict_about_a_category_that_the_base_is_not_strict_about(printed: Printed) -> None:
    policy = strict_about_hate("{default: {review: 0.8}}").replace("hate: {review: 0.2}", "hate: {review: 0.7}")
    assert "doubts 0" in printed.by("check", policy)


@pytest.mark.parametrize(
    ("policy", "place"),
    [
        (HEAD.replace("0.9", "off") + "alerts: {level: remove}\n", "5:17"),
        (HEAD.replace("0.9", "1") + "alerts: {level: remove}\n", "5:17"),
        (HEAD.replace("{review: 0.5, remove: 0.9}", "off"), "4:12"),
    ],
)
def test_a_policy_that_can_raise_no_alert_is_doubtful(printed: Printed, policy: str, place: str) -> None:
    found = printed.by("check", policy)
    assert f"! policy.yaml:{place}: no category can reach the level" in found
    assert "doubts 1" in found


@pytest.mark.parametrize(
    "rest",
    [
        "  hate: {review: 0.5}\n",
        "rules: [{name: a, when: {channel_id: a}, thresholds: {hate: {review: 0.5}}}]\n",
        "shadow: [{name: a, thresholds: {hate: {review: 0.5}}}]\n",
    ],
)
def test_a_policy_that_is_off_by_default_is_not_doubtful(printed: Printed, rest: str) -> None:
    assert "doubts 0" in printed.by("check", HEAD.replace("{review: 0.5, remove: 0.9}", "off") + rest)


@pytest.mark.parametrize(
    ("when", "takes_all"),
    [
        ('topic: "*"', True),
        ('topic: [a, "**"]', True),
        ('topic: "a*"', False),
        ('topic: "*", edited: true', False),
        ('user_id: "*"', False),
    ],
)
def test_an_exemption_of_every_message_is_doubtful(printed: Printed, when: str, *, takes_all: bool) -> None:
    found = printed.by("check", HEAD + f"exempt: [{{name: all, when: {{{when}}}}}]\n")
    assert ("the exemption 'all' takes every message: no message raises an alert" in found) == takes_all


RULE_FOR_MODERATORS = (
    "rules: [{name: mods, when: {role: moderator, channel_id: a}, thresholds: {hate: {review: 0.1}}}]\n"
)


def test_a_rule_whose_messages_are_not_scored_is_doubtful(printed: Printed) -> None:
    unscored = "exempt:\n  - {name: team, when: {role: [bot, mod*]}, score: false}\n"
    found = printed.by("check", HEAD + RULE_FOR_MODERATORS + unscored)
    assert "policy.yaml:5:16: the rule 'mods' changes nothing: the exemption 'team' keeps all its messages" in found
    assert "doubts 1" in found


@pytest.mark.parametrize(
    "exempt",
    [
        "[{name: team, when: {role: moderator}}]",
        "[{name: team, when: {role: moderator, channel_id: b}, score: false}]",
        "[{name: some, when: {user_id: x}}, {name: team, when: {role: moderator}, score: false}]",
    ],
)
def test_a_rule_some_of_whose_messages_are_scored_is_not_doubtful(printed: Printed, exempt: str) -> None:
    assert "doubts 0" in printed.by("check", HEAD + RULE_FOR_MODERATORS + f"exempt: {exempt}\n")


def example_policies() -> list[str]:
    """Return every policy that is an example for users, as a file's content."""
    pages = [page.read_text() for page in sorted((ROOT / "docs").rglob("*.md"))]
    blocks = [block for page in pages for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    files = (ROOT / "deploy/kubernetes/components/policy/policy.yaml", ROOT / "worker/commands/demo/policy.yaml")
    return [
        *(file.read_text() for file in files),
        *(block for block in blocks if re.search("^schema: policy/1$", block, re.MULTILINE)),
    ]


def test_no_example_policy_is_doubtful(printed: Printed) -> None:
    examples = example_policies()
    assert len(examples) > 2
    for policy in examples:
        assert "doubts 0" in printed.by("check", policy), policy


def test_a_rule_for_edits_leaves_the_other_messages_to_a_later_rule(printed: Printed) -> None:
    rules = (
        "rules:\n"
        '  - {name: edits, when: {channel_id: "*", edited: true}, thresholds: {hate: {review: 0.2}}}\n'
        "  - {name: kids, when: {channel_id: kids}, thresholds: {hate: {review: 0.1}}}\n"
    )
    assert "doubts 0" in printed.by("check", HEAD + rules)


def test_what_differs_from_another_file_is_a_table(printed: Printed) -> None:
    (printed.folder / "old.yaml").write_text(
        HEAD + "rules:\n"
        "  - {name: first, when: {channel_id: a}, thresholds: {hate: off}}\n"
        "  - {name: second, when: {channel_id: b}, thresholds: {hate: {review: 0.1}}}\n"
    )
    found = printed.by(
        "check",
        HEAD.replace("0.5", "0.45") + "rules:\n"
        "  - {name: second, when: {channel_id: [b, c]}, thresholds: {hate: {review: 0.1}}}\n"
        "  - {name: first, when: {channel_id: a}, thresholds: {hate: off}}\n"
        "alerts: {coalesce: {by: [channel_id], window_s: 60}}\n",
        *("--against", "old.yaml"),
    )
    rows = [line.split() for line in found.partition("What differs from old.yaml:")[2].splitlines() if line]
    assert ["thresholds.default.review", "0.5", "0.45"] in rows
    assert ["rules[second].when.channel_id", "b", "b,", "c"] in rows
    assert ["alerts.coalesce.window_s", "60"] in rows
    assert ["rules:", "order", "first,", "second", "second,", "first"] in rows
    assert not any(row[0].startswith("rules[first]") for row in rows)


def test_thresholds_are_shown_with_all_their_digits(printed: Printed) -> None:
    (printed.folder / "old.yaml").write_text(HEAD)
    policy = HEAD.replace("0.5", "0.50000001").replace("0.9", "1")
    found = printed.by("check", policy, "--against", "old.yaml")
    assert ["thresholds.default.review", "0.5", "0.50000001"] in [line.split() for line in found.splitlines()]
    assert "Hate 0.50000001 line 4 1 line 4" in words(printed.by("show", policy))


def test_equal_files_do_not_differ(printed: Printed) -> None:
    (printed.folder / "old.yaml").write_text(KIDS)
    assert "Nothing differs from old.yaml." in printed.by("check", KIDS, "--against", "old.yaml")


def test_globs_that_match_no_recent_verdict_are_doubtful(printed: Printed) -> None:
    verdicts = write_verdicts(
        printed.folder / "verdicts.jsonl",
        stored_verdict(1, {}, channel_id="kids-1", tenant_id="acme"),
        stored_verdict(2, {}, channel_id="games-1", tenant_id="other"),
    )
    rest = (
        '  - {name: games, when: {channel_id: ["games-*", "gmaes-*"], tenant_id: other}, thresholds: {hate: off}}\n'
        '  - {name: games-again, when: {channel_id: "*ames-1"}, thresholds: {hate: {review: 0.2}}}\n'
        "exempt: [{name: staff, when: {role: [moderator]}}]\n"
    )
    found = printed.by("check", KIDS + rest, "--verdicts", verdicts)
    assert "! policy.yaml:10:50: channel_id: 'gmaes-*' matches nothing in these verdicts" in found
    assert "the rule 'games-again' decides about none of these verdicts" in found
    assert "no verdict of chat.messages has the field role, which staff use" in found
    assert "doubts 3" in found


def test_a_file_without_verdicts_says_that_nothing_was_compared(printed: Printed) -> None:
    verdicts = write_verdicts(printed.folder / "verdicts.jsonl", {"error": {}})
    assert "there is no verdict to compare the globs with" in printed.by("check", KIDS, "--verdicts", verdicts)


def test_the_thresholds_of_a_message_are_shown_with_the_line_that_sets_each(printed: Printed) -> None:
    policy = KIDS + "exempt: [{name: staff, when: {role: mod*}}]\nallow: [{name: slang, texts: [gg]}]\n"
    found = printed.by(
        "show", policy, "--channel-id", "kids-3", "--tenant-id", "acme", "--role", "vip", "--role", "moderator"
    )
    rows = words(found)
    assert "rule: kids (line 7)" in rows
    assert "exempt: staff (line 10): no alert" in rows
    assert "allowed texts: slang (line 11)" in rows
    assert "Sexual content 0.1 line 9 0.9 line 4" in rows
    assert "Hate off line 9 off line 9" in rows
    assert "Privacy 0.5 line 4 0.9 line 4" in rows


def test_shadow_candidates_are_shown_with_the_thresholds_that_they_change(printed: Printed) -> None:
    shadow = (
        "shadow:\n  - {name: lax, thresholds: {hate: {review: 0.45}}}\n  - {name: same, thresholds: {hate: off}}\n"
    )
    rows = words(printed.by("show", KIDS + shadow))
    assert rows[rows.index("shadow candidate: lax (line 11)") :] == [
        "shadow candidate: lax (line 11)",
        "",
        "category review remove",
        "Hate 0.45 line 11 0.9 line 4",
        "",
        "shadow candidate: same (line 12)",
        "",
        "category review remove",
        "Hate off line 12 off line 12",
    ]
    rows = words(printed.by("show", KIDS + shadow, "--channel-id", "kids-3", "--tenant-id", "acme"))
    assert "shadow candidate: lax (line 11): decides about these messages as the policy does" in rows


def test_what_alerts_hold_and_how_they_are_coalesced_is_shown(printed: Printed) -> None:
    rows = words(printed.by("show", KIDS))
    assert "alerts: from the level review" in rows
    assert "text in alerts: none" in rows
    assert "coalescing: none; every message that should alert raises an alert" in rows
    alerts = "alerts:\n  level: remove\n  text: full\n  coalesce: {by: [channel_id, text], window_s: 60}\n"
    rows = words(printed.by("show", KIDS + alerts))
    assert "alerts: from the level remove (line 11)" in rows
    assert "text in alerts: full (line 12)" in rows
    assert "coalescing: by channel_id, text, in windows of 60 s (line 13)" in rows


def test_an_absent_field_matches_no_rule(printed: Printed) -> None:
    found = printed.by("show", KIDS, "--channel-id", "kids-3")
    assert "rule: none matches" in found
    assert "Hate 0.4 line 5 0.9 line 4" in words(found)
