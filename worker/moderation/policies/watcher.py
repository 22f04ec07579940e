"""Watch a policy file. A changed file that is right takes effect; a wrong one changes nothing.

Two threads share this: the watcher's own thread reads and compiles the file, which can take seconds, and the owner
adopts what is ready between two transactions. One of the two assigns each attribute.

The file is compared by its content, because a ConfigMap changes by a symbolic link and its files may keep their
times. A content counts only when two reads in a row agree: what an unfinished write has left may be a policy too.
"""

import logging
from collections import deque
from collections.abc import Callable
from threading import Event, Thread

from worker.errors import ConfigurationError
from worker.moderation.policies.policy import Policy
from worker.moderation.policies.policy_reader import digest_of, parse_policy, read_content, unreadable
from worker.reported import PolicyStatus

log = logging.getLogger(__name__)

CHECK_S = 1.0
SETTLE_S = 0.05
"""Pause between the two reads of a changed file."""
FAULTS_LOGGED_MAX = 20


class FixedPolicy:
    """Holds the policy of the settings, which never changes.

    Attributes:
        current: The policy in force.
        status: The state of the policy, for telemetry.
    """

    def __init__(self, policy: Policy) -> None:
        self.current = policy
        self.status = PolicyStatus(version=policy.version, digest=policy.digest, fingerprint=policy.fingerprint)

    def start(self) -> None:
        """Do nothing: there is no file to watch."""

    def check_soon(self) -> None:
        """Do nothing."""

    def adopt(self) -> bool:
        """Return False: nothing changes."""
        return False


class PolicyWatcher:
    """Holds the policy in force, and the next one.

    Args:
        path: The policy file.
        settle: Waits between the two reads of a changed file.

    Raises:
        ConfigurationError: The file cannot be read, or it is wrong. The message has a line for each fault.
    """

    def __init__(self, path: str, settle: Callable[[], object] | None = None) -> None:
        self._path = path
        self._wake = Event()
        self._settle = settle or (lambda: Event().wait(SETTLE_S))
        try:
            content = read_content(path)
        except OSError as error:
            raise unreadable(path, str(error.strerror)) from error
        self._seen: str | None = digest_of(content)
        self._current = Policy.of_file(parse_policy(content, path))
        self._accepted = self._seen
        self._ready: deque[Policy] = deque(maxlen=1)  # the watcher's thread appends, the owner pops
        self._is_refused = False
        self._adopted = self._refused = 0

    @property
    def current(self) -> Policy:
        """The policy in force."""
        return self._current

    @property
    def status(self) -> PolicyStatus:
        """The state of the policy and of its file, for telemetry."""
        return PolicyStatus(
            version=self._current.version,
            digest=self._current.digest,
            fingerprint=self._current.fingerprint,
            is_refused=self._is_refused,
            adopted=self._adopted,
            refused=self._refused,
        )

    def start(self) -> None:
        """Check the file every second, in a thread of its own."""
        Thread(target=self._run, name="policy", daemon=True).start()

    def check_soon(self) -> None:
        """Check the file now, in the watcher's thread."""
        self._wake.set()

    def adopt(self) -> bool:
        """Let a policy that is ready take effect. The owner calls this between two transactions.

        Returns:
            Whether the records in memory must be read again: another exemption decides which messages are scored.
        """
        if not self._ready:
            return False
        before, self._current = self._current, self._ready.pop()
        self._adopted += 1
        if self._current.version == before.version and self._current.digest != before.digest:
            log.warning(
                "the policy file %s has another content and still the version %s: if it decides differently now, "
                "the verdicts do not show which content decided; change the version with the content, or remove it",
                self._path,
                before.version,
            )
        log.info(
            "the policy %s takes effect in place of %s (file %s)", self._current.version, before.version, self._path
        )
        return self._current.unscored != before.unscored

    def check(self) -> None:
        """Read the file; prepare its policy if the content has changed and is right, or log why it is not."""
        try:
            content = read_content(self._path)
            if digest_of(content) == self._seen:
                return
            self._settle()
            if read_content(self._path) != content:
                return  # the file is being written; the next check looks again
        except OSError as error:
            self._refuse(None, str(unreadable(self._path, str(error.strerror))))
            return
        digest = digest_of(content)
        if digest != self._accepted:
            try:
                ready = Policy.of_file(parse_policy(content, self._path))
            except ConfigurationError as error:
                self._refuse(digest, str(error))
                return
            self._ready.append(ready)
        self._seen = self._accepted = digest
        self._is_refused = False

    def _refuse(self, digest: str | None, faults: str) -> None:
        """Log once why a content, or its absence, changes nothing."""
        if self._is_refused and self._seen == digest:
            return
        self._seen, self._is_refused = digest, True
        self._refused += 1
        lines = faults.splitlines()
        more = f"\n... and {len(lines) - FAULTS_LOGGED_MAX} more" if len(lines) > FAULTS_LOGGED_MAX else ""
        log.error(
            "the policy file %s changes nothing, policy %s stays in force; correct the file:\n%s",
            self._path,
            self._current.version,
            "\n".join(lines[:FAULTS_LOGGED_MAX]) + more,
            extra={"multiline": True},
        )

    def _run(self) -> None:
        while True:
            self._wake.wait(CHECK_S)
            self._wake.clear()
            try:
                self.check()
            except Exception as error:  # noqa: BLE001 - without this thread, no later file would take effect
                self._refuse(None, f"reading the policy file {self._path} raised {type(error).__name__}")
