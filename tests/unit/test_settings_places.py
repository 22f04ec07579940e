import json
import os
import traceback
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import ConfigurationError
from worker.settings import Need, Origin, describe, load_settings, render


@pytest.fixture(autouse=True)
def _empty_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def the_fault(environ: Mapping[str, str]) -> str:
    with pytest.raises(ConfigurationError) as refusal:
        load_settings(environ)
    [line] = str(refusal.value).splitlines()
    return line


# Unknown names


@pytest.mark.parametrize(
    "name",
    [
        "WORKER_KAFKA__GRUOP_ID",
        "WORKER_KAFKA_GROUP_ID",
        "WORKER_KAFKAS__GROUP_ID",
        "WORKER_GROUP_ID",
        "WORKER_KAFKA__GROUP__ID",
        "WORKER_KAFKA",
        "WORKER_",
        "WORKER_CACHE__BITES_MAX",
        "WORKER_kafka__group_id",
        "worker_kafka__group_id",
    ],
)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_an_unknown_name_is_refused_at_any_level_without_its_value(name: str, place: str) -> None:
    environ = {name: "hunter2"} if place == "environment" else {}
    if place == ".env":
        Path(".env").write_text(f"{name}=hunter2\n")
    with pytest.raises(ConfigurationError) as refusal:
        load_settings(environ)
    assert str(refusal.value).startswith(f"{name}: got a name that no setting has; wants ")
    assert "hunter2" not in str(refusal.value)


def test_an_unknown_name_is_refused_although_it_is_empty() -> None:
    assert the_fault({"WORKER_KAFKA__GRUOP_ID": ""}).endswith("wants WORKER_KAFKA__GROUP_ID")


def test_what_kubernetes_injects_for_a_service_called_worker_is_passed_over() -> None:
    injected = {
        "WORKER_SERVICE_HOST": "10.0.0.1",
        "WORKER_PORT": "tcp://10.0.0.1:80",
        "WORKER_PORT_80_TCP_ADDR": "x",
    }
    assert load_settings(injected).origins == {}


def test_what_kubernetes_injects_for_another_service_says_how_to_end_it() -> None:
    assert "enableServiceLinks: false" in the_fault({"WORKER_METRICS_SERVICE_HOST": "10.0.0.1"})


def test_names_without_the_prefix_are_nobodys_business() -> None:
    Path(".env").write_text("PASSWORD=x\nKAFKA__GROUP_ID=x\n")
    assert load_settings({"PATH": "/bin", "KAFKA__GROUP_ID": "x", "worker_count": "4"}).origins == {}


# Places


