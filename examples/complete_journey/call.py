"""Scores one household through a running server, as a backend would.

python examples/complete_journey/call.py 127.0.0.1:50051 .demo/request.json
"""

import json
import sys
from pathlib import Path

from services.client import CallError, ChurnClient

target, request = sys.argv[1:]
customer = json.loads(Path(request).read_text())["customer"]
with ChurnClient(target) as client:
    try:
        answer = client.predict(customer["id"], customer["numeric"] | customer["categorical"])
    except CallError as error:
        sys.exit(str(error))
print(answer)
