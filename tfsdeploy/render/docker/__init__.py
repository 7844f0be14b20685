"""A fleet as Docker containers: what each of them is, and a Compose file of them."""
