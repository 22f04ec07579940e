"""What all Kafka clients share: time-outs that grow, and properties that librdkafka refuses."""

import logging

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from worker.errors import ConfigurationError
from worker.kafka.clients import ConnectionLossLogger, client, slice_s


def test_the_time_outs_of_repeated_calls_double() -> None:
    assert [slice_s(failed, 1000) for failed in range(5)] == [1, 2, 4, 8, 16]


def test_a_time_out_is_never_longer_than_the_rest_of_the_whole_time() -> None:
    assert slice_s(3, 2.5) == 2.5
    assert slice_s(0, -0.1) == 0


@pytest.mark.parametrize("kind", [AdminClient, Consumer, Producer])
def test_a_property_that_librdkafka_refuses_is_named_without_its_value(
    kind: type[AdminClient | Consumer | Producer],
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        client(kind, {"group.id": "g", "compression.type": "hunter2", "log_level": 0})  # type: ignore[type-var] # one of the three
    assert str(refusal.value).startswith("WORKER_KAFKA__PROPERTIES: librdkafka refuses: ")
    assert "compression" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_a_mechanism_that_this_librdkafka_does_not_have_is_named() -> None:
    config = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "NO-SUCH", "log_level": 0}
    with pytest.raises(ConfigurationError, match=r"^WORKER_KAFKA__SASL_MECHANISM \(NO-SUCH\): "):
        client(Producer, config)


@pytest.mark.parametrize(
    ("level", "facility", "reported"),
    [
        (logging.ERROR, "FAIL", ["broken"]),
        (logging.WARNING, "REQTMOUT", ["broken"]),
        (logging.DEBUG, "FAIL", []),  # at this level a connection ends on purpose
        (logging.ERROR, "TXNERR", []),
    ],
)
def test_librdkafka_s_log_reports_connections_that_were_lost(
    level: int, facility: str, reported: list[str]
) -> None:
    lost: list[str] = []
    ConnectionLossLogger(lost.append).log(level, "%s [%s] %s", facility, "producer-1", "broken")
    assert lost == reported
