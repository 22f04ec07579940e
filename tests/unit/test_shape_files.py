"""A shape file that is wrong: every fault in one report, with file, line and column."""

from pathlib import Path

import pytest

from worker.errors import ConfigurationError, ExitCode
from worker.moderation.shapes import builtin_envelopes, builtin_shapes, load_envelope, load_shape
from worker.moderation.shapes.files import parse_shape
from worker.moderation.yaml_document import read_yaml
from worker.moderation.yaml_events import YamlFaults


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        parse_shape(text, "chat.yaml")
    assert refused.value.exit_code is ExitCode.CONFIGURATION
    return str(refused.value).splitlines()


def test_every_built_in_shape_and_envelope_is_right() -> None:
    assert "plain" in builtin_shapes()
    assert builtin_envelopes() == ("cloudevents", "connect", "debezium")
    for name in builtin_shapes():
        load_shape(name)
    for name in builtin_envelopes():
        load_envelope(name)


def test_all_faults_are_reported_together_in_the_order_of_the_file() -> None:
    lines = faults(
        "schema: shape/1\n"
        "txt: [/a]\n"
        "where:\n"
        "  - {at: /t, in: [A]}\n"
        "  - {at: /t, not_in: [A]}\n"
        "message_id: [id]\n"
        "text: []\n"
        "no_text: sometimes\n"
    )
    places = [line.split(": ")[0] for line in lines]
    assert places == [f"chat.yaml:{place}" for place in ("2:1", "5:5", "6:14", "7:7", "8:10")]
    assert "unknown key 'txt'; did you mean 'text'?" in lines[0]
    assert "every record would be skipped" in lines[1]
    assert "JSON Pointer" in lines[2]
    assert "at least one JSON Pointer" in lines[3]
    assert "'verdict' or 'dead_letter'" in lines[4]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1:1: the file is empty"),
        ("schema: shape/1\ntext: [/a", "not YAML"),
        ("schema: shape/1\ntext: &a [/a]\n", "2:7: the anchor &a is not allowed"),
        ("schema: shape/1\ntext: *a\n", "2:7: the alias *a is not allowed"),
        ("schema: !x shape/1\ntext: [/a]\n", "1:9: the tag !x is not allowed"),
        ("schema: shape/1\ntext: [/a]\ntext: [/b]\n", "3:1: the key 'text' occurs twice"),
        ("schema: shape/1\ntext: [/a]\n---\nschema: shape/1\n", "3:1: a second document is not allowed"),
        ("schema: shape/2\ntext: [/a]\n", "1:9: schema"),
        ("schema: shape/1\n", "1:1: the key 'text' is missing"),
        ("schema: shape/1\nwire: text\ntext: [/a]\n", "3:7: text: wants nothing with wire: text"),
        ("schema: shape/1\ntext: [/a~2]\n", "2:8: text[0]: got '/a~2'; wants a JSON Pointer"),
        ("schema: shape/1\ntext: [/a]\nunwrap: [rar]\n", "3:10: unwrap[0]: got 'rar'; wants"),
        (
            "schema: shape/1\ntext: [/a]\nwhere: [{at: /a, inn: [x]}]\n",
            "3:18: unknown key 'inn'; did you mean 'in'?",
        ),
        ("schema: shape/1\ntext: [/a]\nroles: [{at: /a, in: [x], rol: b}]\n", "did you mean 'role'?"),
        (
            "schema: shape/1\ntext: [/a]\nroles: [{at: /a, in: [x], role: 1e3}]\n",
            "role: got 1e3; wants a string; write '1e3'",
        ),
        ("schema: shape/1\ntext: [/a]\nfirst_text: yes\n", "3:13: first_text: got 'yes'; wants true or false"),
        ("schema: shape/1\ntext: [/a]\nwhere: [{at: /a}]\n", "3:9: where[0]: wants exactly one of"),
        ("schema: shape/1\ntext: [/a]\nwhere: [{at: /a, in: [1.5]}]\n", "3:22: where[0].in: wants strings"),
        (
            "schema: shape/1\ntext: [/a]\nuser_id: ['header:']\n",
            "3:11: user_id[0]: got 'header:'; wants the name of a header",
        ),
    ],
)
def test_a_fault_names_its_place_and_what_to_write(text: str, said: str) -> None:
    assert any(said in line for line in faults(text)), faults(text)


@pytest.mark.parametrize(
    "rules",
    [
        "[{at: /t, in: [a]}, {at: /t, in: [b]}]",
        "[{at: /t, in: [a]}, {at: /t, not_in: [a, b]}]",
        "[{at: /t, in: [1]}, {at: /t, in: ['1', true]}]",
        "[{at: /t, present: true}, {at: /t, present: false}]",
        "[{at: /t, present: false}, {at: /t, in: [a]}]",
        "[{at: /t, present: false}, {at: /t, not_in: [null]}]",
    ],
)
def test_two_rules_that_exclude_everything_are_refused(rules: str) -> None:
    [line] = faults(f"schema: shape/1\ntext: [/a]\nwhere: {rules}\n")
    assert "every record would be skipped" in line


@pytest.mark.parametrize(
    "rules",
    [
        "[{at: /t, in: [a, b]}, {at: /t, in: [b]}]",
        "[{at: /t, in: [null, a]}, {at: /t, present: false}]",
        "[{at: /t, not_in: [a]}, {at: /t, not_in: [b]}]",
        "[{at: /t, present: true}, {at: /t, not_in: [null]}]",
        "[{at: '/t/*', in: [a]}, {at: '/t/*', in: [b]}]",
    ],
)
def test_two_rules_that_leave_something_are_allowed(rules: str) -> None:
    parse_shape(f"schema: shape/1\ntext: [/a]\nwhere: {rules}\n", "chat.yaml")


def test_a_name_that_is_not_known_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'discord'"):
        load_shape("dicord")
    with pytest.raises(ConfigurationError, match=r"can't be read \(No such file"):
        load_shape(str(tmp_path / "missing.yaml"))
    with pytest.raises(ConfigurationError, match="wants one of cloudevents, connect, debezium"):
        load_envelope("soap")


def test_a_file_is_read_by_its_path(tmp_path: Path) -> None:
    file = tmp_path / "ours.yml"
    file.write_text("schema: shape/1\ntext: [/body]\n")
    assert load_shape(str(file)).text == ["/body"]


def test_a_file_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "ours.yml"
    file.write_bytes(b"schema: shape/1\ntext: [/caf\xe9]\n")
    with pytest.raises(
        ConfigurationError, match=r"ours.yml:2:12: this character is not UTF-8; save the file as UTF-8"
    ):
        load_shape(str(file))


def test_a_plain_scalar_is_read_by_the_rules_of_yaml_1_2() -> None:
    document = read_yaml("[off, yes, 2027-01-31, 1_000, 0x1F, 010, 1.5, true, null, ~, '1', \"null\"]")
    assert document.data == ["off", "yes", "2027-01-31", "1_000", "0x1F", 10, 1.5, True, None, None, "1", "null"]


def test_a_document_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(YamlFaults):
        read_yaml("[" * 100_000)
