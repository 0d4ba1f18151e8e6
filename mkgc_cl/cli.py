"""``mkgc``: the one command of this package, of which everything else is a verb.

A verb is imported when it is asked for: ``mkgc --help`` imports neither PyTorch nor Avalanche, and
a mistake on the command line is told at once.
"""

from __future__ import annotations

import argparse
import codecs
import difflib
import io
import os
import runpy
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

import mkgc_cl
from mkgc_cl.errors import MkgcError, OutputError

EXIT_CODES = """exit codes:
  0    good
  1    something failed: a run, a file that is malformed or cannot be written, a check
  2    wrong settings or input; nothing was run
  3    another process still computes some of the runs; the tables are without them
  130  interrupted (143 by TERM, 129 by HUP); what has finished is kept
"""


@dataclass(frozen=True)
class Verb:
    """What ``mkgc`` can be told to do.

    Args:
        words: what it does.
        run: does it with the arguments behind it; returns the exit code.
    """

    words: str
    run: Callable[[list[str]], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code, one of :data:`EXIT_CODES`.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    _speak_utf8()
    if not given or given[0] not in VERBS:
        return _without_verb(given)
    try:
        return VERBS[given[0]].run(given[1:])
    except MkgcError as error:
        sys.stderr.write(f"{error}\n")
        return 1 if isinstance(error, OutputError) else 2
    except KeyboardInterrupt as error:
        sys.stderr.write("\ninterrupted\n")
        return 128 + getattr(error, "number", signal.SIGINT)
    except BrokenPipeError:  # whoever read had enough, as head has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes at its end
        return 0


def _speak_utf8() -> None:
    """Take and give UTF-8 through pipes, too, as through files: what one verb prints another reads.

    Windows has another encoding for them, which lacks most of the characters of texts.
    """
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if (
            isinstance(stream, io.TextIOWrapper)
            and not stream.isatty()
            and codecs.lookup(stream.encoding).name != "utf-8"
        ):
            stream.reconfigure(encoding="utf-8")


def _without_verb(given: list[str]) -> int:
    """Show the help or the version, or refuse what is no verb."""
    verbs = "".join(f"  {name:<8}{verb.words}\n" for name, verb in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="mkgc",
        usage="mkgc [-h] [--version] VERB ...",
        description="Continual learning for multimodal knowledge graph construction.\n\n"
        f"verbs (mkgc VERB --help says more):\n{verbs}",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mkgc_cl {mkgc_cl.__version__}")
    parser.add_argument("verb", nargs="?", help=argparse.SUPPRESS)
    verb = parser.parse_args(given[:1]).verb
    if verb is None:
        parser.print_help(sys.stderr)
        return 2
    parser.error(f"there is no verb {verb!r}; {_hint(verb, VERBS)}")


def _hint(name: str, known: Sequence[str] | dict[str, Verb]) -> str:
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"


def _doctor(arguments: list[str]) -> int:
    from mkgc_cl.doctor import main as examine

    return examine(arguments)


def _data(arguments: list[str]) -> int:
    from mkgc_cl.data.__main__ import main as check

    return check(arguments, prog="mkgc data")


def _list(arguments: list[str]) -> int:
    from mkgc_cl.listing import main as show

    return show(arguments)


def _run(arguments: list[str]) -> int:
    from mkgc_cl.experiments import SCRIPTS

    scripts = "".join(f"  {name:<16}{words}\n" for name, words in SCRIPTS.items())
    parser = argparse.ArgumentParser(
        prog="mkgc run",
        usage="mkgc run [-h] NAME ...",
        description=f"Run an experiment (mkgc run NAME --help lists its settings):\n{scripts}",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this and exit")
    if not arguments or arguments[0].startswith("-"):
        parser.print_help(None if parser.parse_args(arguments).help else sys.stderr)
        return 0 if arguments else 2
    name = arguments[0].lower().removesuffix(".py").replace("-", "_")
    if name not in SCRIPTS:
        parser.error(f"there is no experiment {arguments[0]!r}; {_hint(name, list(SCRIPTS))}")
    return _as_script(name, arguments[1:])


def _report(arguments: list[str]) -> int:
    from mkgc_cl.results.__main__ import main as report

    return report(["report", *arguments], prog="mkgc")


def _speed(arguments: list[str]) -> int:
    return _as_script("speed", arguments)


def _use(verb: str, module: str = "use_cli") -> Callable[[list[str]], int]:
    def run(arguments: list[str]) -> int:
        found: Callable[[list[str]], int] = getattr(import_module(f"mkgc_cl.{module}"), verb)
        return found(arguments)

    return run


def _as_script(name: str, arguments: list[str]) -> int:
    """Run an experiment as ``python -m`` does, so that worker processes start as they do there."""
    before = sys.argv
    sys.argv = [name, *arguments]
    try:
        runpy.run_module(f"mkgc_cl.experiments.{name}", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    finally:
        sys.argv = before
    return 0


VERBS = {
    "doctor": Verb("what is installed, what is missing, and what to do about it", _doctor),
    "data": Verb("check the files of a data folder: mkgc data check FOLDER", _data),
    "list": Verb("systems, their options, scenarios, encoders, experiments", _list),
    "run": Verb("run an experiment: mkgc run ablation", _run),
    "report": Verb("gather runs in one page: mkgc report runs", _report),
    "speed": Verb("samples per second, memory, and where the time of a step goes", _speed),
    "learn": Verb("teach an extractor types: mkgc learn FOLDER SAMPLES", _use("learn")),
    "predict": Verb("find entities and relations in texts: mkgc predict FOLDER", _use("predict")),
    "export": Verb("an extractor as ONNX: mkgc export FOLDER --out DIR", _use("export")),
    "graph": Verb(
        "keep what was found as a graph: mkgc graph add GRAPH TEXTS", _use("graph", "graph_cli")
    ),
    "serve": Verb("answer over HTTP: mkgc serve FOLDER", _use("serve")),
}
"""Every verb by name, in the order of a first visit."""
