"""The views of a text: the text as received, and what a person reads. Pure; knows no model.

Read ``plain.py`` first. A view is judged like a text of its own.
"""

from worker.moderation.text_views.plain import STEPS, PlainText
from worker.moderation.text_views.rules import TracedText
from worker.moderation.text_views.vocabulary import Vocabulary

__all__ = ["STEPS", "PlainText", "TracedText", "Vocabulary"]
