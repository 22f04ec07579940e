"""When a worker outside its group joins again with a new client."""

from worker.kafka.absence_detection import AbsenceDetector


def new_detector() -> AbsenceDetector:
    return AbsenceDetector.of(max_poll_interval_ms=60_000, session_timeout_ms=15_000)


def test_the_membership_is_checked_once_a_second() -> None:
    detector = new_detector()
    assert [at for at in range(0, 2_500, 100) if detector.is_due(at)] == [0, 1_000, 2_000]


def test_a_worker_joins_again_after_two_joins_and_a_session_timeout_outside_its_group() -> None:
    detector = new_detector()
    seconds = [s for s in range(300) if detector.is_absent_too_long(s * 1000, is_member=False)]
    assert seconds == [135, 270]


def test_a_worker_that_was_a_member_meanwhile_does_not_join_again() -> None:
    detector = new_detector()
    assert not any(detector.is_absent_too_long(s * 1000, is_member=s == 100) for s in range(230))
