"""Reads a consumer's group metadata: can a broker fence a commit with this metadata? Pure."""


def parse_group_metadata(metadata: bytes) -> tuple[int, str] | None:
    """Return generation and member id from librdkafka's serialised group metadata.

    A broker fences neither an empty member id nor generation -1 (KAFKA-9365). A commit with one of these would be
    unfenced, so the session refuses both.

    Returns:
        None if the bytes have another format.

    Source: ``rd_kafka_consumer_group_metadata_write`` in librdkafka 2.x: ``CGMDv2:``, the generation as int32
    little-endian, then group id, member id and optionally group instance id. A NUL ends each of them.
    """
    magic = b"CGMDv2:"
    if not metadata.startswith(magic):
        return None
    generation = int.from_bytes(metadata[len(magic) : len(magic) + 4], "little", signed=True)
    names = metadata[len(magic) + 4 :].split(b"\0")
    if len(names) < 3:  # noqa: PLR2004 - group, member, and what follows the NUL of the member
        return None
    return generation, names[1].decode()


def is_member(metadata: bytes | None) -> bool:
    """Return whether a broker fences a commit with this metadata after the group has removed the member."""
    member = None if metadata is None else parse_group_metadata(metadata)
    return member is not None and member[0] >= 0 and member[1] != ""
