"""The REST skin: a request in, a reply out; opens no socket."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfsdeploy.protocol import rest
from tfsdeploy.protocol.status import Failed, http_code
from tfsdeploy.server import json_tensor
from tfsdeploy.server.core import Core
from tfsdeploy.server.metrics import Metrics

if TYPE_CHECKING:
    from tfsdeploy.server.servable import Call

NOT_FOUND = (
    "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"  # libevent's
)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: HTTP code, body and content type."""

    code: int
    body: str
    content_type: str = "application/json"


class Rest:
    """Answers REST requests.

    Args:
        core: the models.
        metrics: counts them.
    """

    def __init__(self, core: Core, metrics: Metrics) -> None:
        self._core = core
        self._metrics = metrics

    def handle(self, method: str, path: str, body: bytes = b"", encoding: str = "") -> Reply:
        """Answer one request.

        Args:
            method: in capitals.
            path: as it came, query string included: it is part of the match.
            body: as it came.
            encoding: the content encoding; ``gzip`` is understood.
        """
        if path == Metrics.PATH and self._metrics.enabled:
            return Reply(200, self._metrics.page(), "text/plain")
        if not path.startswith("/v1/"):
            return Reply(404, NOT_FOUND, "text/html")
        try:
            if method == "OPTIONS":
                return Reply(200, "")
            asked = rest.parse(method, path)
            version = (
                self._core.version_of(asked.model, asked.version, asked.label) if asked.action != "status" else None
            )
            match asked.action:
                case "predict":
                    return self._predict(asked.model, version, _inflated(body) if encoding == "gzip" else body)
                case "status":
                    return Reply(200, rest.render_model_status(self._core.status(asked.model, asked.version)))
                case "metadata":
                    return Reply(200, self._metadata(asked.model, version))
                case action:
                    raise Failed("UNIMPLEMENTED", f"{action} is not there yet in this server; predict is")
        except Failed as failed:
            return Reply(http_code(failed.code), rest.error_body(failed.message))

    def _predict(self, model_name: str, version: int | None, body: bytes) -> Reply:
        begun = time.perf_counter()
        code = "OK"
        try:
            document = json_tensor.parse(body)
            form: json_tensor.Format = "row"

            def inputs_of(call: Call) -> dict[str, json_tensor.Array]:
                nonlocal form
                arrays, form = json_tensor.inputs_of(document, {i.alias: i.dtype for i in call.inputs})
                return arrays

            signature = json_tensor.signature_name(document)
            answer = self._core.predict(model_name, version, signature, inputs_of, _unknown_signature)
            return Reply(200, json_tensor.render(answer.outputs, form))
        except Failed as failed:
            code = failed.code
            raise
        finally:
            self._metrics.count(model_name, "predict", "REST", code, time.perf_counter() - begun)

    def _metadata(self, model_name: str, version: int | None) -> str:
        from google.protobuf.json_format import MessageToDict

        found, signatures = self._core.signatures(model_name, version)
        definitions = {
            name: MessageToDict(s, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
            for name, s in sorted(signatures.items())
        }
        plain = {
            "model_spec": {"name": model_name, "signature_name": "", "version": str(found)},
            "metadata": {"signature_def": {"signature_def": definitions}},
        }
        return json.dumps(plain, indent=1) + "\n"


def _unknown_signature(name: str) -> Failed:
    return Failed("INVALID_ARGUMENT", f'Serving signature name: "{name}" not found in signature def')


def _inflated(body: bytes) -> bytes:
    try:
        return gzip.decompress(body)
    except (OSError, EOFError, zlib.error) as error:
        raise Failed("INVALID_ARGUMENT", f"the gzip body cannot be read: {error}") from error
