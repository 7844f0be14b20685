"""Deploying: what differs and why, up and down, promote and rollback, gates and probes; nothing here prints."""
