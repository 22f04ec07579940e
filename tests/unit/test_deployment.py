"""The files around the code: the locks, the install, the Makefile, the image and the compose file."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
import zipfile
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from tests.acls import documented
from worker.settings.groups import VARIABLES
from worker.settings.load import SECRETS_DIR, load_settings

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
LOCKS = {lock.stem: lock for lock in sorted((ROOT / "deploy").glob("*.lock"))}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMPOSE = YAML(typ="safe").load(ROOT / "docker-compose.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
WORKERS = ["topics", "worker", "worker-gpu"]


def locked(*names: str) -> dict[str, list[Requirement]]:
    """By name, each requirement of some locks, without its hashes."""
    text = "".join(LOCKS[name].read_text() for name in names)
    text = re.sub(r" \\\n    --hash=sha256:[0-9a-f]{64}", "", text)
    found: dict[str, list[Requirement]] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            requirement = Requirement(line)
            found.setdefault(requirement.name, []).append(requirement)
    return found


EVERYTHING = locked("requirements", "torch-cuda")


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **options)


def declared() -> list[str]:
    project = PYPROJECT["project"]
    extras, group = project["optional-dependencies"].values(), PYPROJECT["dependency-groups"]["dev"]
    return [*project["dependencies"], *chain.from_iterable(extras), *group]


@pytest.mark.parametrize("text", declared())
def test_the_lock_holds_a_version_that_pyproject_allows(text: str) -> None:
    wanted = Requirement(text)
    versions = [str(pin.specifier).removeprefix("==") for pin in EVERYTHING[canonicalize_name(wanted.name)]]
    assert versions
    assert all(wanted.specifier.contains(version) for version in versions)


def test_each_runtime_dependency_is_bounded_on_both_sides() -> None:
    for text in PYPROJECT["project"]["dependencies"]:
        operators = {bound.operator for bound in Requirement(text).specifier}
        assert operators == {">=", "<"}, text


def blocks(lock: Path) -> list[str]:
    return re.findall(r"^\S+==.*(?:\n    --hash.*)*", lock.read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", sorted(LOCKS.keys() - {"torch-cpu"}))
def test_every_package_of_a_lock_has_hashes(name: str) -> None:
    assert blocks(LOCKS[name])
    assert [block for block in blocks(LOCKS[name]) if "--hash=sha256:" not in block] == []


def test_pytorch_s_cpu_build_has_hashes_or_its_lock_says_why_not() -> None:
    [block] = blocks(LOCKS["torch-cpu"])
    assert ("--hash=sha256:" in block) != ("could not be reached" in LOCKS["torch-cpu"].read_text())


def test_the_builds_of_pytorch_are_of_one_version() -> None:
    [cpu], [cuda] = (locked(f"torch-{build}")["torch"] for build in ("cpu", "cuda"))
    assert str(cpu.specifier).split("+")[0] == str(cuda.specifier)


@pytest.mark.parametrize("name", ["runtime", "build"])
def test_the_image_is_built_from_the_versions_that_the_tests_ran_with(name: str) -> None:
    for package, pins in locked(name).items():
        assert {str(pin.specifier) for pin in pins} <= {str(pin.specifier) for pin in EVERYTHING[package]}


def test_the_build_backend_is_locked_for_this_project_and_its_image() -> None:
    [backend] = PYPROJECT["build-system"]["requires"]
    for name in ("requirements", "build"):
        assert Requirement(backend).name in locked(name)
    assert "editables" in locked("requirements"), "an editable build asks for it"


def test_what_is_locked_fits_together() -> None:
    checked = run(BIN / "uv", "pip", "check", "--python", sys.executable)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS.keys())
def test_the_lock_names_no_index(lock: Path) -> None:
    assert "://" not in lock.read_text()
    assert "index" not in re.sub("#.*", "", lock.read_text())


def test_a_new_lock_is_parted_by_what_depends_on_the_build_of_pytorch() -> None:
    split = runpy.run_path(str(ROOT / "deploy" / "lock.py"))["split"]
    numpy = "numpy==2 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
    nvidia = "nvidia-x==1 ; sys_platform == 'linux' \\\n    --hash=sha256:cc\n"
    torch = "torch==2 \\\n    --hash=sha256:dd\n"
    parts = [re.sub("#.*\n", "", part) for part in split(numpy + nvidia + torch)]
    assert parts == [numpy, nvidia + torch]


def test_nothing_is_installed_without_its_hash_but_pytorch_s_cpu_build_while_its_lock_has_none(copy: Path) -> None:
    from_locks = runpy.run_path(str(copy / "deploy" / "install.py"))["from_locks"]
    assert "--require-hashes" in from_locks("cuda")
    cpu = copy / "deploy" / "torch-cpu.lock"
    cpu.write_text("torch==2.15.0\n")
    assert "--require-hashes" not in from_locks("cpu")
    cpu.write_text("torch==2.15.0+cpu \\\n    --hash=sha256:aa\n")
    assert {"--require-hashes", "--torch-backend=cpu"} <= set(from_locks("cpu"))


def test_a_package_that_is_not_what_the_lock_says_is_not_installed(tmp_path: Path) -> None:
    """A wheel under another digest than its own, offered where the index would."""
    [line] = [block for block in blocks(LOCKS["requirements"]) if block.startswith("iniconfig==")]
    offered = tmp_path / f"iniconfig-{line.split()[0].split('==')[1]}-py3-none-any.whl"
    with zipfile.ZipFile(offered, "w") as wheel:
        wheel.writestr("iniconfig.py", "raise SystemExit('taken over')")
    (tmp_path / "requirements.txt").write_text(line + "\n")
    refused = run(
        *(BIN / "uv", "pip", "install", "--require-hashes", "--no-deps", "--no-cache", "--no-index"),
        *("--find-links", tmp_path, "--target", tmp_path / "into", "--requirements", tmp_path / "requirements.txt"),
    )
    assert refused.returncode != 0
    assert "Hash mismatch" in refused.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What the install reads, in a folder of its own."""
    (tmp_path / "deploy").mkdir()
    for path in (ROOT / "pyproject.toml", ROOT / "deploy" / "install.py", *LOCKS.values()):
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    return tmp_path


