"""The patterns by which the tokenizers of Qwen2 and Llama 3 split a text into pieces before they merge bytes.

Two modules build on these patterns: ``first_cut`` shortens a text, ``tiktoken_encoder`` uses another library. Both
state why they may. Another pattern needs the same arguments again.
"""

from collections.abc import Mapping
from typing import Any

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPLIT_PATTERNS = frozenset(
    f"{_CONTRACTIONS}|[^\\r\\n\\p{{L}}\\p{{N}}]?\\p{{L}}+|{numbers}| ?[^\\s\\p{{L}}\\p{{N}}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
    for numbers in ("\\p{N}", "\\p{N}{1,3}")
)
"""How Qwen2 and Llama 3 split. Source: tokenizer.json of Qwen/Qwen2.5-0.5B and of meta-llama/Llama-3.2-1B."""


def split_pattern(tokenizer: Mapping[str, Any]) -> str | None:
    """Return the pattern of a tokenizer.json; None unless it is a byte-level BPE with one of ``SPLIT_PATTERNS``."""
    match tokenizer:
        case {
            "normalizer": None | {"type": "NFC"},
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False},
                    {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
                ],
            },
            "model": {"type": "BPE", "dropout": None},
        } if pattern in SPLIT_PATTERNS:
            return pattern
    return None
