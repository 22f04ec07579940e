"""The permissions that ``deploy/acls.sh`` grants, read from the output of the script."""

import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from confluent_kafka.admin import (  # type: ignore[attr-defined] # exported at run time
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

SCRIPT = Path(__file__).parents[1] / "deploy" / "acls.sh"
KINDS = {
    "--topic": ResourceType.TOPIC,
    "--group": ResourceType.GROUP,
    "--transactional-id": ResourceType.TRANSACTIONAL_ID,
}


def documented(environ: Mapping[str, str]) -> list[str]:
    """Return the arguments of ``kafka-acls.sh`` for the user ``worker``, one line for each permission."""
    given = {"PATH": os.environ["PATH"], "PRINCIPAL": "User:worker", **environ, "KAFKA_ACLS": "echo"}
    done = subprocess.run([SCRIPT], env=given, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def binding(arguments: str) -> AclBinding:
    """Return the ACL that ``kafka-acls.sh`` creates for such a line."""
    words = arguments.split()
    words.remove("--add")
    options = dict(zip(words[::2], words[1::2], strict=True))
    [kind] = options.keys() & KINDS.keys()
    return AclBinding(
        KINDS[kind],
        options[kind],
        ResourcePatternType[options.get("--resource-pattern-type", "literal").upper()],
        options["--allow-principal"],
        "*",
        AclOperation[options["--operation"].upper()],
        AclPermissionType.ALLOW,
    )


def grant(admin: AdminClient, bindings: Iterable[AclBinding]) -> None:
    """Create the ACLs, and return once they take effect."""
    for answer in admin.create_acls(list(bindings)).values():
        answer.result()