def installed(copy: Path, build: str) -> None:
    """Leaves what a finished install leaves."""
    (copy / ".venv" / "bin").mkdir(parents=True)
    (copy / ".venv" / "bin" / "python").symlink_to(sys.executable)
    digest = runpy.run_path(str(copy / "deploy" / "install.py"))["wanted"]()
    (copy / ".venv" / "installed").write_text(f"{digest} {build}\n")


@pytest.mark.parametrize(("build", "torch"), [("cuda", "auto"), ("cuda", "cuda"), ("cpu", "auto")])
def test_a_second_install_does_nothing(copy: Path, build: str, torch: str) -> None:
    installed(copy, build)
    again = run(sys.executable, copy / "deploy" / "install.py", torch)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_another_dependency_build_or_folder_is_installed_anew(copy: Path) -> None:
    installed(copy, "cuda")
    names = runpy.run_path(str(copy / "deploy" / "install.py"))
    assert not names["is_installed"](names["wanted"](), "cpu")
    elsewhere = shutil.copytree(copy, copy.with_name("elsewhere"), symlinks=True)
    moved = runpy.run_path(str(elsewhere / "deploy" / "install.py"))
    assert not moved["is_installed"](moved["wanted"](), "auto")
    pyproject = copy / "pyproject.toml"
    pyproject.write_text(pyproject.read_text() + "\n# a comment, or a setting of ruff\n")
    assert names["is_installed"](names["wanted"](), "auto")
    pyproject.write_text(pyproject.read_text().replace('"numpy>=2,', '"numpy>=2.1,'))
    assert not names["is_installed"](names["wanted"](), "auto")


def test_a_python_without_ensurepip_is_named_with_the_remedy(copy: Path) -> None:
    without = "import runpy, sys; sys.modules['ensurepip'] = None; sys.argv = sys.argv[1:]"
    start = "runpy.run_path(sys.argv[0], run_name='__main__')"
    refused = run(sys.executable, "-c", f"{without}; {start}", copy / "deploy" / "install.py")
    assert refused.returncode == 1
    assert "apt-get install python3-venv" in refused.stderr


