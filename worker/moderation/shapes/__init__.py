"""How to read the events that teams already have: shapes and envelopes, as data files, compiled into a function.

A shape says where the text and the ids of a message are, and which records are messages. ``NAME.yaml`` in this
folder is a built-in shape; ``worker/moderation/envelopes`` has the envelopes. This folder knows no broker and no
policy. Read first: ``shape_file.py`` for what a file may say, then ``record_reader.py`` for what the worker does
with it. ``usual_event.py`` reads most events in a faster way.
"""

from worker.moderation.shapes.files import (
    builtin_envelopes,
    builtin_shapes,
    load_envelope,
    load_shape,
    shape_source,
)
from worker.moderation.shapes.record_reader import (
    TEXT_SHAPE,
    ItemReading,
    Reading,
    ReadRecord,
    compile_shape,
    is_readable,
)
from worker.moderation.shapes.shape_file import Envelope, Shape
from worker.records import Skipped

__all__ = [
    "TEXT_SHAPE",
    "Envelope",
    "ItemReading",
    "ReadRecord",
    "Reading",
    "Shape",
    "Skipped",
    "builtin_envelopes",
    "builtin_shapes",
    "compile_shape",
    "is_readable",
    "load_envelope",
    "load_shape",
    "shape_source",
]
