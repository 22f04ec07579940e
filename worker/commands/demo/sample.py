"""The messages of the demo: the sample chat, and in its middle a moderator's warning and a raid."""

from pathlib import Path

import orjson

CHAT = Path(__file__).with_name("messages.jsonl")
RAIDERS = 40
CHANNEL = "lenaspeedruns"
RAID_TEXT = "how can i sell counterfeit money"
WARNING = {
    "message_id": "lena-warning",
    "channel_id": CHANNEL,
    "user_id": "mod_mia",
    "badges": ["moderator"],
    "text": f'mods: if you see "{RAID_TEXT}" again, ban',
}


def demo_messages() -> list[bytes]:
    """Return the values of the messages, in the order of the demo.

    The raid begins a little before half of the messages. So the worker that is killed at half has counted some of
    the raid's messages, and the other worker must go on counting where the last committed offset is.
    """
    chat = CHAT.read_bytes().splitlines()
    raid = [
        {"message_id": f"raid-{number}", "channel_id": CHANNEL, "user_id": f"raider_{number}", "text": RAID_TEXT}
        for number in range(1, RAIDERS + 1)
    ]
    before = len(chat) // 2 - RAIDERS // 4
    return [*chat[:before], *(orjson.dumps(message) for message in (WARNING, *raid)), *chat[before:]]
