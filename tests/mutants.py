"""Deliberate faults, and the suites that catch them: ``make mutants``.

Each fault breaks exactly-once in a different way. Suites that pass with a fault prove nothing about it. For each
fault this script replaces one text in a copy of the tree, and runs the suites that should notice until one fails.
The exit code is 1 if no suite notices a fault. ``python -m tests.mutants WORD ...`` runs the faults whose names
contain a word.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from worker.commands.broker.embedded import running_broker

ROOT = Path(__file__).parents[1]
TREE = ("worker", "schemas", "tests", "pyproject.toml")
SUITE_S_MAX = 300  # a suite that hangs has noticed the fault too
SEEDS = "2000"

FAILURES = "tests/contract/test_failures.py"
SESSION = [
    f"tests/contract/test_{name}.py"
    for name in ("transactional_session", "session_membership", "session_quarantine", "session_states")
]
SUITES: Mapping[str, Sequence[str]] = {
    "transaction table": ["tests/unit/test_transaction.py"],
    "stall detection": ["tests/unit/test_stall_detection.py"],
    "ownership": ["tests/property/test_ownership.py"],
    "simulation": ["tests/property/test_loop.py"],
    "coalescing": [
        "tests/property/test_coalescing.py",
        "tests/unit/test_coalescing.py",
        "tests/unit/test_coalesced_alerts.py",
    ],
    "fake log": [*SESSION, "-k", "fake"],
    "log on Kafka": [
        *SESSION,
        "-k",
        "roundrobin or cooperative-sticky or outside_the_group or too_large",
    ],
    "transaction time-out": [FAILURES, "-k", "outlives_its_time_out"],
    "broker restart": [FAILURES, "-k", "idle_worker"],
    "error injection": ["tests/contract/test_error_injection.py", "-k", "goes_on_after and END_TXN"],
    "behind own commits": ["tests/contract/test_old_offsets.py", "-k", "behind_its_own"],
    "old offsets": ["tests/contract/test_old_offsets.py", "-k", "told_an_old_offset"],
    "late requests": ["tests/contract/test_network.py", "-k", "arrives_late and END_TXN"],
    "drain": ["tests/property/test_loop.py", "-k", "must_end"],
    "recreated topics": ["tests/contract/test_recreated_topics.py", "-k", "was_down"],
    "policy file": ["tests/unit/test_policy_watcher.py"],
    "policy reload": ["tests/contract/test_policy_reload.py", "-k", "each_transaction"],
    "start offsets": ["tests/contract/test_worker_starts.py", "-k", "a_start_time"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One fault.

    Attributes:
        fault: Name of the fault: what the changed code does wrong.
        file: File that is changed.
        old: Text that is replaced; the file holds it exactly once.
        new: Text of the fault.
        suites: Suites that should notice, in the order in which they run.
    """

    fault: str
    file: str
    old: str
    new: str
    suites: Sequence[str]

    def applied_to(self, tree: Path) -> str:
        """Return the file's text with the fault.

        Raises:
            AssertionError: The file does not hold ``old`` exactly once.
        """
        text = (tree / self.file).read_text()
        assert text.count(self.old) == 1, (
            f"{self.fault}: {self.file} holds this {text.count(self.old)} times: {self.old}"
        )
        return text.replace(self.old, self.new)


