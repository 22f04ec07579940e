"""The twelve categories, in the model card's order: the order of logits, scores and flags everywhere.

Source: the model cards of the DuoGuard family, "How to Use", step 6.
"""

CATEGORY_NAMES: tuple[str, ...] = (
    "Violent crimes",
    "Non-violent crimes",
    "Sex-related crimes",
    "Child sexual exploitation",
    "Specialized advice",
    "Privacy",
    "Intellectual property",
    "Indiscriminate weapons",
    "Hate",
    "Suicide and self-harm",
    "Sexual content",
    "Jailbreak prompts",
)
"""The names for people."""

CATEGORY_SLUGS: tuple[str, ...] = tuple(name.lower().replace(" ", "_").replace("-", "_") for name in CATEGORY_NAMES)
"""The names for programs."""
