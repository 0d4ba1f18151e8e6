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
MOST_CHARACTERS = 1_000_000
"""Most characters of the texts of one request."""


class Service:
    """An extractor that several threads use: one learns or predicts at a time.

    Args:
        folder: of the extractor.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.extractor = Extractor.load(folder)
        self._lock = threading.Lock()

    def extract(self, texts: list[Any]) -> list[dict[str, Any]]:
        """Find entities and relations.

        Raises:
            DataError: too many texts, or something that is none.
        """
        if len(texts) > MOST_TEXTS:
            raise DataError(f"{len(texts)} texts in a request; send at most {MOST_TEXTS}")
        if sum(len(str(text)) for text in texts) > MOST_CHARACTERS:
            raise DataError(f"send at most {MOST_CHARACTERS:,} characters in a request")
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
            report = self.extractor.learn(samples, types=types, task=task)
            try:
                self.extractor.save(self.folder)
            except OSError:
                self.extractor = Extractor.load(self.folder)
                raise
            return {
                "task": report.task,
                "samples": report.samples,
                "added": dict(report.added),
                "new": list(report.new),
                "ignored": dict(report.ignored),
                "model": self.extractor.model,
            }

    def health(self) -> dict[str, Any]:
        """What is served."""
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
