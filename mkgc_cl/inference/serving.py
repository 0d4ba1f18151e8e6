"""An extractor over HTTP: ``/extract``, ``/learn``, ``/health``.

What ``/learn`` was given is saved before it is acknowledged: a server that is killed and started
again has all that it ever said it had learnt.
"""

from __future__ import annotations

import copy
import hmac
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mkgc_cl.errors import ConfigError, DataError, MkgcError, OutputError
from mkgc_cl.inference.extractor import CHUNK, Extractor
from mkgc_cl.inference.folders import CONFIG, saving
from mkgc_cl.inference.keeping import FORMAT
from mkgc_cl.regular_file import read_regular

MOST_TEXTS = 256
"""Most texts of one request."""
MOST_CHARACTERS = 100_000
"""Most characters of the texts of one request: others wait until it is answered."""
MOST_BYTES = 2**26
"""Most bytes of a request, of which anybody may send one."""


class Service:
    """An extractor that several threads use: one learns or predicts at a time.

    Texts that arrive while others are read are read together, so a part of their scores that
    rounding decides (the seventh digit) may differ from that of a text read alone.

    Args:
        folder: of the extractor. Other servers, and ``mkgc learn``, may teach it too: what they
            taught is served from the next request on.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._teaching = threading.Lock()
        self._asked: deque[_Asked] = deque()
        self._load()

    def extract(self, texts: list[Any]) -> list[dict[str, Any]]:
        """Find entities and relations.

        Raises:
            DataError: too many texts, something that is none, or a path of this machine.
        """
        if len(texts) > MOST_TEXTS:
            raise DataError(f"{len(texts)} texts in a request; send at most {MOST_TEXTS}")
        if sum(len(str(text)) for text in texts) > MOST_CHARACTERS:
            raise DataError(f"send at most {MOST_CHARACTERS:,} characters in a request")
        own = _Asked(texts)
        self._asked.append(own)
        with self._lock:
            while not own.done:
                self._answer(self._together())
        if own.error is not None:
            raise own.error
        return own.found

    def _together(self) -> list[_Asked]:
        """Take the requests that have waited longest, as many as are read at once."""
        some = [self._asked.popleft()]
        while self._asked and sum(len(one.texts) for one in some) < CHUNK:
            some.append(self._asked.popleft())
        return some

    def _answer(self, some: list[_Asked]) -> None:
        try:
            texts = [text for one in some for text in one.texts]
            extractor = self._latest()
            looks = any(part.processor.views.image for part in extractor.parts.values())
            if looks and any(isinstance(text, dict) and "image" in text for text in texts):
                raise DataError("a path of an image is one of the server's; send texts without")
            found = extractor(texts)
        except Exception as error:
            if len(some) > 1:  # whose fault it is, is seen one by one
                for one in some:
                    self._answer([one])
            else:
                some[0].error, some[0].done = error, True
            return
        answers = iter(found)
        for one in some:
            one.found = [next(answers).to_dict() for _ in one.texts]
            one.done = True

    def learn(
        self, samples: list[Any], types: list[str] | None, task: str | None
    ) -> dict[str, Any]:
        """Learn samples, and keep what was learnt.

        Raises:
            MkgcError: nothing was learnt.
            OutputError: another process has been changing the folder for too long.
            OSError: it could not be kept, so nothing was learnt.
        """
        # texts are answered while another process is waited for
        with self._teaching, saving(self.folder, FORMAT), self._lock:
            # what is half learnt, or not kept, is never served
            extractor = copy.copy(self._latest())
            report = extractor.learn(samples, types=types, task=task)
            extractor.save(self.folder)
            self._serve(extractor, self._stamp())
        return {
            "task": report.task,
            "samples": report.samples,
            "added": dict(report.added),
            "new": list(report.new),
            "ignored": dict(report.ignored),
            "model": extractor.model,
        }

    def _latest(self) -> Extractor:
        """What the folder holds, read again where somebody has saved into it."""
        if self._stamp() not in ((), self._read):  # a folder that is gone changes nothing
            self._load()
        return self._extractor

    def _load(self) -> None:
        stamp = self._stamp()  # before, as somebody may save meanwhile
        self._serve(Extractor.load(self.folder), stamp)

    def _serve(self, extractor: Extractor, stamp: tuple[int, ...]) -> None:
        self._extractor, self._read = extractor, stamp
        self._health = {
            "status": "ok",
            "model": extractor.model,
            "types": list(extractor.types),
            "relations": list(extractor.relations),
        }

    def _stamp(self) -> tuple[int, ...]:
        """What tells one description of the folder from the next: each is a file of its own."""
        try:
            found = (self.folder / CONFIG).stat()
        except OSError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_size

    def health(self) -> dict[str, Any]:
        """What is served; it waits for nobody, not even for one that learns."""
        return self._health


@dataclass
class _Asked:
    """A request, and its answer."""

    texts: list[Any]
    found: list[dict[str, Any]] = field(default_factory=list)
    error: Exception | None = None
    done: bool = False


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
        from fastapi.exceptions import RequestValidationError
        from fastapi.responses import JSONResponse
        from starlette.exceptions import HTTPException
    except ImportError as error:
        raise ConfigError(["a server needs its packages: pip install 'mkgc_cl[serve]'"]) from error
    import mkgc_cl

    made = FastAPI(title="mkgc_cl", version=mkgc_cl.__version__)

    def refused(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_code=422)

    def malformed(request: Request, error: Exception) -> JSONResponse:
        # what was sent is not sent back: it may be long, or nothing that JSON can hold
        return JSONResponse({"error": "expected a JSON object, in UTF-8"}, status_code=422)

    def unheard(request: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, HTTPException):
            raise error
        if error.status_code == 400:  # of a body that cannot be read
            return malformed(request, error)
        return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)

    def busy(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": f"nothing was learnt ({error})"}, status_code=503)

    def unkept(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": f"nothing was learnt ({error})"}, status_code=500)

    made.add_exception_handler(MkgcError, refused)
    made.add_exception_handler(OutputError, busy)
    made.add_exception_handler(RequestValidationError, malformed)
    made.add_exception_handler(HTTPException, unheard)
    made.add_exception_handler(OSError, unkept)
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
            # headers come as Latin-1, whatever was sent
            authorization.encode("latin-1"),
            f"Bearer {token}".encode(),
        ):
            return JSONResponse({"error": "a token is needed to teach"}, status_code=401)
        samples, types, task = (body.get(key) for key in ("samples", "types", "task"))
        names = types is None or (
            isinstance(types, list) and all(isinstance(name, str) for name in types)
        )
        if not (isinstance(samples, list) and names and isinstance(task, str | None)):
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


def run(
    folder: Path, *, host: str, port: int, token_file: Path | None, threads: int | None = None
) -> None:
    """Serve until stopped.

    Args:
        folder: of the extractor.
        host: the address.
        port: its port.
        token_file: file with the token that ``/learn`` wants; without one it is closed.
        threads: of PyTorch; by default as many as it takes.

    Raises:
        DataError: the folder holds no extractor, or the token's file no token.
        ConfigError: the packages of the extra ``serve`` are not installed, or there is no such
            number of threads.
    """
    if threads is not None:
        if threads < 1:
            raise ConfigError([f"expected at least one thread, found {threads}"])
        torch.set_num_threads(threads)
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
