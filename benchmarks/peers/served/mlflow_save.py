"""Saves a graph as MLflow's flavour for ONNX.

python mlflow_save.py GRAPH FOLDER
"""

from __future__ import annotations

import sys

import mlflow.onnx
import onnx


def main() -> None:
    graph, folder = sys.argv[1:]
    mlflow.onnx.save_model(
        onnx.load(graph),
        folder,
        onnx_execution_providers=["CPUExecutionProvider"],
        onnx_session_options={"execution_mode": "sequential", "intra_op_num_threads": 1},
    )


if __name__ == "__main__":
    main()