MUTANTS = (
    # ---- which work may be committed
    Mutant(
        fault="records kept across a revoke",
        file="worker/kafka/session.py",
        old="self._owned.remove(gone)",
        new="pass",
        suites=["log on Kafka"],
    ),
    Mutant(
        fault="revoke not counted as an invalidation",
        file="worker/kafka/session.py",
        old="        self._quarantined.forget(gone)\n        self.invalidations += 1\n",
        new="        self._quarantined.forget(gone)\n",
        suites=["log on Kafka"],
    ),
    Mutant(
        fault="records kept across a revoke and a reassignment",
        file="worker/kafka/ownership.py",
        old="return position is not None and position.assignment_epoch == fetched.assignment_epoch",
        new="return position is not None",
        suites=["fake log", "simulation"],
    ),
    Mutant(
        fault="assignment epoch not changed by a rewind",
        file="worker/kafka/ownership.py",
        old="            self._epoch += 1\n",
        new="",
        suites=["fake log", "simulation"],
    ),
    Mutant(
        fault="stale records not refused",
        file="worker/kafka/ownership.py",
        old="                    return Event.STALE",
        new="                    pass",
        suites=["log on Kafka"],
    ),
    Mutant(
        fault="ownership checked only for the first partition of a transaction",
        file="worker/kafka/ownership.py",
        old="if not self.owns(record):",
        new="if position is None and not self.owns(record):",
        suites=["ownership"],
    ),
    Mutant(
        fault="assignment epoch shared by two partitions",
        file="worker/kafka/ownership.py",
        old="        for partition, next_offset in next_offsets.items():\n            self._epoch += 1\n",
        new="        self._epoch += 1\n        for partition, next_offset in next_offsets.items():\n",
        suites=["ownership"],
    ),
    Mutant(
        fault="stale records not dropped by the loop",
        file="worker/loop.py",
        old="        if self._session.owns(record):",
        new="        if True:",
        suites=["simulation"],
    ),
    Mutant(
        fault="stale results of the device not dropped by the loop",
        file="worker/loop.py",
        old="*self._owned(results, invalidations)]",
        new="*results]",
        suites=["simulation"],
    ),
    Mutant(
        fault="gap not refused",
        file="worker/kafka/ownership.py",
        old="if record.previous_next_offset != at:",
        new="if record.previous_next_offset < at:",
        suites=["fake log"],
    ),
    Mutant(
        fault="missing output not refused",
        file="worker/kafka/ownership.py",
        old="return None if _have_their_outputs(records, outputs) else Event.MISSING_OUTPUT",
        new="return None",
        suites=["log on Kafka"],
    ),
    Mutant(
        fault="group metadata not checked",
        file="worker/kafka/session.py",
        old="if refusal is None and not is_member(group_metadata):",
        new="if False:",
        suites=["log on Kafka"],
    ),
    Mutant(
        fault="batch above the bound on dead letters committed",
        file="worker/kafka/session.py",
        old="self._owned.remove(bad)",
        new="pass",
        suites=["log on Kafka"],
    ),
    # ---- what is committed
    Mutant(
        fault="start offset of another assignment used",
        file="worker/kafka/offset_lookups.py",
        old="return [partition for partition in partitions if self._asked.get(partition) == number]",
        new="return list(partitions)",
        suites=["simulation"],
    ),
    Mutant(
        fault="offset of a deleted log used",
        file="worker/kafka/topic_ids.py",
        old="return committed_under == current if committed_under else not self._replaced.get(topic)",
        new="return True",
        suites=["recreated topics"],
    ),
    Mutant(
        fault="last offset committed instead of the next",
        file="worker/kafka/ownership.py",
        old="return {record.partition: record.next_offset for record in last.values()}",
        new="return {record.partition: record.offset for record in last.values()}",
        suites=["log on Kafka", "simulation"],
    ),
    Mutant(
        fault="idle offsets committed past records in memory",
        file="worker/kafka/stall_detection.py",
        old="if not (at := lag.progress).has_uncommitted and at.committed <",
        new="if (at := lag.progress).committed <",
        suites=["simulation", "stall detection"],
    ),
    Mutant(
        fault="tombstone skipped without its offset",
        file="worker/loop.py",
        old="self._queue.admit(self._owned(records, invalidations), now_ms)",
        new="self._queue.admit([one for one in self._owned(records, invalidations) if one.content], now_ms)",
        suites=["simulation"],
    ),
    Mutant(
        fault="batch that is not a prefix of the arrivals",
        file="worker/batching.py",
        old="            batch += arrivals.records[begin:end]\n",
        new="            batch += arrivals.records[begin + 1 : end + 1]\n",
        suites=["simulation"],
    ),
    Mutant(
        fault="scores given to the wrong records",
        file="worker/moderation/cached_scoring.py",
        old="answers, evidence = _scored(scorer, to_score)",
        new="answers, evidence = _scored(scorer, to_score[::-1])",
        suites=["simulation"],
    ),
    Mutant(
        fault="scores cached for the wrong texts",
        file="worker/moderation/cached_scoring.py",
        old="cache.put_many(to_score, answers, evidence)",
        new="cache.put_many(to_score[::-1], answers, evidence)",
        suites=["simulation"],
    ),
    Mutant(
        fault="start offset not committed before the first record",
        file="worker/kafka/session.py",
        old="if not starts or (found.chosen and not self._commit([], found.chosen, found.states, None)):",
        new="if not starts:",
        suites=["start offsets"],
    ),
    Mutant(
        fault="released partition not read",
        file="worker/kafka/group_member.py",
        old="self.consumer.resume(_topic_partitions(partitions))",
        new="pass",
        suites=["log on Kafka"],
    ),
    Mutant(
        fault="results published after a quarantine without a look at their dead letters",
        file="worker/loop.py",
        old="            return  # the next transaction",
        new="            results = self._next_results()  # the next transaction",
        suites=["simulation"],
    ),
    # ---- which messages alert, and which are counted
    Mutant(
        fault="alert windows not ended by the clock in a turn that commits records",
        file="worker/loop.py",
        old="        self._end_alert_windows(now_ms)\n        if not is_due:\n",
        new="        if not is_due:\n            self._end_alert_windows(now_ms)\n",
        suites=["simulation"],
    ),
    Mutant(
        fault="committed state not restored at an assignment and a rewind",
        file="worker/kafka/ownership.py",
        old='self._set_states({partition: states.get(partition, "") for partition in next_offsets})',
        new='self._set_states(dict.fromkeys(next_offsets, ""))',
        suites=["simulation"],
    ),
    Mutant(
        fault="state kept across a revoke",
        file="worker/kafka/ownership.py",
        old="            self._positions.pop(partition, None)\n            self.states.pop(partition, None)\n",
        new="            self._positions.pop(partition, None)\n",
        suites=["fake log", "simulation"],
    ),
    Mutant(
        fault="state of a partition that was taken away not refused",
        file="worker/kafka/ownership.py",
        old="if not states.keys() <= self._positions.keys():",
        new="if False:",
        suites=["fake log"],
    ),
    Mutant(
        fault="idle commit without the state",
        file="worker/kafka/session.py",
        old="self._commit([], idle, self.states, None)",
        new="self._commit([], idle, {}, None)",
        suites=["log on Kafka"],
    ),
    Mutant(
        fault="state not committed with the records",
        file="worker/kafka/session.py",
        old="{**self.states, **states}",
        new="self.states",
        suites=["log on Kafka"],
    ),
    Mutant(
        fault="summary published without the state that it ends",
        file="worker/kafka/ownership.py",
        old="{partition: self._positions[partition].committed for partition in states} | ",
        new="",
        suites=["simulation"],
    ),
    Mutant(
        fault="summary published twice",
        file="worker/moderation/coalescing.py",
        old="        self._remove(window.key)\n        if window.counted is not None:",
        new="        if window.counted is None:\n            self._remove(window.key)\n        else:",
        suites=["simulation"],
    ),
    Mutant(
        fault="message counted and alerted",
        file="worker/moderation/coalescing.py",
        old="        self.counted += 1\n        return True\n",
        new="        self.counted += 1\n        return False\n",
        suites=["coalescing", "simulation"],
    ),
    Mutant(
        fault="window with a count closed to make room",
        file="worker/moderation/coalescing.py",
        old="if window.counted is None and one != key]",
        new="if one != key]",
        suites=["coalescing", "simulation"],
    ),
    Mutant(
        fault="window ended by a message outside the transaction's time",
        file="worker/moderation/coalesced_alerts.py",
        old="        self._advance(index + 1)\n",
        new="",
        suites=["coalescing"],
    ),
    # ---- after a transaction that failed
    Mutant(
        fault="no rewind after a failed transaction",
        file="worker/loop.py",
        old="            self._session.rewind()\n",
        new="",
        suites=["simulation"],
    ),
    Mutant(
        fault="memory of dropped records not released",
        file="worker/loop.py",
        old="        self._in_flight.release([record] if is_last else (), 0 if is_last else 1)\n",
        new="",
        suites=["simulation"],
    ),
    Mutant(
        fault="position remembered instead of asked from the group",
        file="worker/kafka/session.py",
        old="        self._member.waiting.update(self._owned.partitions)\n"
        "        self._owned.remove(self._member.waiting)\n",
        new="        known = {partition: at.committed for partition, at in self._owned.progress.items()}\n"
        "        self._owned.place(known)\n"
        "        self._member.consumer.assign([TopicPartition(*one, at) for one, at in known.items()])\n",
        suites=["error injection"],
    ),
    Mutant(
        fault="aborted transaction answered as committed",
        file="worker/kafka/transaction.py",
        old="(State.ABORTING, Event.DONE): (State.READY, Outcome.REWIND)",
        new="(State.ABORTING, Event.DONE): (State.READY, Outcome.COMMITTED)",
        suites=["transaction table"],
    ),
    Mutant(
        fault="failed publish answered as committed",
        file="worker/kafka/publisher.py",
        old="        if outcome is Outcome.COMMITTED:\n",
        new="        if outcome is not Outcome.STOP:\n",
        suites=["error injection"],
    ),
    Mutant(
        fault="commit of unknown outcome aborted",
        file="worker/kafka/transaction.py",
        old="    (State.COMMITTING, Event.ABORTABLE): (State.ABORTING, None),\n",
        new="    (State.COMMITTING, Event.ABORTABLE): (State.ABORTING, None),\n"
        "    (State.COMMITTING, Event.UNKNOWN): (State.ABORTING, None),\n",
        suites=["transaction table"],
    ),
    Mutant(
        fault="start not confirmed before its first commit",
        file="worker/kafka/producer.py",
        old="        if state is State.CONFIRMING and attempt.check is None:\n",
        new="        if state is State.CONFIRMING:\n",
        suites=["old offsets"],
    ),
    Mutant(
        fault="answer behind the own commits used",
        file="worker/kafka/start_offsets.py",
        old="            if self._regression.is_suspected(",
        new="            if False and self._regression.is_suspected(",
        suites=["behind own commits"],
    ),
    Mutant(
        fault="fenced producer used again",
        file="worker/kafka/publisher.py",
        old="            self._producer.replace()\n",
        new="",
        suites=["transaction time-out"],
    ),
    Mutant(
        fault="suspect producer not replaced",
        file="worker/kafka/publisher.py",
        old="if self._state is State.READY and self._producer.suspect.reason:",
        new="if False:",
        suites=["broker restart"],
    ),
    Mutant(
        fault="broken connection not noticed",
        file="worker/kafka/clients.py",
        old="        if facility in _CONNECTION_LOST and level > logging.DEBUG:",
        new="        if False:",
        suites=["late requests"],
    ),
    # ---- the one transaction
    Mutant(
        fault="array divided between two transactions",
        file="worker/loop.py",
        old="        while end < len(self._results) and not self._results[end - 1].is_last:\n"
        "            end += 1\n",
        new="",
        suites=["simulation"],
    ),
    Mutant(
        fault="alerts outside the transaction",
        file="worker/kafka/producer.py",
        old="            on_delivery = partial(self._on_delivery, output) if is_searching else None\n"
        "            try:\n",
        new="            on_delivery = partial(self._on_delivery, output) if is_searching else None\n"
        '            if output.topic.name == "ALERT":\n'
        '                plain = Producer({"bootstrap.servers": self._config["bootstrap.servers"]})\n'
        "                plain.produce(name, output.value, output.key, number, headers=headers)\n"
        "                plain.flush()\n"
        "                attempt.sent += 1\n"
        "                continue\n"
        "            try:\n",
        suites=["transaction time-out"],
    ),
    Mutant(
        fault="outputs and offsets in two transactions",
        file="worker/kafka/producer.py",
        old="            self._producer.send_offsets_to_transaction(attempt.offsets",
        new="            self._producer.commit_transaction()\n"
        "            self._producer.begin_transaction()\n"
        "            self._producer.send_offsets_to_transaction(attempt.offsets",
        suites=["error injection"],
    ),
    Mutant(
        fault="commit without the output that the producer refused",
        file="worker/kafka/producer.py",
        old="            except BufferError:\n",
        new="            except KafkaException:\n                pass\n            except BufferError:\n",
        suites=["log on Kafka"],
    ),
    # ---- another policy
    Mutant(
        fault="policy in force changed by the thread that watches the file",
        file="worker/moderation/policies/watcher.py",
        old="            self._ready.append(ready)\n",
        new="            self._current = ready\n",
        suites=["policy file"],
    ),
    Mutant(
        fault="records in memory not read again after another exemption took effect",
        file="worker/running.py",
        old="                loop.read_again()\n",
        new="                pass\n",
        suites=["policy reload"],
    ),
    # ---- the end
    Mutant(
        fault="work on the device not finished on SIGTERM",
        file="worker/loop.py",
        old="while self._device.pending or self._results:",
        new="while False:",
        suites=["drain"],
    ),
)


