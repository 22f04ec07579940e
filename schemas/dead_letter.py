"""The dead letter's wire: why a record could not be judged, in headers beside the original bytes."""

PREFIX = "moderation."
"""Headers with this prefix, in any letter case, are ours: the input's own are not passed on."""

INPUT_REASONS: dict[str, str] = {
    "too_large": "The value is larger than WORKER_INPUT__BYTES_MAX.",
    "not_text": "With WORKER_INPUT__FORMAT=text: the value starts as a schema registry's serializers start theirs, "
    "or holds control characters other than tab and line ends.",
    "not_json": "The value is not JSON.",
    "not_an_object": "The value is JSON, but not an object.",
    "no_text": "There is nothing, or null, where the text should be.",
    "wrong_type": "What stands where the text should be is not a string.",
    "output_too_large": "A verdict or an alert, with the key and the headers, would be larger than "
    "WORKER_KAFKA__RECORD_BYTES_MAX, or the broker refused it for its size.",
    "output_refused": "The broker refused an output of this message with INVALID_RECORD, and accepted others like "
    "it.",
}
"""What a producer did wrong: slug to meaning."""

MODEL_REASONS: dict[str, str] = {
    "model_failed": "The model raises or returns no number for this text, though it answers for others.",
    "tokenizer_failed": "The tokenizer raises or makes no token of this text, though it is not blank.",
}
"""What the model can't do: slug to meaning."""

REASONS: dict[str, str] = INPUT_REASONS | MODEL_REASONS
"""All there are."""

MESSAGE_CHARACTERS_MAX = 500
"""A longer error message is cut."""
