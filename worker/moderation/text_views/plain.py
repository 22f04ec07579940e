"""``plain``: what a person reads, as a text. Read ``STEPS`` first.

Each step is a list of rules with a name, so that each can be measured alone: docs/text.md has the figures. A later
step reads what an earlier step has laid open: a word is a word only when the invisible characters in it are gone.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from worker.moderation.text_views.accents import accents
from worker.moderation.text_views.capitals import capitals
from worker.moderation.text_views.digits import digits_for_letters, may_have_digits_for_letters
from worker.moderation.text_views.fonts import font_letters
from worker.moderation.text_views.invisible import BIDI_OVERRIDES, INVISIBLE_CHARACTERS, TAG_CHARACTERS
from worker.moderation.text_views.letter_names import LETTER_NAMES
from worker.moderation.text_views.letters import COMPATIBILITY_FORMS, ENCLOSED_LETTERS, STACKED_MARKS
from worker.moderation.text_views.lookalikes import look_alikes
from worker.moderation.text_views.mixed_case import mixed_case
from worker.moderation.text_views.repeated import repeated_letters
from worker.moderation.text_views.rules import Edit, Rule, TracedText, edited, of_head_and_tail, remembered
from worker.moderation.text_views.separated import SIGNS_INSIDE_WORDS, separated_letters
from worker.moderation.text_views.signs import signs_for_letters
from worker.moderation.text_views.triggers import Trigger, Triggers
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
    "accents": accents,
    "letter_names": lambda _: LETTER_NAMES,
    "signs_inside_words": lambda _: SIGNS_INSIDE_WORDS,
    "separated_letters": separated_letters,
    "capitals": capitals,
    "signs_for_letters": signs_for_letters,
    "digits_for_letters": digits_for_letters,
    "mixed_case": mixed_case,
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
    "accents": Trigger.ACCENT | Trigger.MARK,
}
"""The steps for letters, each with the triggers of the texts that it can change."""

_OTHER_THAN_ASCII = _LETTER_STEPS.keys() - {"invisible_characters"}
"""The steps that change nothing in ASCII."""

_WORD_STEPS = {
    "letter_names": Trigger.RARE,
    "signs_inside_words": Trigger.MARKED,
    "separated_letters": Trigger.SEPARATED,
    "capitals": Trigger.CAPITAL | Trigger.RARE,
    "signs_for_letters": Trigger.RARE,
    "digits_for_letters": Trigger.SIGNED,
    "mixed_case": Trigger.RARE,
    "repeated_letters": Trigger.REPEATED,
}
"""The steps for words, each with the triggers of the texts that it can change."""

_LETTERS = Trigger.INVISIBLE | Trigger.FORM | Trigger.ENCLOSED | Trigger.MARK | Trigger.FONT | Trigger.ACCENT
_MIXED = Trigger.ODD | Trigger.LATIN
_WORDS = Trigger.REPEATED | Trigger.SIGNED | Trigger.MARKED | Trigger.SEPARATED | Trigger.CAPITAL | Trigger.RARE
_LOOKED_AT = _LETTERS | Trigger.ODD | _WORDS

WORDS_PART_CHARACTERS = 12_288
"""Characters at the head and at the tail of a text in which words are read: more than the windows of a text hold.
The steps for letters read the whole text, so invisible characters cannot push a sentence out of these parts."""


def _bounded(name: str, rules: Sequence[Rule]) -> Sequence[Rule]:
    """Return the rules of a step; those for words only for the head and the tail of a long text."""
    return [of_head_and_tail(rule, WORDS_PART_CHARACTERS) for rule in rules] if name in _WORD_STEPS else rules


class _Step(NamedTuple):
    """A step of one kind.

    Attributes:
        triggers: The triggers of the texts that it can change.
        rules: Its rules.
        changes_ascii: Whether it can change a text of ASCII.
    """

    triggers: int
    rules: Sequence[Rule]
    changes_ascii: bool


def _chosen(steps: Sequence[tuple[str, Sequence[Rule]]], triggers: Mapping[str, int]) -> list[_Step]:
    """Return the steps that have triggers here: those for letters, or those for words."""
    return [
        _Step(triggers[name], rules, name not in _OTHER_THAN_ASCII) for name, rules in steps if name in triggers
    ]


def _applied(text: str, rules: Sequence[Rule]) -> str:
    for rule in rules:
        text = edited(text, rule(text))
    return text


PIECES_CHARACTERS_MAX = 1000
"""Longest text whose words are read one by one, in characters. The readings are remembered, because chat repeats
words. Such a text cannot use up the budget of letters to read, so each word is read as it is alone."""

_LINKS = ("https://", "http://", "www.")

RulesOf = Callable[[str], Sequence[Rule]]


@dataclass(frozen=True, slots=True)
class PlainText:
    """Makes the plain view of texts.

    Attributes:
        steps: Name and rules of each step, in order.
        markup: Returns the rules that show a text without its platform's markup, before all steps. None: the texts
            have no markup.
        may_have_digits: Returns whether ``digits_for_letters`` could change a text that has this piece.
        shortened: Returns what ``repeated_letters`` makes of a piece of a text.
        letter_steps: The steps for letters, in order.
        word_steps: The steps for words, in order.
    """

    steps: Sequence[tuple[str, Sequence[Rule]]]
    markup: RulesOf | None
    may_have_digits: Callable[[str], bool]
    shortened: Callable[[str], str]
    letter_steps: Sequence[_Step]
    word_steps: Sequence[_Step]

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
        shortened = partial(_applied, rules=dict(steps).get("repeated_letters", ()))
        may_have_digits = remembered(may_have_digits_for_letters(vocabulary))
        of_letters, of_words = _chosen(steps, _LETTER_STEPS), _chosen(steps, _WORD_STEPS)
        return cls(steps, markup, may_have_digits, remembered(shortened), of_letters, of_words)

    def plain(self, text: str) -> str:
        """Return the plain view of a text: the text itself if it is already what a reader sees."""
        return self.changed([text]).get(0, text)

    def plain_many(self, texts: Sequence[str]) -> list[str]:
        """Return the plain view of each text, in order."""
        changed = self.changed(texts)
        return [changed.get(index, text) for index, text in enumerate(texts)]

    def changed(self, texts: Sequence[str]) -> dict[int, str]:
        """Return the plain views that are not the text itself, by the number of the text.

        One pass over all texts finds those that can change.
        """
        if not texts:
            return {}
        views: dict[int, str] = {}
        if self.markup is not None:
            received, texts = texts, self._without_markup(texts, self.markup)
            views = {index: text for index, text in enumerate(texts) if text is not received[index]}
        found = Triggers(texts)
        shown: dict[int, str] = {}
        words: dict[int, int] = {}
        looked_at = (found.flags & _LOOKED_AT != 0).nonzero()[0]
        for index, flags in zip(looked_at.tolist(), found.flags[looked_at].tolist(), strict=True):
            if flags & _LETTERS or flags & _MIXED == _MIXED:
                view = self._apply(texts[index], flags, self.letter_steps)
                if view is not texts[index]:
                    shown[index] = view
                    continue
            if flags & _WORDS:
                words[index] = flags & _WORDS
        if shown:
            again = Triggers([*shown.values()]).flags.tolist()
            for (index, view), flags in zip(shown.items(), again, strict=True):
                views[index] = self._apply(view, flags, self.word_steps) if flags & _WORDS else view
        if words:
            views.update(self._words_read(texts, found, words))
        return views

    def _words_read(
        self, texts: Sequence[str], found: Triggers, words: Mapping[int, int]
    ) -> Iterator[tuple[int, str]]:
        """Yield the number of each text that the steps for words change, and its view.

        Args:
            texts: All texts.
            found: The triggers of these texts.
            words: The flags of the texts to look at, by their number.
        """
        with_digits, edits = self._pieces_read(found, words)
        for index, of_text in words.items():
            text, flags = texts[index], of_text
            if len(text) <= PIECES_CHARACTERS_MAX:
                if index not in with_digits:
                    flags &= ~Trigger.SIGNED
                if flags == Trigger.REPEATED:
                    if index in edits:
                        yield index, edited(text, edits[index])
                    continue
            if flags and (view := self._apply(text, flags, self.word_steps)) is not text:
                yield index, view

    def _pieces_read(
        self, found: Triggers, words: Mapping[int, int]
    ) -> tuple[Collection[int], Mapping[int, Sequence[Edit]]]:
        """Return the texts that ``digits_for_letters`` could change, and the edits of ``repeated_letters``."""
        with_digits: set[int] = set()
        edits: dict[int, list[Edit]] = defaultdict(list)
        for index, start, piece in found.pieces(characters_max=PIECES_CHARACTERS_MAX):
            flags = words.get(index, 0)
            if piece.startswith(_LINKS) and len(piece.split()) == 1:
                continue  # a link stays as it is, and rarely comes back
            if flags & Trigger.SIGNED and self.may_have_digits(piece):
                with_digits.add(index)
            if flags & Trigger.REPEATED and (new := self.shortened(piece)) != piece:
                edits[index].append((start, start + len(piece), new))
        return with_digits, edits

    def traced(self, text: str) -> TracedText:
        """Return the plain view of a text, with the place in the text that each of its characters came from."""
        traced = TracedText.of(text)
        for rule in self.markup(text) if self.markup else ():
            traced = traced.edited(rule(traced.text))
        [flags] = Triggers([traced.text]).flags.tolist()
        if flags & _LETTERS or flags & _MIXED == _MIXED:
            traced = self._apply_traced(traced, flags, self.letter_steps)
            [flags] = Triggers([traced.text]).flags.tolist()
        return self._apply_traced(traced, flags, self.word_steps) if flags & _WORDS else traced

    @staticmethod
    def _without_markup(texts: Sequence[str], markup: RulesOf) -> list[str]:
        # Most texts have no markup, and then no rule.
        return [_applied(text, rules) if (rules := markup(text)) else text for text in texts]

    @staticmethod
    def _apply(text: str, flags: int, steps: Sequence[_Step]) -> str:
        """Apply the steps that the flags call for, and every step after one that changed the text."""
        before = text
        for triggers, rules, changes_ascii in steps:
            if (flags & triggers or text is not before) and (changes_ascii or not text.isascii()):
                text = _applied(text, rules)
        return text

    @staticmethod
    def _apply_traced(traced: TracedText, flags: int, steps: Sequence[_Step]) -> TracedText:
        """Do what ``_apply`` does, with places."""
        before = traced
        for triggers, rules, _ in steps:
            if flags & triggers or traced is not before:
                for rule in rules:
                    traced = traced.edited(rule(traced.text))
        return traced
