"""tfsdeploy: many TensorFlow Serving processes behind one address."""

__version__ = "0.1.0"
