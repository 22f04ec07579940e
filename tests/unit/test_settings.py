import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from worker.errors import ConfigurationError, ExitCode
from worker.settings import LoadedSettings, Settings, describe, load_settings, variables_for

NAMES = {
    "KAFKA": "BOOTSTRAP_SERVERS GROUP_ID CLIENT_ID CLIENT_RACK INPUT_TOPICS VERDICT_TOPIC ALERT_TOPIC "
    "DEAD_LETTER_TOPIC TRANSACTIONAL_ID GROUP_INSTANCE_ID AUTO_OFFSET_RESET RECORD_BYTES_MAX "
    "GROUP_PROTOCOL PARTITION_ASSIGNMENT_STRATEGY SESSION_TIMEOUT_MS MAX_POLL_INTERVAL_MS "
    "TRANSACTION_TIMEOUT_MS SECURITY_PROTOCOL SASL_MECHANISM SASL_USERNAME SASL_PASSWORD "
    "SSL_CA_LOCATION SSL_CERTIFICATE_LOCATION SSL_KEY_LOCATION SSL_KEY_PASSWORD PROPERTIES",
    "INPUT": "SHAPE ENVELOPE FORMAT TEXT_POINTER MESSAGE_ID_POINTER CHANNEL_ID_POINTER USER_ID_POINTER "
    "SENT_AT_POINTER BYTES_MAX CHARACTERS_MAX",
    "MODEL": "PATH REVISION TOKENIZER TOKENIZER_REVISION DIGEST DEVICE DTYPE TOKENS_MAX THREADS",
    "TEXT": "VIEWS WINDOWS_MAX WINDOW_OVERLAP_TOKENS TRUNCATED",
    "BATCH": "RECORDS_MAX TOKENS_MAX WAIT_MS_MAX COMMIT_MS_MAX SCORE_MS_MAX",
    "POLICY": "PATH THRESHOLD THRESHOLDS VERSION",
    "ALERT": "TEXT",
    "COALESCING": "SECRET",
    "OUTPUT": "HEADERS CLOUDEVENTS",
    "CACHE": "BYTES_MAX",
    "DEAD_LETTER": "MODEL_SHARE_MAX INPUT_SHARE_MAX WINDOW_RECORDS",
    "DRIFT": "REFERENCE",
    "HEALTH": "PORT",
    "LOG": "LEVEL FORMAT",
    "SHUTDOWN": "GRACE_MS_MAX",
}
CONTRACT = [f"WORKER_{group}__{name}" for group, names in NAMES.items() for name in names.split()]


@pytest.fixture(autouse=True)
def _empty_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def environment(values: Mapping[str, str]) -> dict[str, str]:
    return {f"WORKER_{name}": value for name, value in values.items()}


def loaded(**values: str) -> Settings:
    return load_settings(environment(values)).settings


def faults(**values: str) -> list[str]:
    with pytest.raises(ConfigurationError) as refusal:
        load_settings(environment(values))
    return str(refusal.value).splitlines()


def the_fault(**values: str) -> str:
    [line] = faults(**values)
    return line


def values_of(source: LoadedSettings) -> dict[str, str]:
    return {row.variable: row.value for row in describe(source)}


# Names and defaults


def test_the_settings_are_the_contracts() -> None:
    assert [row.variable for row in describe(load_settings({}))] == CONTRACT


