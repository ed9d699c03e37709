"""The floor of batch scoring: ONNX Runtime alone, over rows in memory and with the settings of the suite.

python -m benchmarks.bare_run BUNDLES RUNS [ROWS]        prints runs per second
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

from model_registry.bundle import MODEL_FILE
from model_registry.release import bundle_folder, read_release

ROWS, FEATURES = 1000, 24


def main() -> None:
    bundles, runs, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else ROWS
    release = read_release(bundles, "churn")
    assert release is not None
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    path = bundle_folder(bundles, "churn", release.digest) / MODEL_FILE
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    rows = np.random.default_rng(5).normal(size=(count, FEATURES)).clip(-9, 9).astype(np.float32)
    session.run(None, {"numeric": rows})
    started = time.perf_counter()
    for _ in range(runs):
        session.run(None, {"numeric": rows})
    print(runs / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
