"""The wire between predictd's clients and its server: messages, tensors, frames, errors, limits.

Needs numpy and msgpack only; no sockets, no threads, no TensorFlow. Any thread may use it. `WIRE.md`, in the folder
above this package, is the specification.
"""
