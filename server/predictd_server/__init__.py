"""The daemon that owns the graph: it loads models and answers `predict` over ZeroMQ.

Only `predictd_server.tensorflow` imports TensorFlow; only `predictd_server.sockets` imports zmq.
"""
