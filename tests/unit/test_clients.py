"""What every client of Kafka shares: slices of time, and properties that librdkafka refuses."""

import logging

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from worker.errors import ConfigurationError
from worker.kafka.clients import Overheard, client, slice_s


def test_slices_grow_so_that_a_slow_answer_fits_into_one() -> None:
    assert [slice_s(failed, 1000) for failed in range(5)] == [1, 2, 4, 8, 16]


def test_a_slice_ends_with_the_whole_time() -> None:
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
    ("level", "facility", "heard"),
    [
        (logging.ERROR, "FAIL", ["broken"]),
        (logging.WARNING, "REQTMOUT", ["broken"]),
        (logging.DEBUG, "FAIL", []),  # debug tells of connections that end on purpose, too
        (logging.ERROR, "TXNERR", []),
    ],
)
def test_librdkafka_s_log_tells_of_connections_that_broke(level: int, facility: str, heard: list[str]) -> None:
    cut: list[str] = []
    Overheard(cut.append).log(level, "%s [%s] %s", facility, "producer-1", "broken")
    assert cut == heard