def main(words: Sequence[str]) -> int:
    """Run the chosen faults, and print the suite that catches each."""
    chosen = [one for one in MUTANTS if not words or any(word in one.fault for word in words)]
    needed = [suite for suite in SUITES if any(suite in one.suites for one in chosen)]
    caught: Counter[str] = Counter()
    with copied_tree() as tree, running_broker() as broker:
        environ = {
            **os.environ,
            "PYTHONPATH": str(tree),
            "PYTHONDONTWRITEBYTECODE": "1",  # Python notices a changed source only after a second
            "SIMULATION_SEEDS": SEEDS,
            "TEST_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        }
        say("without a fault")
        for suite in needed:
            if fails(suite, tree, environ):
                return 1
        for one in chosen:
            say(one.fault)
            catcher = next((suite for suite in one.suites if notices(suite, one, tree, environ)), None)
            caught[catcher or "NONE"] += 1
    say("caught by " + ", ".join(f"{suite}: {count}" for suite, count in caught.most_common()))
    return 1 if caught["NONE"] else 0


@contextmanager
def copied_tree() -> Iterator[Path]:
    """Copy what the tests need into a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder)
        for name in TREE:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, tree / name)
        yield tree


def notices(suite: str, mutant: Mutant, tree: Path, environ: Mapping[str, str]) -> bool:
    """Tell whether the suite fails with the fault. Afterwards the tree is as before."""
    path = tree / mutant.file
    sound = path.read_text()
    path.write_text(mutant.applied_to(tree))
    failed = fails(suite, tree, environ)
    path.write_text(sound)
    return failed


def fails(suite: str, tree: Path, environ: Mapping[str, str]) -> bool:
    """Tell whether the suite fails, and print the test that fails.

    Raises:
        RuntimeError: The suite can't run, so it proves nothing.
    """
    began_s = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *SUITES[suite]]
    try:
        ended = subprocess.run(
            command, cwd=tree, env=environ, timeout=SUITE_S_MAX, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        say(f"  {suite}, {SUITE_S_MAX} s: hangs")
        return True
    failed = re.findall(r"^FAILED .*?::(.+?)(?: - |$)", ended.stdout, re.MULTILINE)
    if ended.returncode != bool(failed):
        raise RuntimeError(f"the suite {suite} can't run:\n{ended.stdout[-5000:]}{ended.stderr[-5000:]}")
    say(f"  {suite}, {time.monotonic() - began_s:.0f} s: {failed[0] if failed else 'passes'}")
    return bool(failed)


def say(line: str) -> None:
    """Print a line immediately."""
    print(line, flush=True)  # noqa: T201 - a command's output


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
