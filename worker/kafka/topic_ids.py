"""Tell the log of a recreated topic from the deleted log of the same name. Pure, except for one logger.

A topic that was deleted and created again has the same name and another id (KIP-516). Offsets of the old log mean
nothing in the new one: a group that used them would skip the new log's first records. So each committed offset
carries the id of its topic in its commit metadata, and each worker remembers the ids of the logs that it reads.

librdkafka 2.16 fetches by topic id. When it learns the new id, it goes on at the old position (its issue 3255; its
source says: "FIXME: an offset reset must be triggered"). Only a line in its own log reports the new id. librdkafka
queues that line for the application before the first record of the new log, so the line is an exact barrier:

1. Every fetch names the old id. No broker answers such a fetch with records of the new log.
2. librdkafka learns the new id, and queues the line.
3. It fetches by the new id, and queues the new log's records behind the line.
"""

import logging
import re
from collections.abc import Callable, Mapping
from enum import Enum

from worker.records import Partition

log = logging.getLogger(__name__)

ID_CHARACTERS = 22  # 16 bytes in base64 without padding
NO_ID = "A" * ID_CHARACTERS  # from brokers before 2.8
_CHANGED = re.compile(r"Topic (\S+) changed id from (\S+) to (\S+)")


def readable(topic_id: str) -> str:
    """Return the id as Kafka's own tools print it, or an empty string if the brokers give topics no ids."""
    return "" if topic_id == NO_ID else topic_id.replace("+", "-").replace("/", "_")


class IdCheck(Enum):
    """What the id that a broker gave for a topic shows."""

    SAME = "the topic is the one that this worker reads"
    CHANGED = "the topic was deleted and created again"
    STALE = "the broker does not know yet that the topic was deleted and created again"


class TopicIds:
    """The ids of the topics that this process has seen."""

    def __init__(self) -> None:
        self._current: dict[str, str] = {}
        self._replaced: dict[str, set[str]] = {}
        self._reported: set[str] = set()  # by librdkafka, before it could fetch a record of the new log

    def current(self, topic: str) -> str:
        """Return the id of the log that is read, or an empty string if it is unknown."""
        return self._current.get(topic, "")

    def replaced(self, topic: str) -> set[str]:
        """Return the ids of the earlier logs with this name that this process has seen."""
        return self._replaced.get(topic, set())

    def check(self, topic: str, topic_id: str) -> IdCheck:
        """Compare the id that a broker gave with the known ids, and remember a new id.

        An id never returns. So a broker that gives the id of a deleted log has old metadata.
        """
        if not topic_id:
            return IdCheck.SAME
        if topic_id in self.replaced(topic):
            return IdCheck.STALE
        current = self._current.setdefault(topic, topic_id)
        if current == topic_id:
            return IdCheck.SAME
        self._replaced.setdefault(topic, set()).add(current)
        self._current[topic] = topic_id
        self._reported.discard(topic)
        return IdCheck.CHANGED

    def record_change(self, topic: str, old: str, new: str) -> bool:
        """Record a new id that librdkafka has learned. Return whether this process did not know it yet.

        An id never returns. If librdkafka goes back to the id of a deleted log, a broker gave it old metadata. Its
        fetches by that id find nothing, and the records in memory are of the current log.
        """
        if not old or self._current.get(topic) == new or new in self.replaced(topic):
            return False
        self._replaced.setdefault(topic, set()).update({old, self._current.get(topic, old)})
        self._current[topic] = new
        self._reported.add(topic)
        return True

    def is_of_this_log(self, topic: str, committed_under: str) -> bool:
        """Return whether an offset that was committed under a topic id belongs to the topic's current log.

        Without known ids, return True. The id is empty if another tool or version committed the offset.
        """
        current = self._current.get(topic, "")
        if not current:
            return True
        return committed_under == current if committed_under else not self._replaced.get(topic)

    def recreation_message(self, topic: str, unjudged: int | None, judged_since_check: int) -> str:
        """Return the log line about a topic that was deleted and created again.

        Args:
            topic: The topic's name.
            unjudged: Number of messages without a verdict at the brokers' last answer; None if it is unknown.
            judged_since_check: Number of messages judged since the ids were last compared.
        """
        old_ids = ", ".join(sorted(self.replaced(topic)))
        lost = "" if unjudged is None else f" ({unjudged} at the brokers' last answer)"
        doubled = (
            ""
            if topic in self._reported
            else f"librdkafka has not reported the new id. This worker has judged {judged_since_check} messages "
            "since the ids were last compared: those of the new log get a second verdict. "
        )
        return (
            f"topic {topic} was deleted and created again: its id was {old_ids} and is {self.current(topic)}. "
            f"Messages of the old log without a verdict get none{lost}. {doubled}"
            "Joining the group again to read the new log"
        )


class JudgedSinceCheck:
    """Counts the messages of a topic that were judged since its id was last found unchanged."""

    def __init__(self) -> None:
        self._at_check: Mapping[Partition, int] = {}
        self._at_same_id: dict[Partition, int] = {}

    def begin_check(self, committed: Mapping[Partition, int]) -> None:
        """Note the committed offsets at the moment when the ids are asked for."""
        self._at_check = committed

    def same_id(self, topic: str) -> None:
        """Note that the topic's id was unchanged when it was asked for."""
        self._at_same_id |= {one: offset for one, offset in self._at_check.items() if one.topic == topic}

    def count(self, topic: str, committed: Mapping[Partition, int]) -> int:
        """Return the number of messages, given the offsets that are committed now."""
        of_topic = {one: offset for one, offset in committed.items() if one.topic == topic}
        return sum(max(0, offset - self._at_same_id.get(one, offset)) for one, offset in of_topic.items())


class TopicIdLogger:
    """A logger for a consumer of librdkafka: it finds the line about a new topic id, and passes on the other lines.

    Args:
        config: The consumer's properties.
        on_change: Called with the topic, the old id and the new id.
    """

    def __init__(self, config: Mapping[str, object], on_change: Callable[[str, str, str], None]) -> None:
        requested = str(config.get("debug") or "")
        # Do not use the debug context "topic", which contains the same line. librdkafka 2.16 hangs with it: a poll
        # or a close that drops the last record of a deleted topic writes a line while it holds the lock of the
        # log's queue.
        self.debug = f"{requested},metadata" if requested else "metadata"
        self._level = logging.DEBUG if requested else logging.INFO  # debug lines only where the settings want them
        self._on_change = on_change
        self._log = logging.getLogger("librdkafka")

    def log(self, level: int, form: str, facility: str, *rest: str) -> None:
        """Take a line, as a ``logging.Logger`` does. librdkafka calls this from a poll."""
        if facility == "METADATA" and (found := _CHANGED.search(rest[-1])):
            topic, old, new = found.groups()
            self._on_change(topic, readable(old), readable(new))
        if level >= self._level:
            self._log.log(level, form, facility, *rest)
