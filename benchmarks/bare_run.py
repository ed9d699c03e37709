"""The floor of scoring tables: ONNX Runtime alone, over rows in memory and with the settings of the suite.

python -m benchmarks.bare_run GRAPH ROWS RUNS [DISTINCT]        prints runs of so many rows per second
"""

from __future__ import annotations

import sys
import time

import numpy as np
import onnxruntime as ort

FEATURES = 24


def main() -> None:
    graph, rows, runs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    distinct = int(sys.argv[4]) if sys.argv[4:] else rows
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    outputs = [output.name for output in session.get_outputs()][-1:]
    customers = np.random.default_rng(5).standard_normal((distinct, FEATURES), np.float32).clip(-9, 9)
    parts = [customers[start : start + rows] for start in range(0, distinct, rows)]
    session.run(outputs, {given.name: parts[0]})
    started = time.perf_counter()
    for run in range(runs):
        session.run(outputs, {given.name: parts[run % len(parts)]})
    print(runs / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
