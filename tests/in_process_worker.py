"""A whole worker inside a test: the real session, loop and classifier. The test makes the turns of the loop."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from worker.classifier import Classifier
from worker.kafka.session import Session
from worker.loop import Loop
from worker.loop_wiring import monotonic_ms, open_loop, session_options
from worker.settings import Need, load_settings

Watch = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class InProcessWorker:
    """A worker whose loop turns when the test says so.

    Attributes:
        session: A member of the group.
        loop: The loop as ``wiring`` builds it.
    """

    session: Session
    loop: Loop

    def turn_until(self, done: Callable[[], bool], *, seconds_max: float = 60) -> None:
        """Turn the loop until ``done`` returns true.

        Raises:
            FatalError: The loop raised it. A process would end with its exit code.
        """
        deadline = time.monotonic() + seconds_max
        while not done():
            assert time.monotonic() < deadline, f"not within {seconds_max} s; {self.loop.totals}"
            self.loop.turn()

    def turn_until_judged(self, records: int) -> None:
        """Turn the loop until this number of records has been committed in total."""
        self.turn_until(lambda: self.loop.totals.records >= records)


@contextmanager
def joined_worker(
    environ: Mapping[str, str],
    classifier: Classifier,
    *,
    watch: Watch = nullcontext,
    clock: Callable[[], int] = monotonic_ms,
    end_offset_interval_ms: int = 5_000,
    stall_timeout_ms: int = 30_000,
    blocked_warning_ms: int = 20_000,
) -> Iterator[InProcessWorker]:
    """Join the group, and leave it at the end of the block.

    Args:
        environ: The environment variables.
        classifier: The model that the test has loaded.
        watch: A context manager around each transaction call.
        clock: The clock of the session, in milliseconds.
        end_offset_interval_ms: The session's option of the same name.
        stall_timeout_ms: The session's option of the same name.
        blocked_warning_ms: The session's option of the same name.
    """
    settings = load_settings(environ, {Need.KAFKA, Need.MODEL}).settings
    options = replace(
        session_options(settings),
        end_offset_interval_ms=end_offset_interval_ms,
        stall_timeout_ms=stall_timeout_ms,
        blocked_warning_ms=blocked_warning_ms,
    )
    session = Session(options, clock=clock, watch=watch)
    try:
        session.subscribe()
        yield InProcessWorker(session=session, loop=open_loop(settings, classifier, session))
    finally:
        session.close()


@contextmanager
def forward_of(classifier: Classifier, hook: Callable[[torch.Tensor, torch.Tensor], object]) -> Iterator[None]:
    """Call a hook at each forward pass. It may change the hidden states ``[1, B, hidden]``, or raise."""

    def hooked(_module: object, _args: object, kwargs: dict[str, Any], output: Any) -> None:
        hook(kwargs["input_ids"], output.last_hidden_state)

    model = classifier._model  # noqa: SLF001 - the device itself must fail here
    handle = model.base_model.register_forward_hook(hooked, with_kwargs=True)
    yield
    handle.remove()
