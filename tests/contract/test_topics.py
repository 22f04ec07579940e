import uuid

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource

from tests.conftest import login
from worker.errors import KafkaFatalError
from worker.kafka.topics import TopicSpec, TopicState, contract_topics, create_topics

pytestmark = pytest.mark.kafka

DAY_MS = 86_400_000


def names() -> list[str]:
    prefix = uuid.uuid4().hex[:12]
    return [f"{prefix}.{part}" for part in ("messages", "verdicts", "alerts", "dead-letters")]


def four_topics(partitions: int = 3, replication_factor: int = -1) -> list[TopicSpec]:
    messages, verdicts, alerts, dead_letters = names()
    return contract_topics(
        inputs=[messages],
        verdicts=verdicts,
        alerts=alerts,
        dead_letters=dead_letters,
        partitions=partitions,
        replication_factor=replication_factor,
    )


def test_every_topic_is_created_with_the_partitions_asked_for(bootstrap_servers: str) -> None:
    topics = four_topics(partitions=3)
    states = create_topics({"bootstrap.servers": bootstrap_servers}, topics)
    assert [(state.spec, state.partitions, state.created) for state in states] == [(t, 3, True) for t in topics]
    found = AdminClient({"bootstrap.servers": bootstrap_servers}).list_topics(timeout=10).topics
    assert [len(found[topic.name].partitions) for topic in topics] == [3, 3, 3, 3]


def test_retention_and_sizes_are_what_the_contract_needs(bootstrap_servers: str) -> None:
    topics = four_topics()
    create_topics({"bootstrap.servers": bootstrap_servers}, topics)
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    asked = [ConfigResource(ConfigResource.Type.TOPIC, topic.name) for topic in topics]
    configs = {resource.name: answer.result() for resource, answer in admin.describe_configs(asked).items()}
    days = [int(configs[topic.name]["retention.ms"].value) // DAY_MS for topic in topics]
    assert days == [7, 7, 7, 30]
    for config in configs.values():
        assert config["cleanup.policy"].value == "delete"
        assert int(config["max.message.bytes"].value) > 1_048_576 + 65_536


def test_a_second_call_creates_nothing_and_says_so(bootstrap_servers: str) -> None:
    topics = four_topics()
    create_topics({"bootstrap.servers": bootstrap_servers}, topics)
    again = create_topics({"bootstrap.servers": bootstrap_servers}, topics)
    assert [state.created for state in again] == [False] * 4
    assert [str(state) for state in again] == [f"exists  {topic.name}: 3 partitions" for topic in topics]


def test_only_what_is_missing_is_created(bootstrap_servers: str) -> None:
    topics = four_topics()
    create_topics({"bootstrap.servers": bootstrap_servers}, topics[:2])
    states = create_topics({"bootstrap.servers": bootstrap_servers}, topics)
    assert [state.created for state in states] == [False, False, True, True]


def test_a_topic_with_too_few_partitions_is_reported_and_not_changed(bootstrap_servers: str) -> None:
    name = names()[0]
    create_topics({"bootstrap.servers": bootstrap_servers}, [TopicSpec(name=name, partitions=1)])
    wanted = TopicSpec(name=name, partitions=4)
    (state,) = create_topics({"bootstrap.servers": bootstrap_servers}, [wanted])
    assert state == TopicState(spec=wanted, partitions=1, created=False)
    assert "1 partitions, fewer than the 4 asked for" in str(state)


def test_the_error_about_too_many_replicas_names_the_option_to_change(bootstrap_servers: str) -> None:
    with pytest.raises(KafkaFatalError, match="--replication-factor"):
        create_topics({"bootstrap.servers": bootstrap_servers}, four_topics(replication_factor=99))


def test_an_absent_broker_raises_a_readable_error_and_does_not_hang() -> None:
    with pytest.raises(KafkaFatalError, match="WORKER_KAFKA__BOOTSTRAP_SERVERS"):
        create_topics({"bootstrap.servers": "127.0.0.1:1"}, four_topics(), timeout_ms_max=1500)


def test_a_wrong_password_and_an_absent_broker_raise_different_errors(secured_bootstrap_servers: str) -> None:
    config = {"bootstrap.servers": secured_bootstrap_servers, **login("worker", "wrong-password")}
    with pytest.raises(KafkaFatalError, match="SASL_PASSWORD") as refusal:
        create_topics(config, four_topics())
    assert "wrong-password" not in str(refusal.value)


def test_a_missing_permission_is_named_for_each_topic(secured_bootstrap_servers: str) -> None:
    topics = four_topics()
    config = {"bootstrap.servers": secured_bootstrap_servers, **login("worker", "worker")}
    with pytest.raises(KafkaFatalError) as refusal:
        create_topics(config, topics)
    lines = str(refusal.value).splitlines()
    for topic, line in zip(topics, lines, strict=True):
        assert topic.name in line
        assert "grant this user CREATE" in line
