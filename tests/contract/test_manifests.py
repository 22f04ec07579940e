"""The manifests under deploy/: built by kustomize, held against strict schemas, and read as a cluster would."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.acls import documented
from tests.contract.test_model_hub import BASE, SMALL, commit_of, hub
from tests.manifests import (
    OVERLAYS,
    ROOT,
    built,
    containers,
    environment,
    faults,
    of_kind,
    parsed,
    pod,
    run_tool,
    settings,
    stateful_set,
    worker,
)
from worker.kafka.topics import PARTITIONS
from worker.settings.groups import SECRETS, VARIABLES
from worker.settings.load import SECRETS_DIR, load_settings

__all__ = ["hub"]  # a fixture

AUTOSCALED = [overlay for overlay in OVERLAYS if overlay.name.startswith("autoscaled")]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
RESOURCES = [
    path
    for path in sorted((ROOT / "deploy").glob("[sp]*/*.yaml"))  # strimzi's and prometheus'
    if re.search("^kind: (?!Kustomization)", path.read_text(), re.MULTILINE)
]
SPARE_S = 10  # docs/kubernetes.md does the sum

overlays = pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda overlay: overlay.name)
autoscaled = pytest.mark.parametrize("overlay", AUTOSCALED, ids=lambda overlay: overlay.name)


def test_a_second_install_of_the_tools_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    script = Path(shutil.copy(ROOT / "deploy" / "tools.py", tmp_path / "deploy"))
    (tmp_path / ".tools").mkdir()
    (tmp_path / ".tools" / "installed").write_text(hashlib.sha256(script.read_bytes()).hexdigest())
    again = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


@overlays
def test_every_overlay_builds_and_satisfies_the_strict_schemas(overlay: Path) -> None:
    assert faults(built(overlay)) == []


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("StatefulSet", "enableServiceLinks:", "enableServiceLink:"),
        ("StatefulSet", "mountPath: /tmp", "mountpath: /tmp"),
        ("StatefulSet", "containerPort: 8080", 'containerPort: "8080"'),
        ("PodDisruptionBudget", "maxUnavailable:", "maxUnavailble:"),
        ("NetworkPolicy", "podSelector:", "podSelectors:"),
        ("ScaledObject", "maxReplicaCount:", "maxReplicas:"),
        ("ScaledObject", "envSourceContainerName:", "envSourceContainer:"),
        ("ScaledObject", 'allowIdleConsumers: "false"', "allowIdleConsumers: false"),
        ("TriggerAuthentication", "secretTargetRef:", "secretRef:"),
    ],
)
def test_a_misspelt_field_or_a_wrong_type_is_caught(kind: str, right: str, wrong: str) -> None:
    good = built(ROOT / "deploy" / "kubernetes" / "overlays" / "autoscaled-kafka")
    assert right in good
    found = faults(good.replace(right, wrong))
    assert [fault for fault in found if fault.startswith(f"{kind} ")]


@pytest.mark.parametrize("path", RESOURCES, ids=lambda path: path.name)
def test_custom_resources_satisfy_the_strict_schemas(path: Path) -> None:
    assert faults(path.read_text()) == []


@overlays
def test_every_variable_is_a_setting_and_they_work_together(overlay: Path, tmp_path: Path) -> None:
    for container in containers(overlay):
        names = {name for name in environment(overlay, container) if name.startswith("WORKER_")}
        assert names <= {*VARIABLES, SECRETS_DIR}, container["name"]
    known = settings(overlay, tmp_path)
    assert known.kafka.security_protocol == ("PLAINTEXT" if overlay.name == "cpu-trial" else "SASL_SSL")
    assert known.model.device == ("cpu" if overlay.name == "cpu-trial" else "cuda")
    for container in pod(overlay).get("initContainers", []):
        model = load_settings(environment(overlay, container), directory=tmp_path / "none").settings.model
        for revision in (model.revision, model.tokenizer_revision):
            assert re.fullmatch("[0-9a-f]{40}", revision or ""), "a branch or a tag may move"


@overlays
def test_no_two_pods_share_an_id_and_each_keeps_its_own(overlay: Path, tmp_path: Path) -> None:
    first, again, second = (
        settings(overlay, tmp_path / str(number), f"moderation-worker-{ordinal}").kafka
        for number, ordinal in enumerate((0, 0, 1))
    )
    assert first.transactional_id == again.transactional_id != second.transactional_id
    assert first.group_instance_id == again.group_instance_id != second.group_instance_id
    assert first.transactional_id.startswith(first.group_id), "the grant by prefix in deploy/acls.sh covers it"


def granted(variables: Mapping[str, str]) -> set[tuple[str, ...]]:
    """What the grants of such a worker name: the kind of a resource, and a name or the beginning of names."""
    known = (line.split() for line in documented({"WORKER_KAFKA__BOOTSTRAP_SERVERS": "kafka:9093", **variables}))
    return {tuple(words[words.index("--operation") + 1 :]) for words in known}


def test_a_trial_shares_only_the_input_with_a_production(tmp_path: Path) -> None:
    trial, production = (ROOT / "deploy" / "kubernetes" / "overlays" / name for name in ("cpu-trial", "gpu"))
    of_trial, of_production = (settings(overlay, tmp_path / overlay.name).kafka for overlay in (trial, production))
    assert of_trial.input_topics == of_production.input_topics
    for name in ("group_id", "verdict_topic", "alert_topic", "dead_letter_topic", "transactional_id"):
        assert getattr(of_trial, name) != getattr(of_production, name), name
    assert not of_trial.transactional_id.startswith(of_production.group_id), "the production's grant would cover it"
    assert not of_production.transactional_id.startswith(of_trial.group_id), "the trial's grant would cover it"
    chosen = {
        name: value
        for name, value in environment(trial, worker(trial)).items()
        if name.startswith("WORKER_KAFKA__")
    }
    del chosen["WORKER_KAFKA__TRANSACTIONAL_ID"], chosen["WORKER_KAFKA__BOOTSTRAP_SERVERS"]
    [inputs] = granted(chosen) & granted({})
    assert inputs == ("Read", "--topic", "chat.messages")
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    shown = dict(re.findall(r"(WORKER_KAFKA__\w+)=([\w.-]+)", page[page.index("PRINCIPAL=User:trial") :]))
    assert granted({name: shown[name] for name in shown.keys() & chosen.keys()}) == granted(chosen)


@overlays
def test_the_kubelet_waits_longer_than_the_worker_takes_to_stop(overlay: Path, tmp_path: Path) -> None:
    grace_ms = settings(overlay, tmp_path).shutdown.grace_ms_max
    assert pod(overlay)["terminationGracePeriodSeconds"] * 1000 >= grace_ms + SPARE_S * 1000


@overlays
def test_the_probes_ask_the_health_port_and_only_readiness_and_start_ask_for_the_group(
    overlay: Path, tmp_path: Path
) -> None:
    container, port = worker(overlay), settings(overlay, tmp_path).health.port
    ports = {known["name"]: known["containerPort"] for known in container["ports"]}
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {ports[probe["port"]] for probe in probes.values()} == {port}
    paths = {name: probe["path"] for name, probe in probes.items()}
    assert paths == {"startup": "/readyz", "liveness": "/livez", "readiness": "/readyz"}
    (service,) = of_kind(overlay, "Service")
    assert service["spec"]["clusterIP"] == "None"
    assert service["metadata"]["name"] == stateful_set(overlay)["serviceName"]
    assert [ports[known["targetPort"]] for known in service["spec"]["ports"]] == [port]
    entries = [
        policy["spec"]["ingress"] for policy in of_kind(overlay, "NetworkPolicy") if "ingress" in policy["spec"]
    ]
    assert [entry["ports"] for (entry,) in entries] == [[{"protocol": "TCP", "port": port}]]


@overlays
def test_nothing_runs_as_root_or_writes_where_no_volume_is(overlay: Path) -> None:
    context = pod(overlay)["securityContext"]
    (user,) = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    assert context["runAsNonRoot"]
    assert context["runAsUser"] == context["fsGroup"] == int(user)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(overlay)["automountServiceAccountToken"] is False
    (cache_folder,) = re.findall(r"HF_HOME=(\S+)", DOCKERFILE)
    scratch = {volume["name"] for volume in pod(overlay)["volumes"] if "emptyDir" in volume}
    for container in containers(overlay):
        own = container["securityContext"]
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"].keys() == {"requests", "limits"}
        writable = {mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] in scratch}
        assert {"/tmp", cache_folder} <= writable  # noqa: S108 - the container's


@overlays
def test_secrets_come_by_reference_alone(overlay: Path) -> None:
    assert of_kind(overlay, "Secret") == []
    secret = {*SECRETS, "HF_TOKEN"}
    for container in containers(overlay):
        assert not secret & environment(overlay, container).keys()
    for found in of_kind(overlay, "ConfigMap"):
        assert not secret & found["data"].keys()


@overlays
def test_the_images_are_this_version(overlay: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    build = "cpu" if overlay.name == "cpu-trial" else "cuda"
    assert {container["image"] for container in containers(overlay)} == {f"moderation-worker:{version}-{build}"}


@overlays
def test_there_are_never_more_workers_than_partitions(overlay: Path) -> None:
    scaled = of_kind(overlay, "ScaledObject")
    replicas = stateful_set(overlay).get("replicas")
    assert (replicas is None) == bool(scaled), "an apply would set back what KEDA has set"
    assert replicas is None or 0 < replicas <= PARTITIONS
    for found in scaled:
        assert found["spec"]["maxReplicaCount"] == PARTITIONS


@overlays
def test_a_worker_on_a_gpu_asks_for_a_gpu_or_a_share_of_one_and_takes_no_cpu_instead(
    overlay: Path, tmp_path: Path
) -> None:
    limits = worker(overlay)["resources"]["limits"]
    gpus = {name: number for name, number in limits.items() if name.startswith("nvidia.com/")}
    tolerated = {toleration["key"] for toleration in pod(overlay).get("tolerations", [])}
    on_gpu = settings(overlay, tmp_path).model.device == "cuda"
    resource = "nvidia.com/gpu.shared" if overlay.name == "gpu-shared" else "nvidia.com/gpu"
    assert (gpus, "nvidia.com/gpu" in tolerated) == (({resource: "1"}, True) if on_gpu else ({}, False))


@autoscaled
def test_keda_scales_this_set_and_reads_the_workers_own_settings_and_secrets(overlay: Path) -> None:
    (scaled,) = of_kind(overlay, "ScaledObject")
    (target,) = of_kind(overlay, "StatefulSet")
    reference = scaled["spec"]["scaleTargetRef"]
    assert (reference["apiVersion"], reference["kind"]) == (target["apiVersion"], target["kind"])
    assert reference["name"] == target["metadata"]["name"]
    environ = environment(overlay, worker(overlay))
    (trigger,) = scaled["spec"]["triggers"]
    for parameter, variable in trigger["metadata"].items():
        if parameter.endswith("FromEnv"):
            assert "," not in environ[variable]
            assert reference["envSourceContainerName"] == worker(overlay)["name"]
    mounted_keys = {
        (volume["secret"]["secretName"], item["key"])
        for volume in pod(overlay)["volumes"]
        for item in volume.get("secret", {}).get("items", [])
    }
    for authentication in of_kind(overlay, "TriggerAuthentication"):
        assert authentication["metadata"]["name"] == trigger["authenticationRef"]["name"]
        assert {
            (known["name"], known["key"]) for known in authentication["spec"]["secretTargetRef"]
        } == mounted_keys
        assert {known["name"] for known in authentication["spec"]["env"]} <= environ.keys()


def test_without_a_worker_the_backlog_is_unknown_so_the_last_one_stays_and_only_kafka_wakes_from_zero() -> None:
    least = {overlay.name: of_kind(overlay, "ScaledObject")[0]["spec"]["minReplicaCount"] for overlay in AUTOSCALED}
    assert least == {"autoscaled-backlog": 1, "autoscaled-kafka": 0}


def test_keda_starts_no_worker_for_messages_behind_an_open_transaction() -> None:
    (scaled,) = of_kind(ROOT / "deploy" / "kubernetes" / "overlays" / "autoscaled-kafka", "ScaledObject")
    for trigger in scaled["spec"]["triggers"]:
        assert trigger["metadata"]["excludePersistentLag"] == "true"
        assert trigger["useCachedMetrics"] is True, "each question of the autoscaler would be a look of its own"
        assert trigger["metadata"]["limitToPartitionsWithLag"] == "false"
    down = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    probe = worker(ROOT / "deploy" / "kubernetes" / "overlays" / "autoscaled-kafka")["startupProbe"]
    loading_s = probe["periodSeconds"] * probe["failureThreshold"]
    assert down["stabilizationWindowSeconds"] >= loading_s, "a worker that loads commits nothing"


def backlog(worker_name: str, known: Mapping[int, int], unknown: int = 0) -> Iterator[tuple[str, int]]:
    """The series that one worker exports."""
    common = f'namespace="moderation",pod="{worker_name}"'
    for partition, messages in known.items():
        labels = f'messaging_destination_name="chat.messages",messaging_destination_partition_id="{partition}"'
        yield f"moderation_backlog{{{common},{labels}}}", messages
    yield f"moderation_backlog_unknown{{{common}}}", unknown


EVERY = dict.fromkeys(range(PARTITIONS), 100)
HALVES = (
    {partition: 100 for partition in EVERY if partition < PARTITIONS // 2},
    {partition: 100 for partition in EVERY if partition >= PARTITIONS // 2},
)
ALL_BUT_ONE = {partition: 100 for partition in EVERY if partition != 1}
QUARANTINED = (
    'moderation_partitions_quarantined{namespace="moderation",pod="a",'
    'messaging_destination_name="chat.messages",messaging_destination_partition_id="1"}'
)


@pytest.mark.parametrize(
    ("series", "answer"),
    [
        pytest.param([*backlog("a", EVERY)], 600, id="one worker has all"),
        pytest.param([*backlog("a", HALVES[0]), *backlog("b", HALVES[1])], 600, id="two share"),
        pytest.param([*backlog("a", dict.fromkeys(EVERY, 0))], 0, id="a true zero"),
        pytest.param([*backlog("a", EVERY), *backlog("b", HALVES[1])], 600, id="both know one, after a rebalance"),
        pytest.param([*backlog("a", HALVES[0]), *backlog("b", {}, 3)], None, id="some unknown"),
        pytest.param([*backlog("a", EVERY), *backlog("b", {}, 3)], None, id="unknown to the new one"),
        pytest.param([*backlog("a", HALVES[0])], None, id="a worker died"),
        pytest.param([*backlog("a", ALL_BUT_ONE), (QUARANTINED, 1)], 500, id="one in quarantine"),
        pytest.param([*backlog("a", {}, 6)], None, id="all unknown"),
        pytest.param([], None, id="nobody exports"),
    ],
)
def test_the_query_for_the_backlog_never_answers_less_than_there_is(
    series: Sequence[tuple[str, int]], answer: int | None, tmp_path: Path
) -> None:
    (scaled,) = of_kind(ROOT / "deploy" / "kubernetes" / "overlays" / "autoscaled-backlog", "ScaledObject")
    ((trigger),) = scaled["spec"]["triggers"]
    assert trigger["metadata"]["ignoreNullValues"] == "false", "KEDA would take no answer for zero"
    # Another installation's, which is never asked.
    others = [('moderation_backlog_unknown{namespace="other"}', 1)]
    case = {
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": name, "values": f"{value}x8"} for name, value in [*series, *others]],
                "promql_expr_test": [
                    {
                        "expr": trigger["metadata"]["query"],
                        "eval_time": "1m",
                        "exp_samples": [] if answer is None else [{"labels": "{}", "value": answer}],
                    }
                ],
            }
        ],
    }
    (tmp_path / "case.yaml").write_text(json.dumps(case))
    asked = run_tool("promtool", "test", "rules", tmp_path / "case.yaml")
    assert asked.returncode == 0, asked.stdout + asked.stderr


@pytest.mark.slow
def test_the_weights_are_fetched_once_and_a_restart_asks_no_hub(hub: dict[str, str], tmp_path: Path) -> None:
    overlay = ROOT / "deploy" / "kubernetes" / "overlays" / "gpu"
    (container,) = pod(overlay)["initContainers"]
    (script,) = container["args"]
    assert container["command"] == ["sh", "-euc"]
    paths = environment(overlay, container), environment(overlay, worker(overlay))
    assert paths[1]["WORKER_MODEL__PATH"] == f"/models/{paths[0]['WORKER_MODEL__REVISION']}"
    folder = tmp_path / commit_of(SMALL)

    def start(path: str) -> subprocess.CompletedProcess[str]:
        given = {
            "WORKER_MODEL__PATH": SMALL,
            "WORKER_MODEL__REVISION": commit_of(SMALL),
            "WORKER_MODEL__TOKENIZER_REVISION": commit_of(BASE),
            "PATH": path,
        }
        command = [*container["command"], script.replace("/models/", f"{tmp_path}/")]
        return subprocess.run(command, env={**hub, **given}, capture_output=True, text=True, check=False)

    fetched = start(f"{Path(sys.executable).parent}:{os.defpath}")
    assert fetched.returncode == 0, fetched.stderr
    assert {"model.safetensors", "tokenizer.json", "provenance.json"} <= {path.name for path in folder.iterdir()}
    without_worker = os.defpath
    restarted = start(without_worker)
    assert (restarted.returncode, restarted.stdout) == (0, f"{folder} is complete\n")
    # A fetch that was cut off has left this much.
    provenance = json.loads((folder / "provenance.json").read_text())
    (folder / "provenance.json").write_text(json.dumps({**provenance, "files": {}}))
    assert "moderation-worker: not found" in start(without_worker).stderr


@pytest.mark.parametrize(
    "block",
    re.findall(r"```yaml\n(apiVersion: kustomize.*?)```", (ROOT / "docs" / "kubernetes.md").read_text(), re.DOTALL),
)
def test_the_kustomizations_in_the_docs_build_and_satisfy_the_schemas(block: str, tmp_path: Path) -> None:
    (tmp_path / "moderation-worker").symlink_to(ROOT)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "kustomization.yaml").write_text(block)
    text = built(tmp_path / "own")
    assert faults(text) == []
    assert {document["metadata"]["namespace"] for document in parsed(text)} == {"moderation"}
