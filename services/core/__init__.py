import os

# gRPC's core would write a line for each handshake that fails and each header that it cannot read, which anybody can
# bring about, and not as JSON. It reads these variables when it is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# Connections are read by the thread that handles their calls. Otherwise three more threads pass each request on, which
# costs a call for one customer a tenth of its time. A gRPC that knows no such choice leaves it out.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