def test_too_little_disk_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = runpy.run_path(str(ROOT / "deploy" / "install.py"))
    more_than_there_is = {"cpu": 10**18, "cuda": 10**18}
    changes = {"ROOM_BYTES": more_than_there_is, "VENV": tmp_path, "UV": BIN / "uv"}
    for name, value in changes.items():
        monkeypatch.setitem(names["need_room"].__globals__, name, value)
    with pytest.raises(names["RefusalError"], match="free some, or set UV_CACHE_DIR"):
        names["need_room"]("cpu", {"UV_CACHE_DIR": str(tmp_path)})


def test_uv_installs_into_a_new_environment_although_it_knew_the_path_as_another_python(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    venv, base = tmp_path / ".venv", Path(sys.executable).resolve()
    python = venv / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(base)  # an environment without pyvenv.cfg
    environment = {"PATH": os.environ["PATH"], "UV_PYTHON": str(python), "UV_CACHE_DIR": str(tmp_path / "cache")}

    def location() -> str:
        show = [str(BIN / "uv"), "pip", "show", "pip"]
        return subprocess.run(show, env=environment, capture_output=True, text=True, check=False).stdout

    assert str(venv) not in location()
    subprocess.run([str(base), "-m", "venv", "--clear", str(venv)], check=True)
    names = runpy.run_path(str(ROOT / "deploy" / "install.py"))
    for name, value in {"VENV": venv, "UV": BIN / "uv", "UV_INSTALL": [str(BIN / "uv"), "pip", "install"]}.items():
        monkeypatch.setitem(names["check_target"].__globals__, name, value)
    names["check_target"](environment)
    assert str(venv) in location()
    with pytest.raises(names["RefusalError"], match="not into"):
        names["check_target"]({**environment, "UV_PYTHON": str(base)})


def test_an_unknown_build_of_torch_is_refused_in_a_sentence() -> None:
    refused = run(sys.executable, "deploy/install.py", "gpu")
    assert (refused.returncode, refused.stderr) == (1, "TORCH must be auto, cpu or cuda, not gpu.\n")


def test_the_index_and_the_certificate_of_pip_reach_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    names = runpy.run_path(str(ROOT / "deploy" / "install.py"))
    monkeypatch.setitem(names["environment_for_uv"].__globals__, "PYTHON", Path(sys.executable))
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "SSL_CERT_FILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "mirror.invalid/simple")
    monkeypatch.setenv("PIP_CERT", "ca.pem")
    environment = names["environment_for_uv"]()
    assert (environment["UV_DEFAULT_INDEX"], environment["SSL_CERT_FILE"]) == ("mirror.invalid/simple", "ca.pem")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "own.invalid/simple")
    assert names["environment_for_uv"]()["UV_DEFAULT_INDEX"] == "own.invalid/simple"


def test_make_help_lists_each_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    targets = re.findall(r"^([a-z]+):", makefile, re.MULTILINE)
    assert phony
    assert phony[1].split() == targets
    listed = run("make").stdout
    assert [line.split()[1] for line in listed.splitlines() if line.startswith("make ")] == targets


def test_a_python_that_does_not_fit_is_refused_in_a_sentence() -> None:
    refused = run("make", "demo", "PYTHON=false")
    assert refused.returncode != 0
    assert "Python 3.11 to 3.14 is needed" in refused.stderr
    assert "make PYTHON=/path/to/python3 demo" in refused.stderr


def test_the_compose_file_satisfies_its_schema() -> None:
    checked = run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")
    assert checked.returncode == 0, checked.stdout


def test_the_dockerfile_passes_its_linter() -> None:
    hadolint = BIN / "hadolint"
    if not hadolint.exists():
        pytest.skip("hadolint has no wheel for this platform")
    linted = run(hadolint, "deploy/Dockerfile")
    assert linted.returncode == 0, linted.stdout