def test_the_environment_wins_over_the_secrets_and_the_secrets_over_dotenv(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    names = ["group_id", "client_id", "client_rack"]
    Path(".env").write_text("".join(f"WORKER_KAFKA__{name.upper()}=dotenv\n" for name in names))
    for name in names[:2]:
        (folder / f"kafka__{name}").write_text("secrets\n")
    result = load_settings({"WORKER_SECRETS_DIR": str(folder), "WORKER_KAFKA__GROUP_ID": "environment"})
    assert {row.variable: (row.value, row.origin) for row in describe(result) if row.origin != Origin.DEFAULT} == {
        "WORKER_KAFKA__GROUP_ID": ("environment", Origin.ENVIRONMENT),
        "WORKER_KAFKA__CLIENT_ID": ("secrets", Origin.SECRETS),
        "WORKER_KAFKA__CLIENT_RACK": ("dotenv", Origin.DOTENV),
    }


def test_an_empty_value_is_no_value_in_any_place() -> None:
    Path(".env").write_text("WORKER_KAFKA__GROUP_ID=dotenv\nWORKER_LOG__LEVEL=\nWORKER_LOG__FORMAT\n")
    result = load_settings({"WORKER_KAFKA__GROUP_ID": "", "WORKER_MODEL__THREADS": "", "WORKER_SECRETS_DIR": ""})
    assert result.settings.kafka.group_id == "dotenv"
    assert result.settings.model.threads is None
    assert dict(result.origins) == {"WORKER_KAFKA__GROUP_ID": Origin.DOTENV}


def test_a_secrets_folder_may_be_named_in_dotenv(tmp_path: Path) -> None:
    (tmp_path / "kafka__group_id").write_text("secret group")
    Path(".env").write_text(f"WORKER_SECRETS_DIR={tmp_path}\n")
    assert load_settings({}).settings.kafka.group_id == "secret group"


def test_a_secret_mounted_by_kubernetes_is_read(tmp_path: Path) -> None:
    data = tmp_path / "..2026_01_31" / "kafka__group_id"
    data.parent.mkdir()
    data.write_text("mounted")
    (tmp_path / "..data").symlink_to(data.parent.name)
    (tmp_path / "kafka__group_id").symlink_to("..data/kafka__group_id")
    result = load_settings({"WORKER_SECRETS_DIR": str(tmp_path)})
    assert result.settings.kafka.group_id == "mounted"
    assert result.warnings == ()


@pytest.mark.parametrize("name", ["tls.crt", "KAFKA__GROUP_ID", "worker_kafka__group_id"])
def test_a_file_that_no_setting_knows_is_warned_of_and_not_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("hunter2")
    [warning] = load_settings({"WORKER_SECRETS_DIR": str(tmp_path)}).warnings
    assert repr(name) in warning
    assert "hunter2" not in warning


def test_a_secrets_folder_that_isnt_there_is_a_fault() -> None:
    line = the_fault({"WORKER_SECRETS_DIR": "/no/such/folder"})
    assert line.startswith("WORKER_SECRETS_DIR: got '/no/such/folder'; wants a folder")


@pytest.mark.parametrize("name", ["kafka__sasl_password", ".env"])
def test_a_file_that_isnt_utf_8_is_a_fault_without_its_bytes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"WORKER_KAFKA__GROUP_ID=caf\xe9")
    line = the_fault({"WORKER_SECRETS_DIR": str(tmp_path)})
    assert "UTF-8" in line
    assert "xe9" not in line.lower()


def test_a_dotenv_file_that_isnt_utf_8_is_a_fault_with_its_line() -> None:
    Path(".env").write_bytes(b"WORKER_LOG__LEVEL=info\r\nWORKER_KAFKA__GROUP_ID=caf\xe9\n")
    assert the_fault({}) == ".env:2:27: this character is not UTF-8; save the file as UTF-8"


def test_a_dotenv_file_may_start_with_a_byte_order_mark() -> None:
    Path(".env").write_text("\ufeffWORKER_KAFKA__GROUP_ID=mine\n", encoding="utf-8")
    assert load_settings({}).settings.kafka.group_id == "mine"


# Needs


def test_only_what_a_command_needs_is_required() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load_settings({}, {Need.KAFKA, Need.MODEL})
    assert [line.partition(":")[0] for line in str(refusal.value).splitlines()] == [
        "WORKER_KAFKA__BOOTSTRAP_SERVERS",
        "WORKER_MODEL__PATH",
    ]
    assert load_settings({"WORKER_MODEL__PATH": "demo"}, {Need.MODEL}).settings.model.path == "demo"
    assert (
        load_settings({"WORKER_KAFKA__BOOTSTRAP_SERVERS": "a"}, {Need.KAFKA}).settings.kafka.bootstrap_servers
        == "a"
    )


def test_a_required_value_that_is_wrong_is_one_fault() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load_settings({"WORKER_KAFKA__BOOTSTRAP_SERVERS": "a b"}, {Need.KAFKA})
    assert str(refusal.value).count("\n") == 0


# Secrets and what people read


