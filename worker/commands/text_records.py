"""Texts as consumed records, for commands that judge texts without Kafka."""

from collections.abc import Sequence

import orjson

from worker.records import ConsumedRecord, Partition
from worker.settings import Settings
from worker.settings.groups import INT32_MAX


def settings_for_texts(settings: Settings) -> Settings:
    """Return the settings for ``records_of``: the contract's own format, no size limit, no score cache.

    The texts may still have the markup of the given settings' shape: pass that to ``make_prepare``.
    """
    bounds = {"bytes_max": INT32_MAX, "characters_max": settings.input.characters_max}
    samples = Settings().input.model_copy(update=bounds)
    cache = settings.cache.model_copy(update={"bytes_max": 0})
    return settings.model_copy(update={"input": samples, "cache": cache})


def records_of(texts: Sequence[str]) -> list[ConsumedRecord]:
    """Return the texts as records of one partition, in order. Each is a message in the contract's own format."""
    return [
        ConsumedRecord(
            partition=Partition("texts", 0),
            assignment_epoch=0,
            previous_next_offset=offset,
            offset=offset,
            timestamp_ms=0,
            key=b"channel",
            value=orjson.dumps(
                {"message_id": f"m-{offset}", "channel_id": "channel", "user_id": "user", "text": text}
            ),
            headers=(),
        )
        for offset, text in enumerate(texts)
    ]
