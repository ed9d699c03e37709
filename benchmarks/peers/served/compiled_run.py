"""The limit of compiled trees: lleaves, in the process, over rows in memory.

python compiled_run.py BOOSTER ROWS.npz ROWS RUNS        prints runs of so many rows per second
"""

from __future__ import annotations

import sys
import time

import lleaves
import numpy as np

TOLERANCE = 1e-6


def main() -> None:
    booster, file, rows, runs = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    with np.load(file) as known:
        customers, expected = known["rows"][:rows], known["expected"][:rows]
    model = lleaves.Model(model_file=booster)
    model.compile(cache=f"{booster}.compiled", fcodemodel="small")
    if not np.allclose(model.predict(customers, n_jobs=1), expected, rtol=0, atol=TOLERANCE):
        sys.exit("its scores are not those of the model")
    started = time.perf_counter()
    for _ in range(runs):
        model.predict(customers, n_jobs=1)
    print(runs / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