def test_the_defaults_are_the_contracts() -> None:
    set_by_default = {
        name.removeprefix("WORKER_"): value
        for name, value in values_of(load_settings({})).items()
        if value != "(unset)"
    }
    assert set_by_default == {
        "KAFKA__GROUP_ID": "moderation",
        "KAFKA__INPUT_TOPICS": "chat.messages",
        "KAFKA__VERDICT_TOPIC": "moderation.verdicts",
        "KAFKA__ALERT_TOPIC": "moderation.alerts",
        "KAFKA__DEAD_LETTER_TOPIC": "moderation.dead-letters",
        "KAFKA__TRANSACTIONAL_ID": f"moderation.{socket.gethostname()}",
        "KAFKA__AUTO_OFFSET_RESET": "earliest",
        "KAFKA__RECORD_BYTES_MAX": "1000000",
        "KAFKA__GROUP_PROTOCOL": "classic",
        "KAFKA__PARTITION_ASSIGNMENT_STRATEGY": "roundrobin",
        "KAFKA__SESSION_TIMEOUT_MS": "15000",
        "KAFKA__MAX_POLL_INTERVAL_MS": "60000",
        "KAFKA__TRANSACTION_TIMEOUT_MS": "15000",
        "KAFKA__SECURITY_PROTOCOL": "PLAINTEXT",
        "KAFKA__PROPERTIES": "{}",
        "INPUT__SHAPE": "plain",
        "INPUT__FORMAT": "json",
        "INPUT__BYTES_MAX": "1048576",
        "INPUT__CHARACTERS_MAX": "65536",
        "MODEL__DEVICE": "auto",
        "MODEL__DTYPE": "auto",
        "MODEL__TOKENS_MAX": "512",
        "TEXT__VIEWS": "raw,plain",
        "TEXT__WINDOWS_MAX": "9",
        "TEXT__WINDOW_OVERLAP_TOKENS": "64",
        "TEXT__TRUNCATED": "pass",
        "BATCH__RECORDS_MAX": "1024",
        "BATCH__TOKENS_MAX": "auto",
        "BATCH__WAIT_MS_MAX": "20",
        "BATCH__COMMIT_MS_MAX": "100",
        "BATCH__SCORE_MS_MAX": "180000",
        "POLICY__THRESHOLD": "0.5",
        "POLICY__THRESHOLDS": "{}",
        "ALERT__TEXT": "none",
        "OUTPUT__CLOUDEVENTS": "false",
        "CACHE__BYTES_MAX": "67108864",
        "DEAD_LETTER__MODEL_SHARE_MAX": "0.1",
        "DEAD_LETTER__INPUT_SHARE_MAX": "0.5",
        "DEAD_LETTER__WINDOW_RECORDS": "1000",
        "HEALTH__PORT": "0",
        "LOG__LEVEL": "info",
        "SHUTDOWN__GRACE_MS_MAX": "20000",
    }


def test_the_characters_follow_the_tokens_unless_they_are_set() -> None:
    assert loaded(MODEL__TOKENS_MAX="100").input.characters_max == 12_800
    assert loaded(MODEL__TOKENS_MAX="100", INPUT__CHARACTERS_MAX="7").input.characters_max == 7


def test_the_transactional_id_follows_the_group_unless_it_is_set() -> None:
    assert loaded(KAFKA__GROUP_ID="mine").kafka.transactional_id == f"mine.{socket.gethostname()}"
    assert loaded(KAFKA__TRANSACTIONAL_ID="worker-0").kafka.transactional_id == "worker-0"


def test_input_topics_are_separated_by_commas() -> None:
    assert loaded(KAFKA__INPUT_TOPICS="a, b,c").kafka.input_topics == ("a", "b", "c")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("earliest", "earliest"),
        ("error", "error"),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00.250+02:00", datetime(2026, 1, 31, 10, 0, 0, 250_000, tzinfo=UTC)),
    ],
)
def test_a_start_is_a_word_or_a_time(text: str, value: object) -> None:
    assert loaded(KAFKA__AUTO_OFFSET_RESET=text).kafka.auto_offset_reset == value


def test_a_batchs_tokens_are_a_number_or_auto() -> None:
    assert loaded(BATCH__TOKENS_MAX="auto").batch.tokens_max == "auto"
    assert loaded(BATCH__TOKENS_MAX="4096").batch.tokens_max == 4096


def test_headers_to_copy_are_names_with_commas() -> None:
    assert loaded(OUTPUT__HEADERS="tenant, X-Region,ключ").output.headers == ("tenant", "X-Region", "ключ")
    assert loaded(OUTPUT__HEADERS="").output.headers == ()
    assert loaded(OUTPUT__CLOUDEVENTS="true").output.cloudevents is True


def test_thresholds_are_json_by_slug() -> None:
    assert loaded(POLICY__THRESHOLDS='{"hate": 0.25, "privacy": 1}').policy.thresholds == {
        "hate": 0.25,
        "privacy": 1,
    }


