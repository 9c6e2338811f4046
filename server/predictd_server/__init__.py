"""The daemon that owns the graph: it loads models and answers `predict` over ZeroMQ.

Only `predictd_server.tensorflow` imports TensorFlow; only `frontend`, `control` and what they build on
(`sockets`, `connection_events`) import zmq.
"""
