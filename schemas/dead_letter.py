"""The headers of dead letters and the reasons in them. Key and value of a dead letter are those of the original."""

PREFIX = "moderation."
"""Prefix of the headers that this worker writes. The input's headers with this prefix, in any case, are not copied.
"""

INPUT_REASONS: dict[str, str] = {
    "too_large": "The value is larger than WORKER_INPUT__BYTES_MAX.",
    "not_text": "With WORKER_INPUT__FORMAT=text: the value starts like one from a schema registry's serializer, or "
    "holds control characters other than tab and line ends.",
    "unwrap_failed": "A step of the shape's unwrap does not fit the value: it is not gzip, zstd or base64, or "
    "lacks the header of a schema registry.",
    "not_json": "The value, or a string in it that must hold JSON, is not JSON.",
    "not_an_object": "The value, or an element of its array, is JSON, but not an object.",
    "no_text": "The text, or the event in its envelope, is absent or null.",
    "wrong_type": "The text is not a string.",
    "output_too_large": "A verdict or an alert, with the key and the headers, would be larger than "
    "WORKER_KAFKA__RECORD_BYTES_MAX, or the broker rejected it for its size.",
    "output_refused": "The broker rejected an output of this message with INVALID_RECORD, but accepted similar "
    "outputs.",
}
"""What is wrong with an input record: slug to meaning."""

MODEL_REASONS: dict[str, str] = {
    "model_failed": "The model raises an error or returns a score that is not a number for this text, but not for "
    "a probe text.",
    "tokenizer_failed": "The tokenizer raises an error for this text, or makes no token although the text is not "
    "blank.",
}
"""What the model cannot do with a text: slug to meaning."""

REASONS: dict[str, str] = INPUT_REASONS | MODEL_REASONS
"""All reasons: slug to meaning."""

MESSAGE_CHARACTERS_MAX = 500
"""Characters of an error message; a longer message is cut."""
