"""What is compared with: the model in a process of its own, memory copies, and a bare echo of the same frames."""
