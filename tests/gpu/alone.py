"""Run Python with torch, transformers, numpy and pytest alone: ``python -m tests.gpu.alone MODULE [ARGUMENTS]``.

Every other third-party package cannot be imported then, except those that these four require. A module of the
worker cannot be imported either, unless the classifier may import it. So a new import fails on any machine, not
only on a GPU machine that lacks the package.
"""

import re
import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from types import ModuleType

FOUR = ("torch", "transformers", "numpy", "pytest")
BUILD_DATA = "_sysconfigdata"  # of the standard library; its name depends on the platform
DENIED = {"pydantic", "rich"}  # only a command line of the hub's library would import them here
OURS = re.compile(
    r"tests(\.gpu(\..+)?|\.small_models)?|worker(\.classifier(\..+)?|\.errors|\.reported|\.scores)?|schemas(\.labels)?"
)


def required() -> set[str]:
    """Return the names of the four distributions and of their installed requirements."""
    found: set[str] = set()
    wanted = list(FOUR)
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in found:
            continue
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue
        found.add(name)
        wanted += [
            match[0]
            for line in lines
            if "extra ==" not in line and (match := re.match(r"[\w.-]+", line)) is not None
        ]
    return found


def importable() -> set[str]:
    """Return the top-level names that may be imported, without this project's."""
    known = required()
    allowed = {
        package
        for package, names in packages_distributions().items()
        if known & {re.sub(r"[-_.]+", "-", name).lower() for name in names}
    }
    return (allowed | sys.stdlib_module_names) - DENIED


class Allowed(PathFinder):
    """Finds allowed modules; any other module seems not to be installed."""

    names: frozenset[str] = frozenset()

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return no spec for a module that is not allowed."""
        top = fullname.partition(".")[0]
        if top in {"tests", "worker", "schemas"} and OURS.fullmatch(fullname) is None:
            return None
        if top not in {"tests", "worker", "schemas"} and top not in cls.names and not top.startswith(BUILD_DATA):
            return None
        return super().find_spec(fullname, path, target)


def block() -> None:
    """Block the import of every other module from now on."""
    Allowed.names = frozenset(importable())
    sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Allowed]


if __name__ == "__main__":
    block()
    sys.argv[:] = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
