"""Keras on JAX or PyTorch: the only part of predictd that knows either, and no part of it knows TensorFlow.

`runtime` starts Keras on one of them, `loading` turns a file into runners. Importing this package imports none of them;
`runtime.start` must come first, because Keras can't change its backend afterwards.
"""

from __future__ import annotations
