#!/usr/bin/env python3
"""Install the programs that validate the manifests and rules into .tools: `make tools`.

.tools/bin has the programs: kustomize (the same as in `kubectl kustomize`), kubeconform, promtool, prometheus and
chromium, which opens the pages of reports.
.tools/schemas has the JSON schemas for kubeconform. A stamp says what was installed, so a second run does nothing.
This script needs Go and npm, and no Python package. The two programs of Prometheus come from Debian's package.
Without apt-get, the script takes them from the PATH.
"""
# ruff: noqa: T201, S603 - a person reads what this prints; the commands that it runs are its own words

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
BIN = TOOLS / "bin"
SCHEMAS = TOOLS / "schemas"
STAMP = TOOLS / "installed"

GO_PROGRAMS = {
    "kustomize": "sigs.k8s.io/kustomize/kustomize/v5@v5.8.1",
    "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0",
}
CHROMIUMS = ("chromium-headless-shell", "chromium", "google-chrome")
PROMETHEUS = ("prometheus", "promtool")  # each release of Debian has one version of them

# The version of Kubernetes for the strict schemas: the oldest version that enables image volumes by default.
KUBERNETES = "1.35.0"
KUBERNETES_SCHEMAS = "kubernetes-validate==1.37.0"

# The custom resources that deploy/ uses, as TypeScript types. The generator makes strict schemas of the types.
NPM_PACKAGES = {
    "@kubernetes-models/keda": "2.0.0",
    "@kubernetes-models/prometheus-operator": "6.0.0",
    "@kubernetes-models/strimzi-kafka-operator": "1.0.1",
    "ts-json-schema-generator": "2.4.0",
}
CUSTOM_RESOURCES = {
    "@kubernetes-models/keda/keda.sh/v1alpha1": ["ScaledObject", "TriggerAuthentication"],
    "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1": ["PodMonitor", "PrometheusRule"],
    "@kubernetes-models/strimzi-kafka-operator/kafka.strimzi.io/v1": ["KafkaTopic", "KafkaUser"],
}


class RefusalError(Exception):
    """A person must act first; the message says how."""


