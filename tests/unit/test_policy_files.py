"""A policy file: what it says, and every fault in one report, with file, line and column."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from schemas.labels import CATEGORY_SLUGS
from worker.errors import ConfigurationError, ExitCode
from worker.moderation.policies import effective_thresholds, parse_policy, read_policy
from worker.moderation.policies.policy_file import PolicyFile
from worker.moderation.yaml_document import read_yaml

ROOT = Path(__file__).parents[2]
HEAD = "schema: policy/1\nlevels: [review, remove]\n"
BASE = HEAD + "thresholds: {default: {review: 0.5, remove: 0.9}}\n"
SCHEMA = Draft202012Validator(json.loads((ROOT / "schemas/v1/policy.schema.json").read_bytes()))


def parsed(text: str) -> PolicyFile:
    return parse_policy(text.encode(), "policy.yaml").file


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        parsed(text)
    assert refused.value.exit_code is ExitCode.CONFIGURATION
    return str(refused.value).splitlines()


def thresholds(file: PolicyFile, slug: str, rule: int | None = None, candidate: int | None = None) -> list[object]:
    levels = effective_thresholds(file, rule=rule, candidate=candidate)[slug]
    return [levels[level].value for level in file.levels]


def test_all_faults_are_reported_together_in_the_order_of_the_file() -> None:
    lines = faults(
        "schema: policy/1\n"
        "version: 2027\n"
        "levels: [review, remove]\n"
        "threshold: {}\n"
        "thresholds:\n"
        "  default: {review: 0.5}\n"
        "  hat: {review: 0.4, remov: 0.85}\n"
        "rules:\n"
        "  - name: kids\n"
        "    when: {channel_id: 12, tenant: acme}\n"
        "    thresholds: {sexual_content: {review: yes}}\n"
        "  - {name: kids, when: {channel_id: }, thresholds: {}}\n"
        "alerts: {level: hard, coalesce: {by: [text, text], window_s: 0}}\n"
    )
    places = [line.split(": ")[0].removeprefix("policy.yaml:") for line in lines]
    wanted = "2:10 4:1 6:12 7:3 7:22 10:24 10:28 11:43 12:12 12:37 13:17 13:45 13:62"
    assert places == wanted.split()
    assert "version: got 2027; wants a string; write '2027' in quotes" in lines[0]
    assert "unknown key 'threshold'; did you mean 'thresholds'?" in lines[1]
    assert "the level 'remove' is missing; write a threshold for it, or off" in lines[2]
    assert "unknown category 'hat'; did you mean 'hate'?" in lines[3]
    assert "unknown level 'remov'; did you mean 'remove'?" in lines[4]
    assert "review: got 'yes'; wants a number from 0 to 1, or off" in lines[7]
    assert "the name 'kids' occurs twice" in lines[8]
    assert "wants at least one glob" in lines[9]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1:1: the file is empty"),
        (BASE + "version: &a x\n", "4:10: the anchor &a is not allowed"),
        (BASE + "version: *a\n", "4:10: the alias *a is not allowed"),
        (BASE + "version: !!str x\n", "4:10: the tag tag:yaml.org,2002:str is not allowed"),
        (BASE + "version: a\nversion: b\n", "5:1: the key 'version' occurs twice"),
        (BASE + "---\nschema: policy/1\n", "4:1: a second document is not allowed"),
        (HEAD + "thresholds: {hate: {review: 0.5}}\n", "3:13: thresholds: the key 'default' is missing"),
        (
            HEAD + "thresholds: {default: }\n",
            "3:23: thresholds.default: got null; wants a threshold for each level",
        ),
        (HEAD.replace("[review, remove]", "[]"), "2:9: levels: wants a list with at least one entry"),
        (HEAD.replace("remove", "review"), "2:18: the name 'review' occurs twice"),
        (BASE + "exempt: [{name: a, when: {}}]\n", "4:26: exempt[0].when: wants at least one of topic"),
        (
            BASE + "exempt: [{name: a, when: {role: }}]\n",
            "4:33: exempt[0].when.role: got null; wants at least one glob",
        ),
        (
            BASE + "exempt: [{name: a, when: {edited: }}]\n",
            "4:35: exempt[0].when.edited: got null; wants true or false",
        ),
        (BASE + "allow: [{name: a, texts: []}]\n", "4:26: allow[0].texts: wants a list with at least one"),
        (BASE + "allow: [{name: a, when: , texts: [a]}]\n", "4:25: allow[0].when: got null; wants keys and globs"),
        (BASE + "shadow: [{name: a, thresholds: {hate: {}}}]\n", "4:39: shadow[0].thresholds.hate: wants"),
        (BASE + "version: 1.10\n", "version: got 1.10; wants a string; write '1.10' in quotes"),
        (BASE + "exempt: [{name: a, when: {role: 007}}]\n", "wants a string; write '007' in quotes"),
        (BASE + "exempt: [{name: a, when: {role: True}}]\n", "wants a string; write 'True' in quotes"),
        (
            BASE + "exempt: [{name: a, when: {user_id: [1234567890123456789]}}]\n",
            "4:37: exempt[0].when.user_id[0]: got 1234567890123456789; wants a string; write '1234567890123456789'",
        ),
        (
            BASE + "exempt: [{name: a, when: {role: [mod, 'x[b-a]*']}}]\n",
            "4:39: exempt[0].when.role[1]: got 'x[b-a]*'; wants a glob that some value matches: no character is in",
        ),
        (
            BASE + "allow: [{name: a, texts: [a], when: {topic: '[]-[]'}}]\n",
            "when.topic: got '[]-[]'; wants a glob",
        ),
        (BASE + "exempt: [{name: a, when: {user_ids: x}}]\n", "unknown key 'user_ids'; did you mean 'user_id'?"),
        (BASE + "rules: [{nam: a}]\n", "4:10: unknown key 'nam'; did you mean 'name'?"),
        (BASE + "alerts: {coalesce: {window: 60}}\n", "unknown key 'window'; did you mean 'window_s'?"),
        (BASE + "alerts: {coalesce: {by: [text], window_s: 60s}}\n", "window_s: got '60s'; wants a whole number"),
        (
            HEAD.replace("remove", "none"),
            "2:18: levels[1]: got 'none'; wants another name: none stands for no level",
        ),
        (
            BASE + "rules: [{name: none, when: {role: x}, thresholds: {}}]\n",
            "4:16: rules[0].name: got 'none'; wants",
        ),
        (BASE + "alerts: {coalesce: off}\n", "4:20: alerts.coalesce: got 'off'; wants keys and values"),
        (BASE + "exempt: [{name: a, when: {role: x}, score: no}]\n", "score: got 'no'; wants true or false"),
        (BASE + "exempt: [{name: '', when: {role: x}}]\n", "name: got ''; wants at least 1 character"),
        (HEAD.replace("[review, remove]", "[a, b, c, d, e, f, g, h, i]"), "levels: wants at most 8 entries"),
        ("- schema: policy/1\n", "1:1: wants keys and values"),
        (
            BASE + "alerts: {coalesce: {by: [text], window_s: 0}}\n",
            "4:43: alerts.coalesce.window_s: got 0; wants a number",
        ),
    ],
)
def test_a_fault_names_its_place_and_what_to_write(text: str, said: str) -> None:
    assert any(said in line for line in faults(text)), faults(text)


@pytest.mark.parametrize(
    ("written", "quoted"),
    [
        ("*kids", "*kids"),
        ("[*kids*]", "*kids*"),
        ("[a, *]", "*"),
        ("[a-z]*", "[a-z]*"),
        ("kids-[0-9]*", "kids-[0-9]*"),
        ("@mods", "@mods"),
        ("%kids", "%kids"),
        ("`kids`", "`kids`"),
        ("!kids", "!kids"),
        ("&kids", "&kids"),
        ("#general", "#general"),
        ("[\U0001f600, '#', #general]", "#general"),
    ],
)
def test_a_value_that_needs_quotes_is_reported_with_its_quotes(written: str, quoted: str) -> None:
    line = faults(BASE + f"# \U0001f600\nexempt:\n  - {{name: a, when: {{user_id: {written}}}}}\n")[0]
    assert line.startswith("policy.yaml:6:")
    assert f'in quotes: "{quoted}"' in line


@pytest.mark.parametrize(
    ("written", "quoted"),
    [
        ("@everyone free nitro", "@everyone …"),
        ("`it's ok`", "`it …"),
        ("!kill the boss", "!kill …"),
        ("@a # b", "@a"),
    ],
)
def test_a_longer_value_that_needs_quotes_is_shown_with_its_beginning(written: str, quoted: str) -> None:
    line = faults(BASE + f"allow:\n  - name: a\n    texts:\n      - {written}\n")[0]
    assert f'in quotes: "{quoted}"' in line


def test_a_file_with_a_byte_order_mark_has_the_same_faults() -> None:
    wrong = BASE + "exempt: [{name: a, when: {user_id: *kids}}]\n"
    assert faults("\ufeff" + wrong) == faults(wrong)


def test_a_directive_of_yaml_needs_no_quotes() -> None:
    assert "in quotes" not in faults("%YAML 3.0\n---\n" + BASE)[0]


@pytest.mark.parametrize("text", ["thresholds:\n\tdefault: off\n", "thresholds:\n  hate: off\n\tprivacy: off\n"])
def test_a_tab_in_place_of_spaces_is_named(text: str) -> None:
    (line,) = faults(HEAD + text)
    assert line.endswith("not YAML: a tab is not allowed here; indent with spaces")


def test_a_comment_in_a_broken_file_is_not_taken_for_a_value() -> None:
    (line,) = faults(HEAD + "thresholds: {default: off, # mild\n  hate: off\nrules: []\n")
    assert "quotes" not in line


def test_a_character_that_yaml_forbids_is_named_at_its_place() -> None:
    assert faults(HEAD + "version: \u00e9\u0007\n") == [
        "policy.yaml:3:11: the character U+0007 is not allowed in YAML; remove it"
    ]


def test_what_yaml_allows_and_the_worker_refuses_hides_no_other_fault() -> None:
    lines = faults(
        "schema: policy/1\nversion: &a x\nversion: *a\nlevels: !!seq [*review, {a: 1, a: 2}]\n"
        "? [a, *b]\n: {c: *d}\n"
        "rules: [*kids*]\n"
    )
    places = [line.split(": ")[0].removeprefix("policy.yaml:") for line in lines]
    assert places == ["2:10", "3:1", "3:10", "4:9", "4:16", "4:32", "5:3", "5:7", "6:7", "7:9"]


def test_a_wrong_level_hides_no_other_fault() -> None:
    lines = faults(
        "schema: policy/1\n"
        "levels: [review, remove, 3, review]\n"
        "thresholds: {default: {review: 0.5, 3: 0.9}, hate: {remov: 0.8}}\n"
        "alerts: {level: delete}\n"
    )
    places = [line.split(": ")[0].removeprefix("policy.yaml:") for line in lines]
    assert places == ["2:26", "2:29", "3:23", "3:53", "4:17"]
    assert "the level 'remove' is missing" in lines[2]


@pytest.mark.parametrize("glob", ["[b-ac]*", "[!b-a]", "[b-a", "[]b-a]", "[(?!)]", "b-a]", "[]", "[!]"])
def test_a_glob_that_some_value_matches_is_right(glob: str) -> None:
    when = parsed(BASE + f"exempt: [{{name: a, when: {{user_id: '{glob}'}}}}]\n").exempt[0].when
    assert when.user_id == [glob]


def test_a_milder_level_with_a_greater_threshold_is_refused_wherever_it_comes_from() -> None:
    lines = faults(
        BASE + "rules:\n"
        "  - name: late\n"
        "    when: {channel_id: a}\n"
        "    thresholds: {hate: {review: 0.95}}\n"
        "  - name: early\n"
        "    when: {channel_id: b}\n"
        "    thresholds: {default: {remove: 0.4}, hate: {review: off}}\n"
        "shadow:\n"
        "  - name: lax\n"
        "    thresholds: {privacy: {review: 0.91}}\n"
    )
    assert [line.split(": ")[0] for line in lines] == [
        f"policy.yaml:{at}" for at in ("7:25", "10:28", "10:49", "13:28")
    ]
    assert "rules[0].thresholds.hate.review is 0.95 for the level 'review'" in lines[0]
    assert "write at most 0.9" in lines[0]
    assert "rules[1].thresholds.hate.review is off" in lines[2]


def test_a_fault_gives_all_digits_of_a_threshold() -> None:
    (line,) = faults(BASE.replace("review: 0.5, remove: 0.9", "review: 0.50000001, remove: 0.5"))
    assert "review is 0.50000001 for the level 'review'" in line
    assert line.endswith("write at most 0.5")


def test_default_holds_for_every_category_that_is_not_named_and_levels_are_inherited_one_by_one() -> None:
    file = parsed(
        HEAD + "thresholds:\n"
        "  default: {review: 0.5, remove: 0.9}\n"
        "  hate: {review: 0.4}\n"
        "  privacy: off\n"
        "rules:\n"
        "  - {name: a, when: {role: x}, thresholds: {hate: {remove: 0.7}}}\n"
        "  - {name: b, when: {role: y}, thresholds: {default: {review: 0.2}, hate: {remove: 0.8}}}\n"
        "  - {name: c, when: {role: z}, thresholds: {default: off, hate: {review: 0.1, remove: 0.2}}}\n"
        "shadow:\n"
        "  - {name: s, thresholds: {hate: {review: 0.3}, sexual_content: {remove: 0.6}}}\n"
    )
    assert thresholds(file, "hate") == [0.4, 0.9]
    assert thresholds(file, "privacy") == [None, None]
    assert thresholds(file, "hate", 0) == [0.4, 0.7]
    assert thresholds(file, "privacy", 0) == [None, None]
    assert thresholds(file, "hate", 1) == [0.4, 0.8]
    assert thresholds(file, "sexual_content", 1) == [0.2, 0.9]
    assert thresholds(file, "hate", 2) == [0.1, 0.2]
    assert thresholds(file, "sexual_content", 2) == [None, None]
    assert thresholds(file, "hate", None, 0) == [0.3, 0.9]
    assert thresholds(file, "sexual_content", 1, 0) == [0.2, 0.6]


@pytest.mark.parametrize("off", ["off", "false", '"off"'])
def test_off_and_false_are_the_same(off: str) -> None:
    file = parsed(HEAD + f"thresholds: {{default: {{review: 0.5, remove: {off}}}, hate: {off}}}\n")
    assert thresholds(file, "privacy") == [0.5, None]
    assert thresholds(file, "hate") == [None, None]


def test_a_threshold_knows_the_line_that_sets_it() -> None:
    source = parse_policy((BASE + "rules: [{name: a, when: {role: x}, thresholds: {hate: off}}]\n").encode(), "p")
    levels = effective_thresholds(source.file, rule=0)
    assert source.document.keys[levels["hate"]["review"].path] == (4, 49)
    assert source.document.keys[levels["privacy"]["review"].path] == (3, 24)


def test_every_category_is_known_to_the_schema_for_editors_and_to_the_reader() -> None:
    text = (
        HEAD + "thresholds:\n  default: off\n" + "".join(f"  {slug}: {{review: 0.5}}\n" for slug in CATEGORY_SLUGS)
    )
    assert [*SCHEMA.iter_errors(read_yaml(text).data)] == []
    assert len(parsed(text.replace("{review: 0.5}", "{review: 0.5, remove: off}")).thresholds) == 13


@pytest.mark.parametrize(
    "text",
    [
        BASE + "rules: [{name: a, when: {channel_id: 'kids-*', role: [a, b], edited: true}, thresholds: {}}]\n",
        BASE + "exempt: [{name: a, when: {role: bot}, score: false}]\n",
        BASE + "allow: [{name: a, texts: [x], categories: [hate]}]\nshadow: [{name: b, thresholds: {hate: off}}]\n",
        BASE + "alerts: {level: remove, text: full, coalesce: {by: [channel_id, text], window_s: 60}}\n",
    ],
)
def test_the_schema_for_editors_accepts_what_the_worker_accepts(text: str) -> None:
    parsed(text)
    assert [*SCHEMA.iter_errors(read_yaml(text).data)] == []


@pytest.mark.parametrize(
    "text",
    [
        BASE.replace("default", "defaults"),
        BASE.replace("0.9", "1.5"),
        BASE.replace("0.9", "true"),
        BASE + "rules: [{name: a, thresholds: {}}]\n",
        BASE + "unknown: 1\n",
        HEAD.replace("remove", "none") + "thresholds: {default: {review: 0.5, none: 0.9}}\n",
        BASE + "rules: [{name: none, when: {role: x}, thresholds: {}}]\n",
    ],
)
def test_the_schema_for_editors_refuses_what_the_worker_refuses(text: str) -> None:
    faults(text)
    assert [*SCHEMA.iter_errors(read_yaml(text).data)] != []


def test_the_digest_depends_on_the_content_alone(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(BASE)
    (tmp_path / "c.yaml").write_text(BASE + "# a comment\n")
    one, other, third = (read_policy(str(tmp_path / f"{name}.yaml")).digest for name in "abc")
    assert one == other != third


def test_a_file_that_cannot_be_read_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"schema: policy/1\nversion: \xc3\xa9caf\xe9\n")
    for name, said in (
        ("absent.yaml", "No such file"),
        ("latin.yaml", "latin.yaml:2:14: this character is not UTF-8; save the file as"),
        ("", "Is a directory"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            read_policy(str(tmp_path / name))


EXAMPLE = ROOT / "deploy/kubernetes/components/policy/policy.yaml"


def test_the_example_of_the_deployment_is_right_and_uses_every_part_of_a_policy() -> None:
    file = read_policy(str(EXAMPLE)).file
    assert [*SCHEMA.iter_errors(read_yaml(EXAMPLE.read_text()).data)] == []
    assert PolicyFile.model_fields.keys() == file.model_fields_set
    assert all((file.rules, file.exempt, file.allow, file.shadow))
