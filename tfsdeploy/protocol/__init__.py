"""TF Serving's contract, and what agents say to each other: shared by servers, agents and clients."""
