"""Triton's client over gRPC, for asyncio."""

from __future__ import annotations

import asyncio

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from tests.conformance.clients.script import MODELS, SERVER, Answer, cases, failure, target, tell
from tests.conformance.clients.triton import answer_of, arguments_of


async def main() -> None:
    async with InferenceServerClient(target()) as client:
        metadata = await client.get_model_metadata("churn", as_json=True)
        answer: Answer = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "models": [await client.is_model_ready(name, version) for name, version in MODELS],
            "name": (await client.get_server_metadata(as_json=True))["name"],
            "inputs": {tensor["name"]: tensor["datatype"] for tensor in metadata["inputs"]},
        }
        tell(SERVER, answer)
        for case in cases():
            try:
                answer = answer_of(await client.infer(**arguments_of(case)))
            except InferenceServerException as error:
                answer = failure(error.status(), error.message())
            tell(case["name"], answer)


if __name__ == "__main__":
    asyncio.run(main())
