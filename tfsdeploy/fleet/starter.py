"""The fleet file that `tfsdeploy init` writes: valid as it is, and commented so that it can be grown by hand."""

from __future__ import annotations

import json

STARTER_MODEL = "half_plus_two"
STARTER_STORE = "file://./models"

_TEXT = """\
# A tfsdeploy fleet: identical model servers behind one gateway. What each key means: docs/fleet-file.md;
# completion in an editor: `tfsdeploy schema`; a check without touching anything: `tfsdeploy validate`.
apiVersion: tfsdeploy/v1
kind: Fleet
name: {name}

# Where the models live: MODEL/VERSION/saved_model.pb. `tfsdeploy push` writes there. A relative file:// path
# begins at this file; for other machines use nfs://, s3://, gs:// or az://.
store: {store}

serving:
  replicas: 2               # model servers; every one holds every model
  keep: 1                   # previous versions that stay loaded: a rollback to them is instant
  # server: embedded-like-tfs   # embedded (default) | embedded-like-tfs | the path of tensorflow_model_server
  # batching: {{maxBatchSize: 32, batchTimeoutMicros: 1000}}
  # flags: {{enable_model_warmup: true}}

# The only address that clients know. 0 as a port: a free one, shown by `tfsdeploy status`.
gateway:
  replicas: 1
  rest: 8501
  grpc: 8500

models:
  # `{{}}` leaves the version to `tfsdeploy promote` and `tfsdeploy rollback`; it begins with the newest one.
  {model}: {{}}
  # A pinned model belongs to this file; a change of it takes effect with `tfsdeploy up`:
  # ranker:
  #   version: 7
  #   canary: {{version: 8, weight: 10}}    # 10 % of the requests
  #   labels: {{stable: 7}}
"""


def starter_text(name: str, store: str = STARTER_STORE) -> str:
    """A commented fleet file with one model, ``half_plus_two``.

    Args:
        name: of the fleet.
        store: URL of the store.

    Returns:
        the text; valid if the name and the store are.
    """
    return _TEXT.format(name=_scalar(name), store=_scalar(store), model=STARTER_MODEL)


def _scalar(text: str) -> str:
    """``text`` as YAML: in quotes where a reader might take it for something else."""
    from tfsdeploy.fleet.wording import other_reading

    plain = text.replace("-", "").isalnum() or text.startswith(("file://", "s3://"))
    return text if plain and text.isascii() and other_reading(text) is None and " #" not in text else json.dumps(text)
