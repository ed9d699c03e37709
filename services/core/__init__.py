import os

# gRPC's core would write a line for each handshake that fails and each header that it cannot read, which anybody can
# bring about, and not as JSON. It reads the variable when it is loaded.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
