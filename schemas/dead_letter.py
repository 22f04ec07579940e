"""The dead letter's wire: why a record could not be judged, in headers beside the original bytes."""

PREFIX = "moderation."
"""Headers with this prefix are ours: the input's own are not passed on."""

INPUT_REASONS: dict[str, str] = {
    "too_large": "The value is larger than WORKER_INPUT__BYTES_MAX.",
    "not_utf8": "The value is not UTF-8.",
    "not_json": "The value is not JSON.",
    "not_an_object": "The value is JSON, but not an object.",
    "no_text": "There is nothing, or null, where the text should be.",
    "wrong_type": "The text, an id or the time of sending has a type that the input schema does not allow.",
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
