"""Shorten a long text before it is tokenised, so that its first tokens stay the same.

Invariant: the tokens of ``head(text)``, without special tokens, are the first tokens of the text. So a head that
fills the token bound gives exactly the tokens of the whole text, truncated on the right. A head that does not fill
the bound says nothing about the rest: the caller then tokenises the whole text.

Why it holds: a head ends where a pre-token ends, whatever follows.

1. The patterns in ``split_pattern`` are alternatives of runs of one class: letters, digits, white space, others.
2. Each pattern splits before a space that has no white space on either side: only the alternatives for white space
   continue over a space, and none of these begins at another character.
3. Each pattern splits between a CJK letter and a punctuation mark: a run of letters ends there.
4. The alternative that ends there looks at one character more. In the whole text that is a space or a mark, in the
   head it is the end of the text, and both end the run. So the pre-tokens before the place are the same.
5. A space and these marks compose with no character before them, so NFC changes nothing across the place.
6. BPE works within one pre-token, and truncation on the right keeps the first tokens.

Any other tokenizer gets no first cut. Rejected: a cut anywhere, with a margin of tokens that are not used. A run of
letters is one pre-token, and how BPE merges its beginning can depend on its end.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.classifier.split_pattern import split_pattern

CHARACTERS_PER_TOKEN = 8
"""A bound of ``N`` tokens is first tried on ``8 * N`` characters. Twitch chat has 2.2 characters a token (Qwen2).
"""

_CJK_LETTER = "[\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3]"
_MARK = "[,.!?\u3001\u3002\uff01\uff0c\uff1f]"
_PLACE = re.compile(rf"(?<=\S) (?=\S)|(?<={_CJK_LETTER})(?={_MARK})")


@dataclass(frozen=True, slots=True)
class FirstCut:
    """Finds the head of a text.

    Attributes:
        characters_max: Characters of the longest head.
    """

    characters_max: int

    @classmethod
    def of(cls, tokenizer: Mapping[str, Any], *, tokens_max: int) -> "FirstCut | None":
        """Return the cut for a tokenizer.json; None when the argument above does not hold for this tokenizer."""
        return None if split_pattern(tokenizer) is None else cls(CHARACTERS_PER_TOKEN * tokens_max)

    def head(self, text: str) -> str:
        """Return the part of a text up to the last place in the second half of the bound where it may be cut."""
        end = self.characters_max
        if len(text) <= end:
            return text
        place = None
        for found in _PLACE.finditer(text, end // 2, end):
            place = found.start()
        return text if place is None else text[:place]
