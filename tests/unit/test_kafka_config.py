import json

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from worker.settings import admin_config, consumer_config, load_settings, producer_config
from worker.settings.groups import KafkaSettings


def kafka(**values: str) -> KafkaSettings:
    # Nothing listens on port 1: librdkafka checks its configuration when a client is built, and calls no one.
    environ = {f"WORKER_KAFKA__{name}": value for name, value in values.items()}
    return load_settings({"WORKER_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1", **environ}).settings.kafka


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"GROUP_PROTOCOL": "consumer", "GROUP_INSTANCE_ID": "worker-0", "CLIENT_ID": "me", "CLIENT_RACK": "a"},
        {"PARTITION_ASSIGNMENT_STRATEGY": "cooperative-sticky", "SESSION_TIMEOUT_MS": "1000"},
        {"PARTITION_ASSIGNMENT_STRATEGY": "range", "TRANSACTION_TIMEOUT_MS": "1000", "RECORD_BYTES_MAX": "1000"},
        {"SESSION_TIMEOUT_MS": "3600000", "MAX_POLL_INTERVAL_MS": "86400000", "TRANSACTION_TIMEOUT_MS": "900000"},
        {"RECORD_BYTES_MAX": str(1_000_000_000 - 64 * 1024)},
        {
            "SECURITY_PROTOCOL": "SASL_SSL",
            "SASL_MECHANISM": "SCRAM-SHA-512",
            "SASL_USERNAME": "someone",
            "SASL_PASSWORD": "hunter2",
            "PROPERTIES": json.dumps({"enable.ssl.certificate.verification": False, "linger.ms": 7.0}),
        },
    ],
)
def test_librdkafka_takes_what_the_settings_say(settings: dict[str, str]) -> None:
    config = kafka(**settings)
    Consumer({"log_level": 0, **consumer_config(config)}).close()
    Producer({"log_level": 0, **producer_config(config)})
    AdminClient({"log_level": 0, **admin_config(config)})


def test_offsets_are_committed_by_transactions_alone() -> None:
    config = consumer_config(kafka())
    assert (config["enable.auto.commit"], config["enable.auto.offset.store"]) == (False, False)
    assert config["isolation.level"] == "read_committed"


def test_librdkafka_never_decides_where_a_partition_starts() -> None:
    assert consumer_config(kafka())["auto.offset.reset"] == "error"
    assert consumer_config(kafka(AUTO_OFFSET_RESET="earliest"))["auto.offset.reset"] == "error"


def test_several_heartbeats_fit_into_a_session() -> None:
    assert consumer_config(kafka())["heartbeat.interval.ms"] == 3000
    assert consumer_config(kafka(SESSION_TIMEOUT_MS="6000"))["heartbeat.interval.ms"] == 1200
    assert consumer_config(kafka(SESSION_TIMEOUT_MS="60000"))["heartbeat.interval.ms"] == 3000


def test_what_the_broker_decides_is_left_to_it_in_the_new_group_protocol() -> None:
    config = consumer_config(kafka(GROUP_PROTOCOL="consumer"))
    assert not {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"} & config.keys()


def test_each_setting_reaches_its_property() -> None:
    config = kafka(
        GROUP_ID="g",
        GROUP_INSTANCE_ID="pod-0",
        CLIENT_ID="c",
        CLIENT_RACK="r",
        TRANSACTIONAL_ID="t",
        TRANSACTION_TIMEOUT_MS="7000",
        SESSION_TIMEOUT_MS="8000",
        MAX_POLL_INTERVAL_MS="9000",
        PARTITION_ASSIGNMENT_STRATEGY="range",
    )
    assert consumer_config(config).items() >= {
        ("bootstrap.servers", "127.0.0.1:1"),
        ("group.id", "g"),
        ("group.instance.id", "pod-0"),
        ("client.id", "c"),
        ("client.rack", "r"),
        ("session.timeout.ms", 8000),
        ("max.poll.interval.ms", 9000),
        ("partition.assignment.strategy", "range"),
    }
    assert producer_config(config).items() >= {("transactional.id", "t"), ("transaction.timeout.ms", 7000)}


def test_only_our_own_count_decides_what_is_too_large_and_no_batch_outgrows_a_record() -> None:
    config = producer_config(kafka(RECORD_BYTES_MAX="100000"))
    assert int(config["message.max.bytes"]) > 100_000
    assert config["batch.size"] == 100_000


def test_all_three_clients_share_the_way_to_the_broker() -> None:
    config = kafka(
        SECURITY_PROTOCOL="SASL_SSL",
        SASL_MECHANISM="PLAIN",
        SASL_USERNAME="someone",
        SASL_PASSWORD="hunter2",  # noqa: S106 - nobody's
        SSL_CA_LOCATION=__file__,
        SSL_CERTIFICATE_LOCATION=__file__,
        SSL_KEY_LOCATION=__file__,
        SSL_KEY_PASSWORD="hunter3",  # noqa: S106 - nobody's
    )
    for made in (consumer_config(config), producer_config(config), admin_config(config)):
        assert made.items() >= {
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "someone"),
            ("sasl.password", "hunter2"),
            ("ssl.ca.location", __file__),
            ("ssl.certificate.location", __file__),
            ("ssl.key.location", __file__),
            ("ssl.key.password", "hunter3"),
        }


def test_idle_connections_end_before_a_gateway_forgets_them_unless_the_properties_say_otherwise() -> None:
    azure_ms = 240_000
    for made in (consumer_config(kafka()), producer_config(kafka()), admin_config(kafka())):
        assert 0 < int(made["connections.max.idle.ms"]) < azure_ms
        assert made["socket.keepalive.enable"] is True
    own = kafka(PROPERTIES='{"connections.max.idle.ms": 60000, "socket.keepalive.enable": false}')
    for made in (consumer_config(own), producer_config(own), admin_config(own)):
        assert made["connections.max.idle.ms"] == 60_000
        assert made["socket.keepalive.enable"] is False


def test_properties_go_to_both_clients_or_to_the_one_in_front_which_wins() -> None:
    config = kafka(
        PROPERTIES=json.dumps(
            {
                "producer.linger.ms": 1,
                "linger.ms": 2,
                "consumer.fetch.wait.max.ms": 3,
                "socket.keepalive.enable": True,
                "compression.type": "zstd",
            }
        )
    )
    assert producer_config(config).items() >= {
        ("linger.ms", 1),
        ("socket.keepalive.enable", True),
        ("compression.type", "zstd"),
    }
    assert consumer_config(config).items() >= {("fetch.wait.max.ms", 3), ("socket.keepalive.enable", True)}
    assert "fetch.wait.max.ms" not in producer_config(config)
    assert admin_config(config)["socket.keepalive.enable"] is True
    assert not [name for name in admin_config(config) if name.startswith(("consumer.", "producer."))]