# Values

WRONG = [
    ("KAFKA__BOOTSTRAP_SERVERS", "http://kafka:9092/x", "host:port"),
    ("KAFKA__BOOTSTRAP_SERVERS", "kafka:9092,", "host:port"),
    ("KAFKA__INPUT_TOPICS", "chat.messages,", "a topic name"),
    ("KAFKA__INPUT_TOPICS", "a,a", "each topic only once"),
    ("KAFKA__VERDICT_TOPIC", "über", "a topic name"),
    ("KAFKA__ALERT_TOPIC", "..", "a topic name"),
    ("KAFKA__DEAD_LETTER_TOPIC", "x" * 250, "a topic name"),
    ("KAFKA__AUTO_OFFSET_RESET", "latest", "earliest, error, or an RFC 3339 time"),
    ("KAFKA__AUTO_OFFSET_RESET", "2026-01-31T12:00:00", "with its zone"),
    ("KAFKA__AUTO_OFFSET_RESET", "2026-02-31T12:00:00Z", "RFC 3339"),
    ("KAFKA__AUTO_OFFSET_RESET", "1969-12-31T23:59:59.999Z", "RFC 3339"),
    ("KAFKA__RECORD_BYTES_MAX", "999", "a whole number from 1000"),
    ("KAFKA__GROUP_PROTOCOL", "share", "'classic' or 'consumer'"),
    ("KAFKA__PARTITION_ASSIGNMENT_STRATEGY", "sticky", "'roundrobin'"),
    ("KAFKA__SESSION_TIMEOUT_MS", "999", "from 1000 to 3600000"),
    ("KAFKA__MAX_POLL_INTERVAL_MS", "1e5", "a whole number"),
    ("KAFKA__TRANSACTION_TIMEOUT_MS", "900001", "from 1000 to 900000"),
    ("KAFKA__SECURITY_PROTOCOL", "TLS", "'PLAINTEXT'"),
    ("KAFKA__SASL_MECHANISM", "SCRAM", "'SCRAM-SHA-512'"),
    ("KAFKA__SASL_MECHANISM", "AWS_MSK_IAM", "IAM of Amazon MSK is not supported"),
    ("KAFKA__SSL_CA_LOCATION", "no-such-file.pem", "a file or folder that can be read"),
    ("KAFKA__SSL_CERTIFICATE_LOCATION", "no-such-file.pem", "a file that can be read"),
    ("KAFKA__SSL_KEY_LOCATION", ".", "a file that can be read"),
    ("INPUT__FORMAT", "avro", "'json' or 'text'"),
    ("INPUT__TEXT_POINTER", "payload/body", "a JSON Pointer (RFC 6901)"),
    ("INPUT__MESSAGE_ID_POINTER", "/a~2", "a JSON Pointer (RFC 6901)"),
    ("INPUT__CHANNEL_ID_POINTER", "x", "a JSON Pointer (RFC 6901)"),
    ("INPUT__USER_ID_POINTER", "x", "a JSON Pointer (RFC 6901)"),
    ("INPUT__SENT_AT_POINTER", "x", "a JSON Pointer (RFC 6901)"),
    ("INPUT__BYTES_MAX", "0", "a whole number from 1"),
    ("INPUT__CHARACTERS_MAX", "0", "a whole number from 1"),
    ("MODEL__DEVICE", "gpu", "auto, cpu, cuda, or cuda:N"),
    ("MODEL__DTYPE", "float16", "'bfloat16'"),
    ("MODEL__TOKENS_MAX", "1", "a whole number from 2"),
    ("MODEL__THREADS", "0", "a whole number from 1"),
    ("TEXT__VIEWS", "plain", "raw or raw,plain: the text as received is always scored"),
    ("TEXT__WINDOWS_MAX", "0", "a whole number from 1"),
    ("TEXT__TRUNCATED", "no", "'pass' or 'alert'"),
    ("BATCH__RECORDS_MAX", "0", "a whole number from 1"),
    ("BATCH__TOKENS_MAX", "all", "auto, or a whole number"),
    ("BATCH__WAIT_MS_MAX", "-1", "a whole number from 0"),
    ("BATCH__COMMIT_MS_MAX", "9" * 5000, "a whole number from 0"),
    ("BATCH__SCORE_MS_MAX", "999", "a whole number from 1000"),
    ("POLICY__THRESHOLD", "1.01", "a number from 0 to 1"),
    ("POLICY__THRESHOLD", "nan", "a number from 0 to 1"),
    ("POLICY__THRESHOLD", "half", "a number from 0 to 1"),
    ("POLICY__THRESHOLDS", "{", "a JSON object"),
    ("POLICY__THRESHOLDS", "[]", "a JSON object"),
    ("POLICY__THRESHOLDS", '{"Hate": 0.5}', "no 'Hate'; the slugs are violent_crimes"),
    ("POLICY__THRESHOLDS", '{"hate": 1.5}', "a number from 0 to 1 for hate"),
    ("POLICY__THRESHOLDS", '{"hate": true}', "a number from 0 to 1 for hate"),
    ("ALERT__TEXT", "Full", "'none' or 'full'"),
    ("DEAD_LETTER__MODEL_SHARE_MAX", "-0.1", "a number from 0 to 1"),
    ("DEAD_LETTER__INPUT_SHARE_MAX", "2", "a number from 0 to 1"),
    ("DEAD_LETTER__WINDOW_RECORDS", "49", "a whole number from 50"),
    ("LOG__LEVEL", "INFO", "'debug'"),
    ("LOG__FORMAT", "xml", "'text' or 'json'"),
    ("SHUTDOWN__GRACE_MS_MAX", "20s", "a whole number from 0"),
    ("OUTPUT__HEADERS", "tenant,,region", "names of headers, separated by commas, each name only once"),
    ("OUTPUT__HEADERS", "tenant,tenant", "names of headers, separated by commas, each name only once"),
    ("OUTPUT__CLOUDEVENTS", "yes", "true or false"),
]


