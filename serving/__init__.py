"""SavedModels served over TensorFlow Serving's protocol, and its client.

`python -m serving.run --models=models` is the local stand-in for
`tensorflow_model_server`; `serving.client` talks to either.
"""