def test_the_documented_grants_are_the_least_with_the_names_of_the_settings() -> None:
    def granted(**variables: str) -> list[str]:
        environ = {f"WORKER_KAFKA__{name}": value for name, value in variables.items()}
        lines = documented({"WORKER_KAFKA__BOOTSTRAP_SERVERS": "kafka:9093", **environ})
        start = "--bootstrap-server kafka:9093 --add --allow-principal User:worker --operation "
        assert all(line.startswith(start) for line in lines)
        return [line.removeprefix(start) for line in lines]

    kafka = load_settings({}).settings.kafka
    assert granted() == [
        *(f"Read --topic {topic}" for topic in kafka.input_topics),
        f"Read --group {kafka.group_id}",
        f"Write --transactional-id {kafka.group_id} --resource-pattern-type prefixed",
        f"Write --topic {kafka.verdict_topic}",
        f"Write --topic {kafka.alert_topic}",
        f"Write --topic {kafka.dead_letter_topic}",
    ]
    own = granted(
        INPUT_TOPICS="a, b",
        GROUP_ID="g",
        TRANSACTIONAL_ID="t",
        VERDICT_TOPIC="v",
        ALERT_TOPIC="l",
        DEAD_LETTER_TOPIC="d",
    )
    assert own == [
        "Read --topic a",
        "Read --topic b",
        "Read --group g",
        "Write --transactional-id t --resource-pattern-type prefixed",
        "Write --topic v",
        "Write --topic l",
        "Write --topic d",
    ]


def test_granting_without_a_principal_or_a_broker_is_refused_in_a_sentence() -> None:
    refused = run("deploy/acls.sh", env={"PRINCIPAL": "User:worker"})
    assert refused.returncode != 0
    assert "WORKER_KAFKA__BOOTSTRAP_SERVERS: is host:port" in refused.stderr


def test_every_image_is_pinned_to_a_version_and_those_of_others_to_a_digest() -> None:
    images = [service["image"] for service in SERVICES.values()]
    images += re.findall(r"^FROM (\S+)", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    for image in images:
        digest = "" if image.startswith("moderation-worker:") else "@sha256:[0-9a-f]{64}"
        assert re.fullmatch(rf"[a-z/-]+:v?\d+\.\d+\.\d+(-[a-z-]+)?{digest}", image), image
    version = PYPROJECT["project"]["version"]
    assert {SERVICES[name]["image"].split("-c")[0] for name in WORKERS} == {f"moderation-worker:{version}"}


@pytest.mark.parametrize("name", WORKERS)
def test_the_settings_of_the_compose_file_are_settings_that_work(name: str, tmp_path: Path) -> None:
    environment = {
        variable: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value)
        for variable, value in SERVICES[name]["environment"].items()
    }
    ours = {variable for variable in environment if not variable.startswith("OTEL_")}
    assert ours <= {*VARIABLES, SECRETS_DIR}
    own_cluster = "WORKER_KAFKA__SECURITY_PROTOCOL=SASL_SSL\nWORKER_KAFKA__SASL_MECHANISM=PLAIN\n"
    own_cluster += "WORKER_KAFKA__SASL_USERNAME=a\nWORKER_KAFKA__SASL_PASSWORD=b\nWORKER_POLICY__THRESHOLD=0.7\n"
    (tmp_path / ".env").write_text(own_cluster)
    # Compose lays `environment` over the file, so an empty value there hides the file's.
    given = dict(line.split("=", 1) for line in own_cluster.splitlines()) | environment
    settings = load_settings(given, directory=Path(tmp_path / "none")).settings
    assert settings.kafka.bootstrap_servers == "kafka:19092"
    assert settings.kafka.security_protocol == "PLAINTEXT"
    assert settings.policy.threshold == pytest.approx(0.7)


def test_compose_waits_longer_than_the_worker_takes_to_stop() -> None:
    grace_ms = load_settings({}).settings.shutdown.grace_ms_max
    for name in WORKERS:
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) * 1000 > grace_ms


def test_compose_mounts_only_files_that_are_here() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    for mount in mounts:
        source = mount.split(":")[0]
        assert source in COMPOSE["volumes"] or (ROOT / source).is_file(), mount


def test_everything_that_the_dockerfile_copies_gets_past_dockerignore() -> None:
    let_in = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    lines = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    copied = [source for line in lines for source in line.split()]
    assert sorted(copied) == sorted(let_in)
    assert all((ROOT / source).exists() for source in copied)
