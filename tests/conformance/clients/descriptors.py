"""What a file of generated messages says of its package, as JSON: messages, fields, methods."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any


def describe(file: Any) -> dict[str, Any]:
    """Of a file's descriptor, all that decides how its messages lie on the wire."""
    messages: dict[str, Any] = {}
    for message in file.message_types_by_name.values():
        messages |= _message(message)
    services = {service.full_name: _methods(service) for service in file.services_by_name.values()}
    return {"package": file.package, "messages": messages, "services": services}


def _message(message: Any) -> dict[str, Any]:
    """Its fields by name, and those of the messages within it."""
    found = {message.full_name: {field.name: _field(field) for field in message.fields}}
    for nested in message.nested_types:
        found |= _message(nested)
    return found


def _field(field: Any) -> dict[str, Any]:
    return {
        "number": field.number,
        "type": field.type,
        "repeated": field.is_repeated,
        "packed": field.is_packed,
        "message": field.message_type.full_name if field.message_type else "",
    }


def _methods(service: Any) -> dict[str, list[Any]]:
    return {
        method.name: [
            method.input_type.full_name,
            method.output_type.full_name,
            method.client_streaming,
            method.server_streaming,
        ]
        for method in service.methods
    }


def main() -> None:
    json.dump(describe(importlib.import_module(sys.argv[1]).DESCRIPTOR), sys.stdout)


if __name__ == "__main__":
    main()
