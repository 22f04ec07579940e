"""The resources for Strimzi say what the worker's own commands do."""

import re
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AclBinding  # type: ignore[attr-defined] # exported at run time
from ruamel.yaml import YAML

from tests.acls import binding, documented
from worker.kafka.topics import REPLICATION_FACTOR_FOR_MIN_ISR_2, _config, contract_topics
from worker.settings.groups import VARIABLES
from worker.settings.load import load_settings

FOLDER = Path(__file__).parents[2] / "deploy" / "strimzi"
OPTIONS = {"topic": "--topic", "group": "--group", "transactionalId": "--transactional-id"}
PATTERNS = {"literal": "literal", "prefix": "prefixed"}


def resources(name: str) -> list[dict[str, Any]]:
    found = list(YAML(typ="safe").load_all(FOLDER / name))
    assert {resource["apiVersion"] for resource in found} == {"kafka.strimzi.io/v1"}
    return found


def granted(acl: dict[str, Any], principal: str) -> list[AclBinding]:
    """What the User Operator makes of a rule, in the words of ``kafka-acls.sh``."""
    assert acl.keys() == {"resource", "operations"}  # allow, from any host
    resource = acl["resource"]
    pattern = PATTERNS[resource.get("patternType", "literal")]
    on = f"{OPTIONS[resource['type']]} {resource['name']} --resource-pattern-type {pattern}"
    return [
        binding(f"--bootstrap-server - --add --allow-principal {principal} --operation {operation} {on}")
        for operation in acl["operations"]
    ]


def test_the_user_may_do_exactly_what_the_script_grants() -> None:
    [user] = resources("user.yaml")
    principal = f"User:{user['metadata']['name']}"
    lines = documented({"WORKER_KAFKA__BOOTSTRAP_SERVERS": "kafka:9093", "PRINCIPAL": principal})
    authorization = user["spec"]["authorization"]
    assert authorization["type"] == "simple"
    given = [grant for acl in authorization["acls"] for grant in granted(acl, principal)]
    assert sorted(map(str, given)) == sorted(str(binding(line)) for line in lines)


def test_the_topics_are_those_that_the_command_creates() -> None:
    kafka = load_settings({}).settings.kafka
    created = contract_topics(
        inputs=kafka.input_topics,
        verdicts=kafka.verdict_topic,
        alerts=kafka.alert_topic,
        dead_letters=kafka.dead_letter_topic,
        replication_factor=REPLICATION_FACTOR_FOR_MIN_ISR_2,
    )
    declared = [
        (
            topic["metadata"]["name"],
            topic["spec"]["partitions"],
            topic["spec"]["replicas"],
            {key: str(value) for key, value in topic["spec"]["config"].items()},
        )
        for topic in resources("topics.yaml")
    ]
    assert declared == [(spec.name, spec.partitions, spec.replication_factor, _config(spec)) for spec in created]


def test_one_line_names_the_cluster_of_all() -> None:
    [kustomization] = YAML(typ="safe").load_all(FOLDER / "kustomization.yaml")
    assert sorted(kustomization["resources"]) == ["topics.yaml", "user.yaml"]
    assert [list(labels["pairs"]) for labels in kustomization["labels"]] == [["strimzi.io/cluster"]]


def test_the_variables_that_the_comments_name_exist() -> None:
    named = re.findall(r"WORKER_\w+", (FOLDER / "user.yaml").read_text())
    assert named
    assert {*named} <= VARIABLES.keys()
