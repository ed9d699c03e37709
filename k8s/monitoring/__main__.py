"""Writes what Kubernetes is given of the monitoring out of the code and the rules: `python -m k8s.monitoring`."""

from __future__ import annotations

import sys

from k8s.monitoring.files import generated


def main() -> int:
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
