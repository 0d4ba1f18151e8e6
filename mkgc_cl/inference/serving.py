"""An extractor over HTTP: ``/extract``, ``/learn``, ``/health``.

What ``/learn`` was given is saved before it is acknowledged: a server that is killed and started
again has all that it ever said it had learnt.
"""

from __future__ import annotations

import hmac
import threading
from pathlib import Path
from typing import Any

from mkgc_cl.errors import ConfigError, DataError, MkgcError
from mkgc_cl.inference.extractor import Extractor
from mkgc_cl.regular_file import read_regular

MOST_TEXTS = 256
"""Most texts of one request."""
MOST_CHARACTERS = 100_000
"""Most characters of the texts of one request: others wait until it is answered."""
MOST_BYTES = 2**26
"""Most bytes of a request, of which anybody may send one."""


class Service:
    """An extractor that several threads use: one learns or predicts at a time.

    Args:
        folder: of the extractor.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.extractor = Extractor.load(folder)
        self._lock = threading.Lock()
        self._health = self._described()

    def extract(self, texts: list[Any]) -> list[dict[str, Any]]:
        """Find entities and relations.

        Raises:
            DataError: too many texts, something that is none, or a path of this machine.
        """
        if len(texts) > MOST_TEXTS:
            raise DataError(f"{len(texts)} texts in a request; send at most {MOST_TEXTS}")
        if sum(len(str(text)) for text in texts) > MOST_CHARACTERS:
            raise DataError(f"send at most {MOST_CHARACTERS:,} characters in a request")
        looks = any(part.processor.views.image for part in self.extractor.parts.values())
        if looks and any(isinstance(text, dict) and "image" in text for text in texts):
            raise DataError("a path of an image is one of the server's; send texts without")
        with self._lock:
            return [found.to_dict() for found in self.extractor(texts)]

    def learn(
        self, samples: list[Any], types: list[str] | None, task: str | None
    ) -> dict[str, Any]:
        """Learn samples, and keep what was learnt.

        Raises:
            MkgcError: nothing was learnt.
            OSError: it could not be kept, so nothing was learnt.
        """
        with self._lock:
            before = self.extractor.model
            try:
                report = self.extractor.learn(samples, types=types, task=task)
                self.extractor.save(self.folder)
            except BaseException:
                # what is half learnt, or not kept, must not be served
                if self.extractor.model != before:
                    self.extractor = Extractor.load(self.folder)
                raise
            self._health = self._described()
            return {
                "task": report.task,
                "samples": report.samples,
                "added": dict(report.added),
                "new": list(report.new),
                "ignored": dict(report.ignored),
                "model": self.extractor.model,
            }

    def health(self) -> dict[str, Any]:
        """What is served; it waits for nobody, not even for one that learns."""
        return self._health

    def _described(self) -> dict[str, Any]:
        extractor = self.extractor
        return {
            "status": "ok",
            "model": extractor.model,
            "types": list(extractor.types),
            "relations": list(extractor.relations),
        }


def app(service: Service, *, token: str | None = None) -> Any:
    """The application, for any ASGI server.

    Args:
        service: what answers.
        token: what ``/learn`` wants as ``Authorization: Bearer TOKEN``; without one it is closed.

    Raises:
        ConfigError: FastAPI is not installed.
    """
    try:
        from fastapi import FastAPI, Header, Request
        from fastapi.responses import JSONResponse
    except ImportError as error:
        raise ConfigError(["a server needs its packages: pip install 'mkgc_cl[serve]'"]) from error
    import mkgc_cl

    made = FastAPI(title="mkgc_cl", version=mkgc_cl.__version__)

    def refused(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_code=422)

    made.add_exception_handler(MkgcError, refused)
    made.add_middleware(_Bounded)

    def extract(body: dict[str, Any]) -> list[dict[str, Any]]:
        """Find entities and relations in ``texts``: text, records, or lists of words."""
        texts = body.get("texts")
        if not isinstance(texts, list):
            raise DataError("expected {'texts': [...]}")
        return service.extract(texts)

    def learn(body: dict[str, Any], authorization: str = Header("")) -> Any:
        """Learn ``samples``; ``types`` and ``task`` as of ``Extractor.learn``."""
        if token is None or not hmac.compare_digest(
            authorization.encode(), f"Bearer {token}".encode()
        ):
            return JSONResponse({"error": "a token is needed to teach"}, status_code=401)
        samples, types, task = (body.get(key) for key in ("samples", "types", "task"))
        names = types is None or (
            isinstance(types, list) and all(isinstance(name, str) for name in types)
        )
        if not isinstance(samples, list) or not names or not isinstance(task, str | None):
            raise DataError("expected {'samples': [...], 'types': [...], 'task': '...'}")
        return service.learn(samples, types, task)

    # the names are FastAPI's classes, which are only known in here
    extract.__annotations__ = {"body": dict[str, Any], "return": list[dict[str, Any]]}
    learn.__annotations__ = {"body": dict[str, Any], "authorization": str, "return": Any}
    made.post("/extract")(extract)
    made.post("/learn", response_model=None)(learn)
    made.get("/health")(service.health)
    return made


class _Bounded:
    """Middleware that refuses a body of more than :data:`MOST_BYTES` while it comes in."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        size, messages, more = 0, [], True
        while more:
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
            if size > MOST_BYTES:
                from fastapi.responses import JSONResponse

                error = {"error": f"send at most {MOST_BYTES:,} bytes in a request"}
                return await JSONResponse(error, status_code=413)(scope, receive, send)
        waiting = iter(messages)

        async def again() -> Any:
            message = next(waiting, None)
            return await receive() if message is None else message

        return await self.app(scope, again, send)


def run(folder: Path, *, host: str, port: int, token_file: Path | None) -> None:
    """Serve until stopped.

    Raises:
        DataError: the folder holds no extractor, or the token's file no token.
        ConfigError: the packages of the extra ``serve`` are not installed.
    """
    token = None
    if token_file is not None:
        token = read_regular(token_file, limit=4096).decode("utf-8", "replace").strip()
        if not token:
            raise DataError("expected a token, found an empty file", path=token_file)
    made = app(Service(folder), token=token)
    try:
        import uvicorn
    except ImportError as error:
        raise ConfigError(["a server needs its packages: pip install 'mkgc_cl[serve]'"]) from error
    uvicorn.run(made, host=host, port=port, log_level="warning")
