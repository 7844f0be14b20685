"""The REST skin: a request in, a reply out; opens no socket."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tfsdeploy.protocol import rest
from tfsdeploy.protocol.status import Failed, http_code
from tfsdeploy.server import json_answer, json_document, json_tensor
from tfsdeploy.server.core import Core
from tfsdeploy.server.flags import say
from tfsdeploy.server.loading import import_tensorflow, tensorflow_is_there
from tfsdeploy.server.metrics import Asked, Metrics
from tfsdeploy.server.pace import WouldWait

if TYPE_CHECKING:
    from tfsdeploy.server.examples import Method
    from tfsdeploy.server.servable import Call

METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"})
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
_CLOSES = {"Connection": "close"}
READYZ = "/readyz"
ENTRYPOINT = "REST"
INFLATED_BYTES = 100 * 2**20

_ORIGIN = re.compile(r"https?://")  # anywhere in it (http_server.cc)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: HTTP code, body, content type and other headers; whether the connection ends with it.

    An empty content type is libevent's own.
    """

    code: int
    body: str
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    last: bool = field(default=False, compare=False)


class Rest:
    """Answers REST requests.

    Args:
        core: the models.
        metrics: counts them.
        timeout_ms: for one run of a model.
        cors: tell browsers that any page may ask.
        readyz: have a page that says whether every configured version is AVAILABLE.
    """

    def __init__(
        self, core: Core, metrics: Metrics, timeout_ms: int = 0, *, cors: bool = False, readyz: bool = False
    ) -> None:
        self._core = core
        self._readyz = readyz
        self._metrics = metrics
        self._timeout_ms = timeout_ms
        self._headers = CORS if cors else {}
        self._pages = frozenset({metrics.path, READYZ} - {""})

    def of_the_server(self, path: str) -> bool:
        """Whether a request is for a page about the server itself.

        Such a page is written for as long as there are models, and asked for when every thread is busy.
        """
        return path in self._pages

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"", wait: bool = True) -> Reply:
        """Answer one request.

        Args:
            method: in capitals.
            path: without scheme and host, but with the query string: it is part of the match.
            headers: names in small letters; ``content-encoding`` and ``origin`` matter.
            body: as it came; inflated here if it is gzip.
            wait: until a model has answered; if not, only what is quick is answered.

        Raises:
            WouldWait: it is not.
        """
        if method not in METHODS:
            return page(501, "Not Implemented")
        if self._metrics.path and path.partition("?")[0] == self._metrics.path:
            return self._monitoring(path)
        if self._readyz and path == READYZ:
            missing = self._core.unready()
            return Reply(503 if missing else 200, "\n".join(missing or ["ready"]) + "\n", "text/plain")
        if not path.lower().startswith("/v1/"):
            return page(404, "Not Found")
        if method == "OPTIONS":
            asked_by_page = _ORIGIN.search(headers.get("origin", ""))
            self._metrics.count(Asked("", ENTRYPOINT), "OK" if asked_by_page else "FAILED_PRECONDITION")
            return Reply(200 if asked_by_page else 400, "", "", self._headers)
        code, text = self._answered(method, path, headers, body, wait)
        return Reply(code, text, headers=self._headers)

    def _answered(self, method: str, path: str, headers: Mapping[str, str], body: bytes, wait: bool) -> tuple[int, str]:
        try:
            with Asked("", ENTRYPOINT, metrics=self._metrics) as counted:
                return 200, self._answer(rest.parse(method, path), headers, body, wait, counted)
        except WouldWait:
            raise
        except Failed as failed:
            return http_code(failed.code), rest.error_body(failed.message)
        except Exception as error:  # an answer in any case; what it was is for this server's own log
            say(f"{type(error).__name__} while answering {method} {path}: {error}", "ERROR")
            return http_code("INTERNAL"), rest.error_body(f"{type(error).__name__}: {error}")

    def _answer(self, asked: rest.Request, headers: Mapping[str, str], body: bytes, wait: bool, counted: Asked) -> str:
        counted.model = asked.model
        if asked.action == "status":
            return rest.render_model_status(self._core.status(asked.model, asked.version))
        if asked.action == "metadata":
            return self._metadata(asked, counted)
        counted.api = asked.action
        if "gzip" in headers.get("content-encoding", ""):
            if not wait:
                raise WouldWait  # some kilobytes may be megabytes
            body = _inflated(body)
        if asked.action == "predict":
            return self._predict(asked, body, wait, counted)
        return self._infer(asked.action, asked, body, wait, counted)

    def _predict(self, asked: rest.Request, body: bytes, wait: bool, counted: Asked) -> str:
        document = json_document.parse(body)
        signature = json_tensor.signature_name(document)

        def inputs_of(call: Call) -> dict[str, json_answer.Array]:
            if not call.inputs:
                named = document.get("signature_name") or "DEFAULT"
                raise Failed("INVALID_ARGUMENT", f"Failed to get input map for signature: {named}")
            return json_tensor.inputs_of(document, {given.alias: given.dtype for given in call.inputs})

        answer = self._core.predict(
            asked.model,
            self._version_of(asked),
            signature,
            inputs_of,
            _unknown_signature,
            self._timeout_ms,
            wait=wait,
            asked=counted,
        )
        return json_answer.render(answer.outputs, json_tensor.form_of(document))

    def _infer(self, method: Method, asked: rest.Request, body: bytes, wait: bool, counted: Asked) -> str:
        if not wait and not tensorflow_is_there():
            raise WouldWait
        import_tensorflow()
        from tfsdeploy.server import json_examples
        from tfsdeploy.server.examples import Task

        document = json_document.parse(body)
        tasks = [Task(method, json_tensor.signature_name(document))]
        examples = json_examples.examples_of(document)
        _, (result,) = self._core.infer(
            asked.model,
            self._version_of(asked),
            tasks,
            lambda: examples,
            no_signature,
            self._timeout_ms,
            wait=wait,
            asked=counted,
        )
        return json_examples.render(result)

    def _version_of(self, asked: rest.Request) -> int | None:
        """The version that is meant; the original asks for it when it has read the body."""
        return self._core.version_of(asked.model, asked.version, asked.label)

    def _metadata(self, asked: rest.Request, counted: Asked) -> str:
        from google.protobuf.json_format import MessageToDict

        found, signatures = self._core.signatures(asked.model, self._version_of(asked))
        counted.version = found
        definitions = {
            name: MessageToDict(s, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
            for name, s in sorted(signatures.items())
        }
        # The original prints two messages and joins them by hand (http_rest_api_handler.cc).
        spec = rest.proto_json({"name": asked.model, "version": str(found), "signature_name": ""})
        signature_defs = rest.proto_json({"signature_def": definitions})
        return f'{{\n"model_spec":{spec},\n"metadata": {{"signature_def": {signature_defs}}}\n}}\n'

    def _monitoring(self, path: str) -> Reply:
        if path != self._metrics.path:
            return Reply(400, f"Unexpected path: {path}. Should be {self._metrics.path}", "text/plain")
        return Reply(200, self._metrics.page(), "text/plain")


def page(code: int, reason: str) -> Reply:
    """An error page as libevent writes it, which the original's HTTP server is made of; it ends the connection."""
    title = f"<TITLE>{code} {reason}</TITLE>"
    body = f"<HTML><HEAD>\n{title}\n</HEAD><BODY>\n<H1>{reason}</H1>\n</BODY></HTML>\n"
    return Reply(code, body, "text/html", _CLOSES, last=True)


def _unknown_signature(name: str) -> Failed:
    return Failed("INVALID_ARGUMENT", f'Serving signature name: "{name}" not found in signature def')


def no_signature(name: str) -> Failed:
    """For classify and regress, over both protocols."""
    return Failed("INVALID_ARGUMENT", f"No signature was found with the name: {name}")


def _inflated(body: bytes) -> bytes:
    """The body; empty if it is no single gzip stream or too large, as the original takes it."""
    stream = zlib.decompressobj(wbits=31)
    try:
        inflated = stream.decompress(body, INFLATED_BYTES)
    except zlib.error:
        return b""
    return inflated if stream.eof and not stream.unused_data else b""