@pytest.mark.parametrize(
    "name", ["content-type", "Content-Type", "ce_id", "CE_ID", "traceparent", "TraceState", "moderation.worker"]
)
def test_a_header_that_the_worker_writes_is_not_copied(name: str) -> None:
    line = the_fault(OUTPUT__HEADERS=f"tenant,{name}")
    assert f"wants no {name!r}: the worker writes content-type" in line


@pytest.mark.parametrize(("name", "text", "wants"), WRONG)
def test_a_wrong_value_is_refused_by_name_with_what_it_got_and_wants(name: str, text: str, wants: str) -> None:
    line = the_fault(**{name: text})
    assert line.startswith(f"WORKER_{name}: got {text[:80]!r}")
    assert wants in line.partition("; wants ")[2]


def test_a_refusal_is_exit_code_2() -> None:
    assert ConfigurationError.exit_code is ExitCode.CONFIGURATION


def test_all_faults_come_at_once_a_line_each() -> None:
    lines = faults(
        KAFKA__GROUP_PROTOCOL="share",
        MODEL__THREADS="0",
        POLICY__THRESHOLDS="{",
        KAFKA__GRUOP_ID="x",
        KAFKA__VERDICT_TOPIC="chat.messages",
        KAFKA__PROPERTIES='{"acks": 1, "retries": 0}',
    )
    assert sorted(line.partition(":")[0] for line in lines) == [
        "WORKER_KAFKA__GROUP_PROTOCOL",
        "WORKER_KAFKA__GRUOP_ID",
        "WORKER_KAFKA__PROPERTIES",
        "WORKER_KAFKA__PROPERTIES",
        "WORKER_KAFKA__VERDICT_TOPIC",
        "WORKER_MODEL__THREADS",
        "WORKER_POLICY__THRESHOLDS",
    ]


def test_a_value_of_several_lines_is_still_one_line() -> None:
    assert "\\n" in the_fault(ALERT__TEXT="none\nfull")


