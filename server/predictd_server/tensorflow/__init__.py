"""The only part of predictd that knows TensorFlow and Keras: settings, loading, and running a graph.

`runtime` starts TensorFlow, `loading` turns a file into runners. Importing this package imports neither TensorFlow nor
Keras; `runtime.configure` must come first.
"""
