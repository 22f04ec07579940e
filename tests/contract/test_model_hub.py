"""``model fetch`` and loading by name, against a local hub that speaks the real hub's protocol.

The hub's library reads its address and its cache from the environment when it is imported: so each visit is a
process of its own.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.small_models import make_model

VISITOR = """
import json, sys
from pathlib import Path
from tests.small_models import options
from worker.classifier import fetch, load
from worker.errors import ModelError

for step in json.load(sys.stdin):
    said = []
    try:
        if "folder" in step:
            fetch(step["name"], Path(step["folder"]), said.append, revision=step.get("revision"))
            print(json.dumps({"said": said}))
        else:
            pins = {key: step.get(key) for key in ("revision", "digest")}
            loaded = load(options(step["name"], **pins), said.append)
            (encoded,) = loaded.encode(["hello"])
            print(json.dumps({
                "name": loaded.identity.name,
                "commit": loaded.identity.commit,
                "revision": loaded.identity.revision,
                "digest": loaded.identity.digest,
                "fallbacks": loaded.fallbacks,
                "tokens": len(encoded.tokens),
            }))
    except ModelError as error:
        print(json.dumps({"refused": str(error)}))
"""

SMALL = "DuoGuard/DuoGuard-0.5B"
LLAMA = "DuoGuard/DuoGuard-1B-Llama-3.2-transfer"
BASE = "Qwen/Qwen2.5-0.5B"


def commit_of(name: str) -> str:
    """Return the repositories of the hub; each has one commit."""
    return hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository of the hub."""

    files: Mapping[str, bytes]
    gated: bool = False


class Hub(BaseHTTPRequestHandler):
    """Answers the three requests of the library: a repository's commit, its tree, a file."""

    repositories: ClassVar[Mapping[str, Repository]] = {}

    def do_GET(self) -> None:
        kind, *rest = self.path.split("?")[0].strip("/").split("/")
        if kind != "api":
            rest = ["models", kind, *rest]
        # The library also requests other things, such as its registry of agents.
        subject, owner, name, *rest = [*rest, "", ""]
        rest = [part for part in rest if part]
        self.commit = commit_of(f"{owner}/{name}")
        repository = self.repositories.get(f"{owner}/{name}") if subject == "models" else None
        if repository is None:
            return self._refuse(401, "RepoNotFound")
        if rest and rest[1] not in {"main", self.commit}:
            return self._refuse(404, "RevisionNotFound")
        if kind != "api":
            return self._file(repository, "/".join(rest[2:]))
        if rest[:1] == ["tree"]:
            return self._answer(json.dumps([entry(*file) for file in repository.files.items()]).encode())
        siblings = [{"rfilename": file} for file in repository.files]
        return self._answer(
            json.dumps({"id": f"{owner}/{name}", "sha": self.commit, "siblings": siblings}).encode()
        )

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def _file(self, repository: Repository, file: str) -> None:
        if repository.gated:
            return self._refuse(401, "GatedRepo")
        if file not in repository.files:
            return self._refuse(404, "EntryNotFound")
        return self._answer(repository.files[file])

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("ETag", f'"{hashlib.sha1(body, usedforsecurity=False).hexdigest()}"')
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Do not log requests."""


def entry(file: str, body: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(body, usedforsecurity=False).hexdigest()
    return {"type": "file", "path": file, "size": len(body), "oid": oid}


def contents(folder: Path, *patterns: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for pattern in patterns for path in folder.glob(pattern)}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the environment of a client: the local hub, and an empty cache."""
    qwen, llama = (make_model(tmp_path_factory.mktemp(name), name) for name in ("qwen2", "llama"))
    pickle = {"pytorch_model.bin": b"never asked for", "README.md": b"nor this"}

    class LocalHub(Hub):
        repositories: ClassVar = {
            SMALL: Repository(files={**contents(qwen, "config.json", "*.safetensors"), **pickle}),
            BASE: Repository(files=contents(qwen, "config.json", "tokenizer*")),
            LLAMA: Repository(files=contents(llama, "config.json", "*.safetensors")),
            "meta-llama/Llama-3.2-1B": Repository(files=contents(llama, "config.json", "tokenizer*"), gated=True),
            "someone/whole": Repository(files=contents(qwen, "*")),
            "someone/headless": Repository(files=contents(qwen, "*.safetensors", "tokenizer*")),
        }

    with ThreadingHTTPServer(("127.0.0.1", 0), LocalHub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {
            **os.environ,
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path_factory.mktemp("cache")),
        }
        server.shutdown()


