"""The embedded model server: tensorflow_model_server's flags and answers; knows nothing of deploying."""
