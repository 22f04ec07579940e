"""Say in words which values a setting may have, by the JSON Schema that pydantic makes of its type."""

from collections.abc import Mapping
from typing import Any


def wants(schema: Mapping[str, Any]) -> str:
    """Complete the sentence "wants ..." for a field.

    Args:
        schema: The field's JSON Schema. ``wants`` in it holds the words for a pattern.

    Returns:
        An empty string if the schema has neither a range nor such words. Then pydantic's message is used.
    """
    if "wants" in schema:
        return str(schema["wants"])
    if "minimum" in schema:
        kind = "a whole number" if schema["type"] == "integer" else "a number"
        return f"{kind} from {schema['minimum']} to {schema['maximum']}"
    if "anyOf" not in schema and "items" not in schema:
        return str(schema.get("const", ""))
    parts = [wants(part) for part in (*schema.get("anyOf", ()), schema.get("items", {}))]
    return ", or ".join(part for part in parts if part)
