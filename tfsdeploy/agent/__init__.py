"""The agents beside the model servers and the gateways: what they follow, decide and tell."""