def visit(environment: Mapping[str, str], *steps: dict[str, str]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", VISITOR],
        input=json.dumps(steps),
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(steps), done.stderr
    return answers


@pytest.mark.slow
def test_a_fetched_folder_works_offline_and_equals_the_model_loaded_by_name(
    hub: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    fetched, again, other, by_name = visit(
        hub,
        {"name": SMALL, "folder": str(folder)},
        {"name": SMALL, "folder": str(folder)},
        {"name": "someone/whole", "folder": str(folder)},
        {"name": SMALL},
    )
    assert any(SMALL in line and commit_of(SMALL) in line for line in fetched["said"])
    assert any(BASE in line and commit_of(BASE) in line for line in fetched["said"])
    assert "refused" not in again
    assert "holds another model" in other["refused"]
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "provenance.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    offline, cached, absent, pinned, wrong = visit(
        {**hub, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"},
        {"name": str(folder)},
        {"name": SMALL},
        {"name": "DuoGuard/DuoGuard-1.5B-transfer"},
        {"name": str(folder), "revision": commit_of(SMALL)},
        {"name": str(folder), "revision": "f" * 40},
    )
    assert (offline["name"], offline["commit"]) == (SMALL, commit_of(SMALL))
    assert offline["revision"] == by_name["revision"] == cached["revision"]
    assert (by_name["name"], by_name["commit"]) == (SMALL, commit_of(SMALL))
    assert any(BASE in line for line in by_name["fallbacks"])
    assert "not in the hub's cache" in absent["refused"]
    assert "HF_HUB_OFFLINE" in absent["refused"]
    assert pinned["commit"] == commit_of(SMALL)
    assert "WORKER_MODEL__REVISION" in wrong["refused"]


@pytest.mark.slow
def test_a_fetched_folder_is_pinned_and_another_fetch_repairs_a_changed_folder(
    hub: dict[str, str], tmp_path: Path
) -> None:
    folder, by_hand = tmp_path / "model", tmp_path / "by-hand"
    (fetched,) = visit(hub, {"name": SMALL, "folder": str(folder)})
    digest = fetched["said"][-1].split("WORKER_MODEL__DIGEST=")[1].split()[0]
    tokenizer = folder / "tokenizer.json"
    shutil.copytree(folder, by_hand)
    (by_hand / "provenance.json").unlink()
    tokenizer.write_text(tokenizer.read_text() + "\n")
    (folder / "added_tokens.json").write_text('{"kill": 5}')
    named, wrong_name, wrong_folder, changed, planted = visit(
        hub,
        {"name": SMALL, "digest": digest[:16]},
        {"name": SMALL, "digest": "0" * 64},
        {"name": str(by_hand), "digest": "0" * 64},
        {"name": str(folder)},
        {"name": SMALL, "folder": str(folder)},
    )
    assert (named["digest"], named["revision"]) == (digest, digest[:16])
    for refusal in (wrong_name, wrong_folder):
        assert f"WORKER_MODEL__DIGEST is {'0' * 64}" in refusal["refused"]
        assert digest in refusal["refused"]
    for words in (str(tokenizer), "SHA-256", f"model fetch {SMALL} {folder}", "remove provenance.json"):
        assert words in changed["refused"]
    assert "holds added_tokens.json, which would be loaded but did not come from the hub" in planted["refused"]
    (folder / "added_tokens.json").unlink()
    unfinished, again, repaired = visit(
        hub, {"name": str(folder)}, {"name": SMALL, "folder": str(folder)}, {"name": str(folder), "digest": digest}
    )
    assert "lists no file: the download has not finished" in unfinished["refused"]
    assert "refused" not in again
    assert (repaired["digest"], repaired["commit"]) == (digest, commit_of(SMALL))


@pytest.mark.slow
def test_a_refusal_of_the_hub_says_what_to_do(hub: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    gated, gated_fetch, unknown, revision, no_config, away, nowhere = visit(
        hub,
        {"name": LLAMA},
        {"name": LLAMA, "folder": str(tmp_path / "llama")},
        {"name": "DuoGuard/nothing"},
        {"name": SMALL, "revision": "v9"},
        {"name": "someone/headless", "folder": str(tmp_path / "headless")},
        {"name": "someone/whole"},
        {"name": SMALL, "folder": str(tmp_path / "file" / "folder")},
    )
    for refusal in (gated, gated_fetch):
        assert "meta-llama/Llama-3.2-1B is gated: accept its licence at http" in refusal["refused"]
        assert "HF_TOKEN" in refusal["refused"]
    assert "WORKER_MODEL__TOKENIZER" in gated["refused"]
    assert "model fetch" in gated["refused"]
    assert "DuoGuard/nothing is not on the hub" in unknown["refused"]
    assert "no revision v9" in revision["refused"]
    assert "no config.json" in no_config["refused"]
    assert away["tokens"] > 0
    assert (
        f"{tmp_path / 'file' / 'folder'} can't be used: name an empty one that can be written" in nowhere["refused"]
    )
