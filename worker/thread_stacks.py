"""Show where every thread is, before a process ends because a thread hangs."""

import sys
import threading
from types import FrameType

FRAMES_MAX = 60
"""Frames of a thread, the innermost first: a deep recursion must not fill the log."""


def thread_stacks() -> str:
    """Return the stack of every thread: file, line and function, and no value of a variable."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()  # noqa: SLF001 - documented, and the only way to see another thread
    return "\n".join(f"thread {names.get(ident, ident)}:\n{_stack(frame)}" for ident, frame in frames.items())


def _stack(frame: FrameType | None) -> str:
    lines: list[str] = []
    while frame is not None and len(lines) < FRAMES_MAX:
        lines.append(f"  {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return "\n".join(lines)
