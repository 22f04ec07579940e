"""Whether the group metadata is that of a member."""

from worker.kafka.group_metadata import is_member, parse_group_metadata


def test_the_group_metadata_of_a_member_is_read() -> None:
    metadata = b"CGMDv2:" + (7).to_bytes(4, "little", signed=True) + b"group\0member-1\0"
    assert parse_group_metadata(metadata) == (7, "member-1")
    assert is_member(metadata)


def test_the_metadata_of_a_client_that_has_not_joined_is_not_that_of_a_member() -> None:
    never = b"CGMDv2:\xff\xff\xff\xffgroup\0\0"
    assert parse_group_metadata(never) == (-1, "")
    assert not is_member(never)
    assert not is_member(b"CGMDv2:\xff\xff\xff\xffgroup\0member-1\0")
    assert not is_member(b"CGMDv2:\x01\x00\x00\x00group\0\0")


def test_metadata_in_another_format_is_not_that_of_a_member() -> None:
    assert parse_group_metadata(b"CGMDv3:\x01\x00\x00\x00group\0member\0") is None
    assert parse_group_metadata(b"CGMDv2:\x01\x00\x00\x00group") is None
    assert not is_member(None)
