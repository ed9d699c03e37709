"""Holds resources against the schemas of Kubernetes and of custom resources, by `.venv-kubernetes`.

Reads one JSON object from standard input, and writes a JSON list of what is wrong. What has no schema is wrong too.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped, unused-ignore]
from kubernetes_validate import utils  # type: ignore[import-not-found]

if TYPE_CHECKING:
    from collections.abc import Iterator

# It reads all definitions of a version anew for each resource.
utils.schema_contents = functools.cache(utils.schema_contents)


def complaints(resources: list[dict[str, Any]], versions: list[str], custom: Path) -> Iterator[str]:
    for resource in resources:
        name = f"{resource['kind']} {resource['metadata']['name']}"
        schema = custom / f"{resource['kind'].lower()}-{resource['apiVersion'].rpartition('/')[2]}.json"
        if schema.exists():
            validator = jsonschema.Draft202012Validator(json.loads(schema.read_text()))
            yield from (f"{name}: {error.json_path}: {error.message}" for error in validator.iter_errors(resource))
            continue
        for version in versions:
            try:
                utils.validate(resource, version, strict=True)
            except utils.SchemaNotFoundError as error:
                yield f"{name}: {error.message}"
            except utils.ValidationError as error:
                yield f"{name}: Kubernetes {version}: {error.json_path}: {error.message}"


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    json.dump(list(complaints(asked["resources"], asked["versions"], Path(asked["custom"]))), sys.stdout)
