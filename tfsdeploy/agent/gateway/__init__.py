"""The agent beside each Envoy: follows the release and every replica, decides, and moves Envoy's files into place."""
