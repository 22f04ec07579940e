"""A policy file that changes while the worker runs."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.errors import ConfigurationError
from worker.moderation.policies import PolicyWatcher

GOOD = "schema: policy/1\nversion: {version}\nlevels: [flag]\nthresholds: {{default: {{flag: 0.5}}}}\n"
UNSCORED = "exempt: [{{name: {name}, when: {{role: {role}}}, score: false}}]\n"


def good(version: str) -> str:
    return GOOD.format(version=version)


def unscored(version: str, role: str, name: str = "bots") -> str:
    return good(version) + UNSCORED.format(name=name, role=role)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(good("one"))
    return path


def watcher_of(file: Path, settle: Callable[[], object] = lambda: None) -> PolicyWatcher:
    return PolicyWatcher(str(file), settle)


def test_a_changed_file_takes_effect_when_the_owner_adopts_it(file: Path) -> None:
    watcher = watcher_of(file)
    file.write_text(good("two"))
    watcher.check()
    assert watcher.current.version == "one"
    watcher.adopt()
    assert watcher.current.version == "two"
    assert (watcher.status.version, watcher.status.adopted, watcher.status.refused) == ("two", 1, 0)


def test_another_content_with_the_same_version_takes_effect_and_is_named(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = watcher_of(file)
    before = watcher.status
    file.write_text(good("one").replace("0.5", "0.6"))
    watcher.check()
    watcher.adopt()
    assert watcher.current.values.tolist() == pytest.approx([0.6] * 12)
    assert watcher.status.version == before.version
    assert watcher.status.digest != before.digest
    [warning] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "another content and still the version one" in warning


def test_the_owner_skips_a_version_that_was_replaced_before_it_took_effect(file: Path) -> None:
    watcher = watcher_of(file)
    for version in ("two", "three"):
        file.write_text(good(version))
        watcher.check()
    watcher.adopt()
    assert watcher.current.version == "three"
    watcher.adopt()
    assert watcher.current.version == "three"


def test_a_version_goes_back_only_if_the_file_does(file: Path) -> None:
    watcher = watcher_of(file)
    for version in ("two", "one"):
        file.write_text(good(version))
        watcher.check()
        watcher.adopt()
        assert watcher.current.version == version


def test_a_wrong_file_changes_nothing_and_is_logged_once_with_line_and_column(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = watcher_of(file)
    file.write_text(good("two").replace("0.5", "1.5"))
    for _ in range(3):
        watcher.check()
        watcher.adopt()
    assert watcher.current.version == "one"
    assert (watcher.status.is_refused, watcher.status.refused) == (True, 1)
    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert f"{file}:4:30: thresholds.default.flag: got 1.5; wants a number from 0 to 1, or off" in line
    assert "policy one stays in force" in line


def test_the_file_is_right_again_after_it_goes_back_to_what_is_in_force(file: Path) -> None:
    watcher = watcher_of(file)
    for text in ("wrong", good("one")):
        file.write_text(text)
        watcher.check()
    assert watcher.status.is_refused is False
    before = watcher.current
    watcher.adopt()
    assert watcher.current is before


def test_a_file_that_vanishes_changes_nothing_and_is_logged_once(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = watcher_of(file)
    file.unlink()
    watcher.check()
    watcher.check()
    assert (watcher.current.version, watcher.status.is_refused) == ("one", True)
    [line] = [record.getMessage() for record in caplog.records]
    assert "can't be read (No such file" in line
    file.write_text(good("two"))
    watcher.check()
    watcher.adopt()
    assert (watcher.current.version, watcher.status.is_refused) == ("two", False)


def test_a_swapped_symbolic_link_is_a_new_content(tmp_path: Path) -> None:
    """A ConfigMap that is mounted as a directory changes in this way, and its files may keep their times."""
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "policy.yaml").write_text(good(version))
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    watcher = watcher_of(tmp_path / "policy.yaml")
    (tmp_path / "..new").symlink_to("two")
    (tmp_path / "..new").rename(tmp_path / "..data")
    watcher.check()
    watcher.adopt()
    assert watcher.current.version == "two"


def test_a_file_that_is_being_written_is_read_again_later(file: Path) -> None:
    parts = [good("two") + "rules: []\n"]

    def continue_writing() -> None:
        if parts:
            file.write_text(parts.pop())

    watcher = watcher_of(file, continue_writing)
    file.write_text(good("two"))
    watcher.check()
    watcher.adopt()
    assert watcher.current.version == "one"
    watcher.check()
    watcher.adopt()
    assert watcher.current.version == "two"


@pytest.mark.parametrize(
    ("before", "after", "again"),
    [
        (good("one"), good("two"), False),
        (good("one"), unscored("two", "bot"), True),
        (unscored("one", "bot"), good("two"), True),
        (unscored("one", "bot"), unscored("two", "bot", "robots"), False),
        (unscored("one", "bot"), unscored("two", "mod"), True),
        (
            unscored("one", "bot"),
            unscored("two", "bot").replace("exempt: [", "exempt: [{name: a, when: {role: b}}, "),
            True,
        ),
    ],
)
def test_messages_are_read_again_only_if_others_are_scored_than_before(
    file: Path,
    before: str,
    after: str,
    again: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    file.write_text(before)
    watcher = watcher_of(file)
    file.write_text(after)
    watcher.check()
    assert watcher.adopt() is again


def test_a_worker_does_not_start_with_a_wrong_file(file: Path) -> None:
    file.write_text(good("one").replace("flag:", "flog:"))
    with pytest.raises(ConfigurationError, match="unknown level 'flog'"):
        watcher_of(file)
    file.unlink()
    with pytest.raises(ConfigurationError, match="can't be read"):
        watcher_of(file)
