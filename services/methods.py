"""The methods of a scoring service, read off its descriptor: one law for all of them, for servers and clients.

A service scores one customer (`PredictChurn`), a table of them (`BatchPredictChurn`) and a stream of tables
(`StreamPredictChurn`). Requests and responses bear the names of their method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pool, message_factory

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, MethodDescriptor
    from google.protobuf.message import Message


@dataclass(frozen=True)
class Method:
    """One method. `answer` is the field of its response that holds what the model says."""

    service: str
    name: str
    request: type[Message]
    response: type[Message]
    answer: str

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"


@dataclass(frozen=True)
class Methods:
    """The three methods of a service."""

    one: Method
    batch: Method
    stream: Method


def methods_of(service: str) -> Methods:
    """Reads the methods of a service, given by its full name; its generated module must have been imported.

    Raises:
        KeyError, ValueError: there is no such service, or it is none that scores.
    """
    methods = descriptor_pool.Default().FindServiceByName(service).methods_by_name
    (name,) = (name for name in methods if not name.startswith(("Batch", "Stream")))
    return Methods(_read(methods[name]), _read(methods[f"Batch{name}"]), _read(methods[f"Stream{name}"]))


def _read(method: MethodDescriptor) -> Method:
    return Method(
        service=method.containing_service.full_name,
        name=method.name,
        request=message_factory.GetMessageClass(method.input_type),
        response=message_factory.GetMessageClass(method.output_type),
        answer=_answer_of(method.output_type),
    )


def _answer_of(response: Descriptor) -> str:
    beside = {"model_version", "error"}
    (name,) = (field.name for field in response.fields if field.message_type and field.name not in beside)
    return name
