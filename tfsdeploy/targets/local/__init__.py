"""The local target: a whole fleet as processes of this machine, kept running by one supervisor."""