@pytest.mark.parametrize("digest", ["abc", "0" * 15, "0" * 65, "sha256:" + "0" * 64, "g" * 16])
def test_a_digest_that_pins_nothing_is_refused_in_a_sentence(digest: str) -> None:
    line = the_fault(MODEL__DIGEST=digest)
    assert line.startswith("WORKER_MODEL__DIGEST: ")
    assert "wants 16 to 64 hexadecimal digits" in line
    assert "moderation-worker check" in line


def test_a_digest_may_be_written_in_capitals() -> None:
    assert loaded(MODEL__DIGEST="ABCDEF0123456789").model.digest == "abcdef0123456789"


def test_a_combination_with_a_value_that_is_itself_wrong_is_no_second_fault() -> None:
    # Against the default, 15000, the poll interval would be too short.
    assert the_fault(KAFKA__SESSION_TIMEOUT_MS="6s", KAFKA__MAX_POLL_INTERVAL_MS="10000").startswith(
        "WORKER_KAFKA__SESSION_TIMEOUT_MS"
    )


# Brokers


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ("kafka:0", "has the port '0': it must be a number from 1 to 65535"),
        ("kafka:65536", "has the port '65536'"),
        ("kafka:", "has the port ''"),
        ("kafka:https", "has the port 'https'"),
        ("[::1]:0", "has the port '0'"),
        (":9092", "has no host"),
        ("", "is an empty part"),
        ("SASL_SSL://kafka:9092", "begins with SASL_SSL://"),
        ("kafka 1:9092", "holds a space"),
        ("kafka1:9092;kafka2:9092", "more than one colon"),
        ("kafka:9092/topic", "holds '/'"),
        ("user@kafka:9092", "holds '@'"),
        ("::1", "is an IPv6 address without brackets: write [::1]:9092"),
        ("[kafka]:9092", "has no IPv6 address in its brackets"),
        ("[::1", "more than one colon"),
        ("kafka]:9092", "has a bracket"),
    ],
)
def test_a_part_of_the_brokers_that_cannot_work_is_named_with_what_is_wrong(part: str, fault: str) -> None:
    line = the_fault(KAFKA__BOOTSTRAP_SERVERS=f"good:9092,{part}")
    assert "WORKER_KAFKA__BOOTSTRAP_SERVERS: got 'good:9092," in line
    assert f"{part!r} {fault}" in line or f"{part!r} has {fault}" in line
    assert "'good:9092' " not in line.partition("; wants ")[2]


def test_all_parts_of_the_brokers_that_are_wrong_come_together() -> None:
    line = the_fault(KAFKA__BOOTSTRAP_SERVERS="a:0,b:9092,:1,SSL://c")
    assert line.endswith(
        "wants host:port, several separated by commas: 'a:0' has the port '0': it must be a number from 1 to 65535"
        "; ':1' has no host; 'SSL://c' begins with SSL://: remove it; WORKER_KAFKA__SECURITY_PROTOCOL (PLAINTEXT) "
        "sets the protocol"
    )


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("kafka-1:1, kafka_2:65535 ", "kafka-1:1,kafka_2:65535"),
        ("[2001:db8::1]:9093,[::1]", "[2001:db8::1]:9093,[::1]"),
        ("kafka", "kafka"),  # librdkafka takes 9092
    ],
)
def test_brokers_that_work_are_taken_without_their_spaces(text: str, taken: str) -> None:
    assert loaded(KAFKA__BOOTSTRAP_SERVERS=text).kafka.bootstrap_servers == taken


# Help


def test_help_names_every_variable_of_a_group_with_a_sentence() -> None:
    groups = (
        "kafka input model text batch policy alert coalescing output cache dead_letter drift health log shutdown"
    )
    everything = variables_for(*groups.split())
    assert [line.split()[0] for line in everything.splitlines()] == CONTRACT
    assert all(len(line.split()) > 3 for line in everything.splitlines())
    assert [line.split()[0] for line in variables_for("drift", "policy.path").splitlines()] == [
        "WORKER_POLICY__PATH",
        "WORKER_DRIFT__REFERENCE",
    ]
    assert variables_for("alert") == "  WORKER_ALERT__TEXT  none, or full: alerts hold the message's text. [none]"