@given(text=st.text(st.characters(exclude_characters="\0")))  # what an environment can hold
def test_a_secret_is_never_shown_be_the_settings_right_or_wrong(text: str) -> None:
    secret = f"s3cr3t{text}s3cr3t"
    held = {
        "WORKER_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "WORKER_KAFKA__SASL_MECHANISM": "PLAIN",
        "WORKER_KAFKA__SASL_USERNAME": "someone",
        "WORKER_KAFKA__SASL_PASSWORD": secret,
        "WORKER_KAFKA__SSL_KEY_PASSWORD": secret,
        "WORKER_KAFKA__SSL_KEY_LOCATION": __file__,
        "WORKER_KAFKA__SSL_CERTIFICATE_LOCATION": __file__,
    }
    with pytest.raises(ConfigurationError) as refusal:
        load_settings(
            {
                **held,
                "WORKER_KAFKA__SECURITY_PROTOCOL": "PLAINTEXT",
                "WORKER_KAFKA__PROPERTIES": f'{{"ssl.keystore.password": "{secret}',
                "WORKER_KAFKA__SASL_PASWORD": secret,
            }
        )
    shown = "".join(traceback.format_exception(refusal.value))
    try:
        result = load_settings({**held, "WORKER_KAFKA__PROPERTIES": json.dumps({"ssl.keystore.password": secret})})
    except ConfigurationError as half_an_emoji:
        shown += "".join(traceback.format_exception(half_an_emoji))
    else:
        kafka = result.settings.kafka
        assert kafka.sasl_password is not None
        assert kafka.sasl_password.get_secret_value() == secret
        assert kafka.properties["ssl.keystore.password"].get_secret_value() == secret
        shown += render(describe(result)) + repr(result) + str(result.settings.model_dump())
    assert "s3cr3t" not in shown


def shown_properties(**properties: object) -> dict[str, object]:
    named = {name.replace("_", "."): value for name, value in properties.items()}
    result = load_settings({"WORKER_KAFKA__PROPERTIES": json.dumps(named)})
    [value] = [row.value for row in describe(result) if row.variable == "WORKER_KAFKA__PROPERTIES"]
    seen: dict[str, object] = json.loads(value)
    assert list(seen) == list(named)
    return {name.replace(".", "_"): value for name, value in seen.items()}


def test_properties_that_are_no_secrets_are_shown() -> None:
    given = {
        "linger_ms": 7,
        "producer_linger_ms": "7",
        "compression_type": "zstd",
        "socket_keepalive_enable": True,
        "consumer_enable_ssl_certificate_verification": False,
        "ssl_endpoint_identification_algorithm": "none",
        "ssl_keystore_location": "/etc/kafka/worker.p12",
        "sasl_oauthbearer_method": "oidc",
        "sasl_oauthbearer_token_endpoint_url": "https://login.example/token",
        "sasl_oauthbearer_client_id": "moderation",
        "debug": "broker,security",
    }
    assert shown_properties(**given) == given


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ssl_keystore_password", "hunter2"),
        ("ssl_keystore_password", 1234),
        ("producer_ssl_key_pem", "-----BEGIN PRIVATE KEY-----"),
        ("ssl_certificate_pem", "-----BEGIN CERTIFICATE-----"),
        ("sasl_oauthbearer_client_secret", "hunter2"),
        ("consumer_sasl_oauthbearer_client_credentials_client_secret", "hunter2"),
        ("sasl_oauthbearer_config", "principal=worker"),
        ("sasl_oauthbearer_extensions", "token=hunter2"),
        ("sasl_oauthbearer_assertion_private_key_passphrase", "hunter2"),
        ("sasl_oauthbearer_assertion_private_key_file", "/etc/key"),
        ("sasl_oauthbearer_token_endpoint_url", "https://me:hunter2@login.example/token"),
        ("sasl_oauthbearer_token_endpoint_url", "https://login.example/token?secret=hunter2"),
        ("sasl_jaas_config", "password=hunter2"),
        # Names that librdkafka does not have, but that a user may type.
        ("sasl_pasword", "hunter2"),
        ("ssl_keystore_pass", "1234"),
        ("basic_auth_user_info", "me:hunter2"),
        ("api_key", 1234),
        ("something", "hunter2"),
    ],
)
def test_a_property_that_may_be_a_secret_is_masked(name: str, value: object) -> None:
    assert shown_properties(**{name: value}) == {name: "***"}


def test_the_view_has_aligned_columns_with_the_value_last() -> None:
    lines = render(describe(load_settings({"WORKER_KAFKA__GROUP_ID": "mine"}))).splitlines()
    assert len({line.index(line.split()[1]) for line in lines}) == 1
    assert "WORKER_KAFKA__GROUP_ID environment mine" in [" ".join(line.split()) for line in lines]


def test_the_settings_dont_ask_the_process_for_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "WORKER_KAFKA__GROUP_ID", "elsewhere")
    assert load_settings({}).settings.kafka.group_id == "moderation"