def run(*command: str, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run one command, and return its output.

    Raises:
        RefusalError: The command is missing, or it failed; the message has the end of its output.
    """
    if shutil.which(command[0]) is None:
        raise RefusalError(f"{command[0]} is missing: install it, then run this again.")
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()[-15:]
        raise RefusalError("\n".join([f"`{' '.join(command)}` failed:", *lines]))
    return done.stdout


def install_go_programs(scratch: Path) -> None:
    """Build kustomize and kubeconform, without cgo, so that no C compiler is needed."""
    for package in GO_PROGRAMS.values():
        run("go", "install", package, cwd=scratch, environment={"GOBIN": str(BIN), "CGO_ENABLED": "0"})


def install_prometheus(scratch: Path) -> None:
    """Copy the two programs from Debian's package. The package is not installed, because it would start a service.

    Raises:
        RefusalError: apt-get does not know the package. Or this machine has neither apt-get nor the programs.
    """
    if shutil.which("apt-get") is None:
        for program in PROMETHEUS:
            found = shutil.which(program)
            if found is None:
                raise RefusalError(f"{program} is missing, and so is apt-get: put {program} on the PATH.")
            (BIN / program).unlink(missing_ok=True)
            (BIN / program).symlink_to(found)
        return
    try:
        run("apt-get", "download", "prometheus", cwd=scratch)
    except RefusalError:
        if os.geteuid() != 0:
            raise RefusalError(
                "apt-get does not know the package prometheus: run `apt-get update` as root first."
            ) from None
        run("apt-get", "update", cwd=scratch)
        run("apt-get", "download", "prometheus", cwd=scratch)
    (package,) = scratch.glob("prometheus_*.deb")
    run("dpkg", "-x", package.name, "unpacked", cwd=scratch)
    for program in PROMETHEUS:
        shutil.copy2(scratch / "unpacked" / "usr" / "bin" / program, BIN / program)


def install_chromium(scratch: Path) -> None:
    """Link the browser that opens the pages of reports: one on the PATH, or the one of Debian's package.

    The package starts no service, so root installs it. For any other user it is unpacked, with the libraries that
    this machine lacks.

    Raises:
        RefusalError: A browser is missing, and so is apt-get.
    """
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if found is None:
        if shutil.which("apt-get") is None:
            raise RefusalError(f"A browser is missing, and so is apt-get: put {CHROMIUMS[0]} on the PATH.")
        if os.geteuid() == 0:
            run("apt-get", "update", cwd=scratch)
            run("apt-get", "install", "--yes", "--no-install-recommends", CHROMIUMS[0], cwd=scratch)
            found = shutil.which(CHROMIUMS[0])
        else:
            found = str(unpacked_chromium(scratch))
    (BIN / "chromium").unlink(missing_ok=True)
    (BIN / "chromium").symlink_to(str(found))


def unpacked_chromium(scratch: Path) -> Path:
    """Unpack the browser and the libraries that are not installed. Return the script that starts the browser."""
    without_lock = ("-o", "Debug::NoLocking=1", "--yes", "--no-install-recommends")
    listed = run("apt-get", *without_lock, "--print-uris", "install", CHROMIUMS[0], cwd=scratch)
    # A line has an address in quotes, then the file NAME_VERSION_ARCHITECTURE.deb.
    names = [line.split()[1].split("_")[0] for line in listed.splitlines() if line.startswith("'")]
    run("apt-get", "download", *names, cwd=scratch)
    folder = TOOLS / "chromium"
    for package in scratch.glob("*.deb"):
        run("dpkg", "-x", str(package), str(folder), cwd=scratch)
    libraries = sorted({str(library.parent) for library in folder.rglob("*.so*")})
    script = folder / "start"
    program = folder / "usr" / "lib" / "chromium" / CHROMIUMS[0]
    script.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH="{":".join(libraries)}" exec "{program}" "$@"\n')
    script.chmod(0o755)
    return script


def install_kubernetes_schemas(scratch: Path) -> None:
    """Copy one version's strict schemas from the wheel that has the schemas of all versions."""
    run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", KUBERNETES_SCHEMAS, cwd=scratch)
    (wheel,) = scratch.glob("*.whl")
    folder = f"kubernetes_validate/kubernetes-json-schema/v{KUBERNETES}-local-strict/"
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(folder) and name.endswith(".json"):
                # A schema has an address on a server, and refers to other schemas by their paths on that server.
                schema = json.loads(archive.read(name).replace(b'"/api/_definitions.json', b'"_definitions.json'))
                schema.pop("$id", None)
                (SCHEMAS / name.removeprefix(folder)).write_text(json.dumps(schema))


def install_custom_resource_schemas(scratch: Path) -> None:
    """Make JSON schemas of the types in the npm packages. They refuse a field that the type does not have."""
    (scratch / "package.json").write_text(json.dumps({"private": True, "dependencies": NPM_PACKAGES}))
    run("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", cwd=scratch)
    exports = [
        f'export type {{ I{kind} }} from "{module}/{kind}";'
        for module, kinds in CUSTOM_RESOURCES.items()
        for kind in kinds
    ]
    (scratch / "resources.ts").write_text("\n".join(exports))
    options = {"module": "nodenext", "moduleResolution": "nodenext", "strict": True, "types": []}
    (scratch / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": ["resources.ts"]}))
    generator = str(scratch / "node_modules" / ".bin" / "ts-json-schema-generator")
    output = run(generator, "--tsconfig", "tsconfig.json", "--path", "resources.ts", "--no-type-check", cwd=scratch)
    definitions = json.loads(output)["definitions"]
    allow_any_field_where_none_is_known(definitions)
    for module, kinds in CUSTOM_RESOURCES.items():
        group, version = module.split("/")[-2:]
        for kind in kinds:
            schema = {"$ref": f"#/definitions/I{kind}", "definitions": definitions}
            (SCHEMAS / f"{kind.lower()}-{group.split('.')[0]}-{version}.json").write_text(json.dumps(schema))


def allow_any_field_where_none_is_known(schema: Any) -> None:
    """Allow any field in objects without a known field, such as a topic's `config`."""
    if isinstance(schema, dict):
        if schema.get("additionalProperties") is False and not schema.get("properties"):
            del schema["additionalProperties"]
        for part in schema.values():
            allow_any_field_where_none_is_known(part)
    elif isinstance(schema, list):
        for part in schema:
            allow_any_field_where_none_is_known(part)


STEPS: Sequence[tuple[str, Callable[[Path], None]]] = (
    ("kustomize and kubeconform, built by Go", install_go_programs),
    ("prometheus and promtool, from Debian's package", install_prometheus),
    ("Chromium, from the PATH or from Debian's package", install_chromium),
    (f"Schemas of Kubernetes {KUBERNETES}", install_kubernetes_schemas),
    ("Schemas of KEDA's, Strimzi's and the Prometheus operator's resources", install_custom_resource_schemas),
)


def install() -> list[str]:
    """Do every step that is possible, and return a message for each step that is not."""
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == digest:
        return []
    for folder in (BIN, SCHEMAS):
        folder.mkdir(parents=True, exist_ok=True)
    refusals: list[str] = []
    for title, step in STEPS:
        started_s = time.monotonic()
        print(f"{title} ...", end="", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            try:
                step(Path(scratch))
            except RefusalError as refusal:
                refusals.append(str(refusal))
        print(f" {time.monotonic() - started_s:.1f} s", flush=True)
    if not refusals:
        STAMP.write_text(digest)
    return refusals


def main() -> int:
    """Install, and return the exit code: 1 if a step failed."""
    refusals = install()
    for refusal in refusals:
        print(refusal, file=sys.stderr)
    return 1 if refusals else 0


if __name__ == "__main__":
    sys.exit(main())
