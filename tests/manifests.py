"""The manifests under deploy/ as a cluster would read them: built, held against schemas, and resolved for a pod."""

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.conftest import authority
from tests.prometheus import tool
from worker.settings import Need, Settings, load_settings

Document = dict[str, Any]

ROOT = Path(__file__).parents[1]
OVERLAYS = sorted((ROOT / "deploy" / "kubernetes" / "overlays").iterdir())
SCHEMAS = str(ROOT / ".tools" / "schemas" / "{{.ResourceKind}}{{.KindSuffix}}.json")


def run_tool(name: str, *arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool(name), *arguments], input=given, capture_output=True, text=True, check=False)


@cache
def built(overlay: Path) -> str:
    done = run_tool("kustomize", "build", overlay)
    assert done.returncode == 0, done.stderr
    return done.stdout


def parsed(text: str) -> list[Document]:
    return list(YAML(typ="safe").load_all(text))


def of_kind(overlay: Path, kind: str) -> list[Document]:
    return [document for document in parsed(built(overlay)) if document["kind"] == kind]


def stateful_set(overlay: Path) -> Document:
    (found,) = of_kind(overlay, "StatefulSet")
    spec: Document = found["spec"]
    return spec


def pod(overlay: Path) -> Document:
    spec: Document = stateful_set(overlay)["template"]["spec"]
    return spec


def worker(overlay: Path) -> Document:
    (container,) = pod(overlay)["containers"]
    assert container["name"] == "worker"
    return dict(container)


def containers(overlay: Path) -> list[Document]:
    return [*pod(overlay).get("initContainers", []), worker(overlay)]


def environment(overlay: Path, container: Document, pod_name: str = "moderation-worker-0") -> dict[str, str]:
    """Return the variables that the kubelet gives to a container. ``$(NAME)`` sees earlier entries of ``env``."""
    maps = {found["metadata"]["name"]: found["data"] for found in of_kind(overlay, "ConfigMap")}
    fields = {"metadata.name": pod_name, "metadata.namespace": "moderation", "spec.nodeName": "node-1"}
    own: dict[str, str] = {}
    for entry in container.get("env", []):
        match entry.get("valueFrom", {}):
            case {"fieldRef": {"fieldPath": path}}:
                own[entry["name"]] = fields[path]
            case {"configMapKeyRef": {"name": name, "key": key}}:
                own[entry["name"]] = maps[name][key]
            case {"secretKeyRef": {"optional": True}}:
                pass
            case nothing:
                assert nothing == {}
                expanded = re.sub(r"\$\((\w+)\)", lambda named: own[named[1]], entry["value"])
                own[entry["name"]] = expanded
    shared = [maps[source["configMapRef"]["name"]] for source in container.get("envFrom", [])]
    return {name: text for known in [*shared, own] for name, text in known.items()}


def mounted(overlay: Path, container: Document, root: Path, pod_name: str) -> dict[str, str]:
    """The container's environment with its paths below ``root``, where its volumes are laid out."""
    volumes = {volume["name"]: volume for volume in pod(overlay)["volumes"]}
    for mount in container["volumeMounts"]:
        place = root / mount["mountPath"].lstrip("/")
        # As the kubelet does it: links to files in a hidden folder, which a new version replaces in one step.
        (place / "..data").mkdir(parents=True)
        for item in volumes.get(mount["name"], {}).get("secret", {}).get("items", []):
            content = authority().cert_pem.bytes() if item["path"].endswith(".crt") else b"a password"
            (place / "..data" / item["path"]).write_bytes(content)
            (place / item["path"]).symlink_to(f"..data/{item['path']}")
    within = tuple(mount["mountPath"] for mount in container["volumeMounts"])
    environ = environment(overlay, container, pod_name)
    return {name: f"{root}{text}" if text.startswith(within) else text for name, text in environ.items()}


def settings(overlay: Path, root: Path, pod_name: str = "moderation-worker-0") -> Settings:
    """The worker's, as they come out of the manifests; nothing may be warned of."""
    environ = mounted(overlay, worker(overlay), root, pod_name)
    if environ["WORKER_MODEL__PATH"].startswith("/"):
        Path(environ["WORKER_MODEL__PATH"]).mkdir(parents=True)
    loaded = load_settings(environ, {Need.KAFKA, Need.MODEL}, directory=root / "none")
    assert loaded.warnings == ()
    return loaded.settings


def faults(text: str) -> list[str]:
    """What kubeconform finds wrong; a document without a schema is a fault too."""
    options = ("-strict", "-output", "json", "-summary", "-schema-location", SCHEMAS)
    told = json.loads(run_tool("kubeconform", *options, "-", given=text).stdout)
    assert sum(told["summary"].values()) == len([document for document in parsed(text) if document])
    assert told["summary"]["skipped"] == 0
    return [f"{found['kind']} {found['name']}: {found['msg']}" for found in told["resources"] or []]
