"""A real Kubernetes of two nodes on this machine, in namespaces of its own: `make cluster`, `make cluster-down`."""
