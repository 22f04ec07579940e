"""``plain``: what a person reads, as a text. Read ``STEPS`` first.

Each step is a list of rules with a name, so that each can be measured alone: docs/text.md has the figures. A later
step reads what an earlier step has laid open: a word is a word only when the invisible characters in it are gone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from worker.moderation.text_views.digits import digits_for_letters
from worker.moderation.text_views.fonts import font_letters
from worker.moderation.text_views.invisible import BIDI_OVERRIDES, INVISIBLE_CHARACTERS, TAG_CHARACTERS
from worker.moderation.text_views.letters import COMPATIBILITY_FORMS, ENCLOSED_LETTERS, STACKED_MARKS
from worker.moderation.text_views.lookalikes import look_alikes
from worker.moderation.text_views.repeated import repeated_letters
from worker.moderation.text_views.rules import Rule, TracedText, edited, of_head_and_tail
from worker.moderation.text_views.separated import SIGNS_INSIDE_WORDS, separated_letters
from worker.moderation.text_views.triggers import Trigger, triggers
from worker.moderation.text_views.vocabulary import Vocabulary

MakeRules = Callable[[Vocabulary], Sequence[Rule]]

STEPS: Mapping[str, MakeRules] = {
    "bidi_overrides": lambda _: BIDI_OVERRIDES,
    "tag_characters": lambda _: TAG_CHARACTERS,
    "invisible_characters": lambda _: INVISIBLE_CHARACTERS,
    "compatibility_forms": lambda _: COMPATIBILITY_FORMS,
    "enclosed_letters": lambda _: ENCLOSED_LETTERS,
    "stacked_marks": lambda _: STACKED_MARKS,
    "font_letters": font_letters,
    "look_alikes": look_alikes,
    "signs_inside_words": lambda _: SIGNS_INSIDE_WORDS,
    "separated_letters": separated_letters,
    "digits_for_letters": digits_for_letters,
    "repeated_letters": repeated_letters,
}
"""Every step, in order: its name, and its rules for a vocabulary."""

_LETTER_STEPS = {
    "bidi_overrides": Trigger.INVISIBLE,
    "tag_characters": Trigger.INVISIBLE,
    "invisible_characters": Trigger.INVISIBLE,
    "compatibility_forms": Trigger.FORM,
    "enclosed_letters": Trigger.ENCLOSED,
    "stacked_marks": Trigger.MARK,
    "font_letters": Trigger.FONT,
    "look_alikes": Trigger.ODD,
}
"""The steps for letters, and what a text has that they can change."""

_WORD_STEPS = {
    "signs_inside_words": Trigger.MARKED,
    "separated_letters": Trigger.SEPARATED,
    "digits_for_letters": Trigger.SIGNED,
    "repeated_letters": Trigger.REPEATED,
}
"""The steps for words, and what a text has that they can change."""

_LETTERS = Trigger.INVISIBLE | Trigger.FORM | Trigger.ENCLOSED | Trigger.MARK | Trigger.FONT
_MIXED = Trigger.ODD | Trigger.LATIN
_WORDS = Trigger.REPEATED | Trigger.SIGNED | Trigger.MARKED | Trigger.SEPARATED


WORDS_PART_CHARACTERS = 12_288
"""Characters at the head and at the tail of a text in which words are read: more than the windows of a text hold.
The steps for letters read the whole text, so invisible characters cannot push a sentence out of these parts."""


def _bounded(name: str, rules: Sequence[Rule]) -> Sequence[Rule]:
    """Return the rules of a step; those for words only for the head and the tail of a long text."""
    return [of_head_and_tail(rule, WORDS_PART_CHARACTERS) for rule in rules] if name in _WORD_STEPS else rules


def _applied(text: str, rules: Sequence[Rule]) -> str:
    for rule in rules:
        text = edited(text, rule(text))
    return text


RulesOf = Callable[[str], Sequence[Rule]]


@dataclass(frozen=True, slots=True)
class PlainText:
    """Makes the plain view of texts.

    Attributes:
        steps: Name and rules of each step, in order.
        markup: Returns the rules that show a text without its platform's markup, before all steps. None: the texts
            have no markup.
    """

    steps: Sequence[tuple[str, Sequence[Rule]]]
    markup: RulesOf | None = None

    @classmethod
    def of(
        cls, vocabulary: Vocabulary, names: Sequence[str] = tuple(STEPS), *, markup: RulesOf | None = None
    ) -> "PlainText":
        """Return what applies these steps, by default all.

        Args:
            vocabulary: The words that the model's tokenizer knows.
            names: Names of ``STEPS``.
            markup: Returns the rules for the markup of a text, such as ``markup.RULES["discord"]``.
        """
        steps = [(name, _bounded(name, make(vocabulary))) for name, make in STEPS.items() if name in names]
        return cls(steps, markup)

    def plain(self, text: str) -> str:
        """Return the plain view of a text: the text itself if it is already what a reader sees."""
        return self.plain_many([text])[0]

    def plain_many(self, texts: Sequence[str]) -> list[str]:
        """Return the plain view of each text, in order. One pass over all texts finds those that can change."""
        views = list(texts) if self.markup is None else self._without_markup(texts, self.markup)
        found = triggers(views)
        changed = []
        for index, flags in enumerate(found):
            if flags & _LETTERS or flags & _MIXED == _MIXED:
                before = views[index]
                views[index] = shown = self._apply(before, flags, _LETTER_STEPS)
                if shown is not before:
                    changed.append(index)
        for index, flags in zip(changed, triggers([views[index] for index in changed]), strict=True):
            found[index] = flags
        for index, flags in enumerate(found):
            if flags & _WORDS:
                views[index] = self._apply(views[index], flags, _WORD_STEPS)
        return views

    def traced(self, text: str) -> TracedText:
        """Return the plain view of a text, with the place in the text that each of its characters came from."""
        traced = TracedText.of(text)
        for rule in self.markup(text) if self.markup else ():
            traced = traced.edited(rule(traced.text))
        [flags] = triggers([traced.text])
        if flags & _LETTERS or flags & _MIXED == _MIXED:
            traced = self._apply_traced(traced, flags, _LETTER_STEPS)
            [flags] = triggers([traced.text])
        return self._apply_traced(traced, flags, _WORD_STEPS) if flags & _WORDS else traced

    @staticmethod
    def _without_markup(texts: Sequence[str], markup: RulesOf) -> list[str]:
        # Most texts have no markup, and then no rule.
        return [_applied(text, rules) if (rules := markup(text)) else text for text in texts]

    def _apply(self, text: str, flags: int, steps: Mapping[str, int]) -> str:
        """Apply the steps that the flags call for, and every step after one that changed the text."""
        before = text
        for name, rules in self.steps:
            if name in steps and (flags & steps[name] or text is not before):
                text = _applied(text, rules)
        return text

    def _apply_traced(self, traced: TracedText, flags: int, steps: Mapping[str, int]) -> TracedText:
        """Do what ``_apply`` does, with places."""
        before = traced
        for name, rules in self.steps:
            if name in steps and (flags & steps[name] or traced is not before):
                for rule in rules:
                    traced = traced.edited(rule(traced.text))
        return traced
