"""Which log a topic's name stands for. Pure, but for one listener to librdkafka's log.

A topic that was deleted and created again has the same name and another id (KIP-516). Offsets of the old log mean
nothing in the new one: a group that went on from them would skip the new log's first records. So each committed
offset carries the id of its topic in its commit metadata, and each worker remembers the ids that it reads under.

librdkafka 2.16 fetches by topic id, and goes on at the old position once it has learned the new id (its issue 3255;
its source: "FIXME: an offset reset must be triggered"). It says so nowhere but in its log. That line is queued for
the application before the first record of the new log can be fetched, so it is an exact barrier:

1. every fetch names the old id, and no broker answers it with records of the new log;
2. librdkafka learns the new id, and queues the line;
3. it fetches by the new id, and queues the new log's records: they are behind the line.
"""

import logging
import re
from collections.abc import Callable, Mapping
from enum import Enum

from worker.records import Partition

log = logging.getLogger(__name__)

ID_CHARACTERS = 22  # 16 bytes in base64 without padding
NO_ID = "A" * ID_CHARACTERS  # of brokers before 2.8
_STAMP = "topic-id="
_CHANGED = re.compile(r"Topic (\S+) changed id from (\S+) to (\S+)")


def readable(topic_id: str) -> str:
    """Returns the id as Kafka's own tools print it; empty where the brokers give topics no ids."""
    return "" if topic_id == NO_ID else topic_id.replace("+", "-").replace("/", "_")


def stamp(topic_id: str) -> str:
    """Returns the commit metadata of an offset in the log of this id."""
    return f"{_STAMP}{topic_id}" if topic_id else ""


def stamped(metadata: str | None) -> str:
    """Returns the topic id that a committed offset carries; empty if none: another tool or version committed it."""
    return metadata.removeprefix(_STAMP) if metadata and metadata.startswith(_STAMP) else ""


class Seen(Enum):
    """What an id that a broker gave for a topic says."""

    SAME = "the topic is the one that is read"
    CHANGED = "the topic was deleted and created again"
    STALE = "the broker does not know yet that the topic was deleted and created again"


class TopicIds:
    """The ids of the topics as this process has seen them."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._gone: dict[str, set[str]] = {}
        self._reported: set[str] = set()  # by librdkafka, before it could fetch a record of the new log

    def current(self, topic: str) -> str:
        """Returns the id of the log that is read; empty if unknown."""
        return self._known.get(topic, "")

    def replaced(self, topic: str) -> set[str]:
        """Returns the ids of the logs that had this name before; empty if this process has seen no other."""
        return self._gone.get(topic, set())

    def recreation_message(self, topic: str, unjudged: int | None, judged_since: int) -> str:
        """Returns what has happened to a topic, for the log.

        Args:
            topic: Its name.
            unjudged: Messages without a verdict when the brokers were last asked; None: nobody knows.
            judged_since: Messages that were judged since the ids were last compared.
        """
        before = ", ".join(sorted(self.replaced(topic)))
        lost = "" if unjudged is None else f" ({unjudged} when the brokers were last asked)"
        twice = (
            ""
            if topic in self._reported
            else f"librdkafka has not reported it: of the {judged_since} messages that this worker judged since "
            "the ids were last compared, those of the new log get a second verdict. "
        )
        return (
            f"topic {topic} was deleted and created again: its id was {before} and is {self.current(topic)}. "
            f"Messages of the old log that have no verdict yet get none{lost}. {twice}"
            "Joining the group again to read the new log"
        )

    def record_change(self, topic: str, old: str, new: str) -> bool:
        """Notes that librdkafka has learned a new id.

        Returns:
            Whether this process did not know it yet.
        """
        if not old or self._known.get(topic) == new:
            return False
        self._gone.setdefault(topic, set()).update({old, self._known.get(topic, old)})
        self._known[topic] = new
        self._reported.add(topic)
        return True

    def see(self, topic: str, topic_id: str) -> Seen:
        """Compares an id that a broker gave, and remembers a new one.

        An id never comes back, so a broker that gives one of a log that is gone has old metadata.
        """
        if not topic_id or topic_id in self._gone.get(topic, ()):
            return Seen.STALE if topic_id else Seen.SAME
        known = self._known.setdefault(topic, topic_id)
        if known == topic_id:
            return Seen.SAME
        self._gone.setdefault(topic, set()).add(known)
        self._known[topic] = topic_id
        self._reported.discard(topic)
        return Seen.CHANGED

    def is_of_this_log(self, topic: str, metadata: str | None) -> bool:
        """Whether a committed offset belongs to the log that has the name now, as far as anybody can tell."""
        known, of = self._known.get(topic, ""), stamped(metadata)
        if not known:
            return True
        return of == known if of else not self._gone.get(topic)


class JudgedSince:
    """How many messages of a topic were judged since its id was last known to be the same."""

    def __init__(self) -> None:
        self._asked: Mapping[Partition, int] = {}
        self._same: dict[Partition, int] = {}

    def ask(self, committed: Mapping[Partition, int]) -> None:
        """The ids are asked for, while these offsets are committed."""
        self._asked = committed

    def same(self, topic: str) -> None:
        """The id was the same when it was asked for."""
        self._same |= {one: offset for one, offset in self._asked.items() if one.topic == topic}

    def count(self, topic: str, committed: Mapping[Partition, int]) -> int:
        """Counts the messages, by the offsets that are committed now."""
        ours = {one: offset for one, offset in committed.items() if one.topic == topic}
        return sum(max(0, offset - self._same.get(one, offset)) for one, offset in ours.items())


class TopicIdLogger:
    """librdkafka's log of a consumer: hears that a topic has a new id, and passes on what is for people.

    Args:
        config: The consumer's properties.
        changed: Called with the topic, the old id and the new one.
    """

    def __init__(self, config: Mapping[str, object], changed: Callable[[str, str, str], None]) -> None:
        asked = str(config.get("debug") or "")
        # Not "topic", which holds that line as well: librdkafka 2.16 would write a line of it while it holds the
        # lock of the queue into which its log goes, and hang, when a poll or a close drops the last record of a
        # topic that was deleted.
        self.debug = f"{asked},metadata" if asked else "metadata"
        self._level = (
            logging.DEBUG if asked else logging.INFO
        )  # without being asked nobody wants librdkafka's debug
        self._changed = changed
        self._log = logging.getLogger("librdkafka")

    def log(self, level: int, form: str, facility: str, *rest: str) -> None:
        """Takes a line, as a logger does; called from a poll."""
        if facility == "METADATA" and (found := _CHANGED.search(rest[-1])):
            topic, old, new = found.groups()
            self._changed(topic, readable(old), readable(new))
        if level >= self._level:
            self._log.log(level, form, facility, *rest)
