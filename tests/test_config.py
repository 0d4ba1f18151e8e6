"""Settings: precedence, every kind of mistake, all mistakes at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mkgc_cl.config import dump, keys, resolve, setting, to_dict
from mkgc_cl.errors import ConfigError
from mkgc_cl.plain_yaml import parse


@dataclass(frozen=True)
class Training:
    epochs: int = setting(3, help="passes over a task", minimum=1)
    lr: float = setting(1e-3, help="learning rate", above=0)
    head_lr: float | None = setting(None, help="learning rate of the head", above=0)
    shuffle: bool = setting(True, help="new order every epoch")
    dropout: float = setting(0.1, help="share of units dropped", minimum=0, maximum=1)


@dataclass(frozen=True)
class Settings:
    name: str = setting("run", help="name of the run")
    device: Literal["cpu", "cuda"] = setting("cpu", help="device")
    seeds: tuple[int, ...] = setting((0,), help="one run each", minimum=0)
    order: tuple[str, ...] = setting((), help="classes")
    training: Training = field(default_factory=Training)

    def problems(self) -> list[str]:
        return ["'seeds' must not be empty"] if not self.seeds else []


def mistakes(*overrides: str, **kwargs: object) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        resolve(Settings, overrides=overrides, **kwargs)  # type: ignore[arg-type]
    return caught.value.problems


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("name: file\nseeds: [4, 5]\ntraining:\n  epochs: 7\n  lr: 3e-5\n")
    config = resolve(
        Settings,
        yaml_path=file,
        flags={"training.epochs": 8, "seeds": None, "device": "cuda"},
        overrides=["training.epochs=9", "order=PER,LOC"],
    )
    assert config == Settings(
        name="file",
        device="cuda",
        seeds=(4, 5),
        order=("PER", "LOC"),
        training=Training(epochs=9, lr=3e-5),
    )


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("training.lr=1", "lr", 1.0),
        ("training.lr=1e-5", "lr", 1e-5),
        ("training.head_lr=null", "head_lr", None),
        ("training.head_lr=0.05", "head_lr", 0.05),
        ("training.shuffle=false", "shuffle", False),
    ],
)
def test_values_get_their_type(override: str, key: str, value: object) -> None:
    found = getattr(resolve(Settings, overrides=[override]).training, key)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "seeds"), [("seeds=3", (3,)), ("seeds=0,1,2", (0, 1, 2)), ("seeds=[5, 6]", (5, 6))]
)
def test_lists_on_the_command_line(text: str, seeds: tuple[int, ...]) -> None:
    assert resolve(Settings, overrides=[text]).seeds == seeds


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs", "override 'epochs': expected key=value, as in 'epochs=3'"),
        ("=3", "override '=3': expected key=value, as in 'epochs=3'"),
        ("nmae=x", "override 'nmae=x': unknown key 'nmae', did you mean 'name'?"),
        ("epochs=3", "override 'epochs=3': unknown key 'epochs', did you mean 'training.epochs'?"),
        (
            "training.lr=fast",
            "override 'training.lr=fast': 'training.lr' must be a number, got 'fast'",
        ),
        (
            "training.lr=.nan",
            "override 'training.lr=.nan': 'training.lr' must be a number, got nan",
        ),
        ("training.lr=0", "override 'training.lr=0': 'training.lr' must be larger than 0, got 0.0"),
        (
            "training.head_lr=x",
            "override 'training.head_lr=x': 'training.head_lr' must be a number or null, got 'x'",
        ),
        (
            "training.epochs=2.5",
            "override 'training.epochs=2.5': 'training.epochs' must be a whole number, got 2.5",
        ),
        (
            "training.epochs=true",
            "override 'training.epochs=true': 'training.epochs' must be a whole number, got True",
        ),
        (
            "training.epochs=0",
            "override 'training.epochs=0': 'training.epochs' must be at least 1, got 0",
        ),
        (
            "training.dropout=2",
            "override 'training.dropout=2': 'training.dropout' must be at most 1, got 2.0",
        ),
        (
            "training.shuffle=1",
            "override 'training.shuffle=1': 'training.shuffle' must be true or false, got 1",
        ),
        (
            "name=true",
            "override 'name=true': 'name' must be text (in quotes, should YAML take it for "
            "something else), got True",
        ),
        ("device=gpu", "override 'device=gpu': 'device' must be one of 'cpu', 'cuda', got 'gpu'"),
        (
            "seeds=0,x",
            "override 'seeds=0,x': 'seeds' must be a list, each item a whole number, got '0,x'",
        ),
        ("seeds=0,-1", "override 'seeds=0,-1': 'seeds' must be at least 0, got -1"),
        ("seeds=[]", "'seeds' must not be empty"),
        ("name=[", "override 'name=[': the value is not YAML"),
        (
            "zzz=1",
            "override 'zzz=1': unknown key 'zzz'; known keys: name, device, seeds, order, "
            "training.epochs",
        ),
    ],
)
def test_each_mistake_says_where_what_and_what_to_do(override: str, message: str) -> None:
    (problem,) = mistakes(override)
    assert problem.startswith(message)


def test_all_mistakes_of_all_sources_come_at_once(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("nam: x\ntraining:\n  epochs: many\n  epochs: 3\n  momentum: 1\n")
    problems = mistakes("device=tpu", "oops", yaml_path=file, flags={"seeds": "a"})
    assert problems == (
        f"{file}:4: key 'training.epochs' was set in line 3",
        "override 'oops': expected key=value, as in 'epochs=3'",
        f"{file}:1: unknown key 'nam', did you mean 'name'?",
        f"{file}:5: unknown key 'training.momentum'; known keys: {', '.join(keys(Settings))}",
        "override 'device=tpu': 'device' must be one of 'cpu', 'cuda', got 'tpu'",
        "--seeds: 'seeds' must be a list, each item a whole number, got 'a'",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: [x\nseeds: 1\n", "a.yaml:2: not YAML (expected ',' or ']'"),
        (b"- a\n- b\n", "a.yaml:1: expected 'key: value' lines, got list"),
        (b"hello", "a.yaml:1: expected 'key: value' lines, got str"),
        (b"training: 3\n", "a.yaml:1: 'training' is a section, got 3"),
        (b"1: x\n", "a.yaml:1: unknown key '1'"),
        (b"name: a\x00b\n", "a.yaml: not YAML"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(content)
    problems = mistakes(yaml_path=file)
    assert message in problems[0]


def test_a_missing_file_and_an_empty_one(tmp_path: Path) -> None:
    assert mistakes(yaml_path=tmp_path / "no.yaml") == (
        f"{tmp_path / 'no.yaml'}: no such configuration file",
    )
    assert "expected a regular file, found a folder" in mistakes(yaml_path=tmp_path)[0]
    (tmp_path / "empty.yaml").write_bytes(b"\xef\xbb\xbf# only a comment\r\ntraining:\r\n")
    assert resolve(Settings, yaml_path=tmp_path / "empty.yaml") == Settings()


@pytest.mark.slow
@given(
    st.builds(
        Settings,
        name=st.text("abcXYZ 0123:#'\"é", max_size=8),
        seeds=st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple),
        order=st.lists(st.sampled_from(["PER", "no", "1", "a b"]), max_size=3).map(tuple),
        training=st.builds(
            Training,
            epochs=st.integers(1, 50),
            lr=st.floats(1e-12, 1e6),
            head_lr=st.none() | st.floats(1e-12, 1),
        ),
    )
)
def test_what_is_dumped_is_read_back_equal(tmp_path_factory: object, config: Settings) -> None:
    file = tmp_path_factory.mktemp("dump") / "a.yaml"  # type: ignore[attr-defined]
    file.write_text(dump(config), encoding="utf-8")
    assert resolve(Settings, yaml_path=file) == config
    assert yaml.safe_load(dump(config)) == to_dict(config)


@dataclass(frozen=True)
class Table:
    options: Mapping[str, Mapping[str, Any]] | None = setting(None, help="by system")


def test_names_and_values_of_ones_own() -> None:
    assert resolve(Table).options is None
    made = resolve(Table, overrides=["options={EWC: {weight: 3, mode: last}, MSPT: {}}"])
    assert made.options == {"EWC": {"weight": 3, "mode": "last"}, "MSPT": {}}
    assert yaml.safe_load(dump(made)) == {"options": made.options}
    for wrong in ("options=3", "options={EWC: 3}", "options={3: {weight: 3}}"):
        with pytest.raises(
            ConfigError, match="'options' must be names and values, each value names"
        ):
            resolve(Table, overrides=[wrong])


def test_an_override_of_one_entry_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "table.yaml"
    path.write_text("options: {EWC: {weight: 3, mode: last}, MSPT: {alpha: 1}}\n")
    made = resolve(Table, yaml_path=path, overrides=["options={EWC: {weight: 7}}"])
    assert made.options == {"EWC": {"weight": 7, "mode": "last"}, "MSPT": {"alpha": 1}}
    assert resolve(Table, yaml_path=path, overrides=["options=null"]).options is None


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("seeds=010", "seeds", (10,)),  # to YAML 1.1 it is 8
        ("seeds=[0x10, 0o17]", "seeds", (16, 15)),
        ("name=no", "name", "no"),
        ("name=2020-13-45", "name", "2020-13-45"),
        ("name=1:30", "name", "1:30"),
        ("order=no,NO", "order", ("no", "NO")),
    ],
)
def test_values_are_those_of_yaml_1_2(override: str, key: str, value: object) -> None:
    assert getattr(resolve(Settings, overrides=[override]), key) == value


HUGE = "1" * 400


@pytest.mark.parametrize(
    ("override", "fragment"),
    [
        ("training.lr=1:30", "'training.lr' must be a number, got '1:30'"),
        ("training.lr='1_000'", "must be a number"),
        (f"training.lr={HUGE}", "must be a number"),
        (f"training.lr={HUGE}1", "a number of 401 digits"),
        ("training.shuffle=no", "must be true or false, got 'no'"),
        ("seeds=0,[1", "a list, each item a whole number, got '0,[1'"),
        ("seeds=2020-13-45", "each item a whole number"),
        (f"seeds={2**63}", "must be at most 9223372036854775807"),
        ("seeds=" + "[" * 100_000, "more than 32 levels"),
        ("seeds=" + "[" * 30 + "]" * 30, "each item a whole number"),
        ("name=!!timestamp 2020-13-45", "could not determine a constructor"),
        ("name=!!int 1:30", "'1:30' is not of the kind int"),
        ("name=[&a x, *a]", "found the alias *a; write the value out"),
        ('name="a\\0b"', "no NUL"),
        ('name="\\ud800"', "no NUL, no bytes that are not UTF-8"),
        ("name=\udcff", "the value is not YAML"),
        ('name="\\UFFFFFFFF"', "the value is not YAML"),
    ],
)
def test_what_yaml_would_take_for_something_else_is_one_mistake(
    override: str, fragment: str
) -> None:
    (problem,) = mistakes(override)
    assert fragment in problem
    assert len(problem) < 500


def test_a_text_of_a_flag_must_be_writable() -> None:
    (problem,) = mistakes(flags={"name": "\udcff"})
    assert problem.startswith("--name: 'name' must be text that can stand in a file")


def test_a_key_may_be_given_once_by_every_source(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("name: a\nname: b\ntraining: {lr: 1}\ntraining.lr: 2\ntraining: {epochs: 1}\n")
    assert mistakes("device=cpu", "device=cuda", yaml_path=file) == (
        f"{file}:2: key 'name' was set in line 1",
        f"{file}:5: key 'training' was set in line 3",
        "override 'device=cuda': 'device' was given before; give it once",
    )
    file.write_text("training: {lr: 1}\ntraining.lr: 2\n")
    assert mistakes(yaml_path=file) == (f"{file}:2: key 'training.lr' was set in line 1",)


def test_entries_of_one_name_are_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("options:\n  EWC:\n    weight: 3\n    weight: 4\n")
    with pytest.raises(ConfigError) as caught:
        resolve(Table, yaml_path=file, overrides=["options={MSPT: {}, MSPT: {alpha: 1}}"])
    assert caught.value.problems == (
        f"{file}:4: key 'weight' was set in line 3",
        "override 'options={MSPT: {}, MSPT: {alpha: 1}}': key 'MSPT' is there twice",
    )


@pytest.mark.timeout(60)
def test_an_alias_bomb_a_fifo_and_an_endless_file_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 30))]
    file.write_text("\n".join(lines))
    assert mistakes(yaml_path=file) == (
        f"{file}:2: not YAML (found the alias *a0; write the value out)",
    )
    os.mkfifo(tmp_path / "fifo")
    assert "found a named pipe" in mistakes(yaml_path=tmp_path / "fifo")[0]
    assert "found a device" in mistakes(yaml_path="/dev/zero")[0]
    file.write_bytes(b"# " + b"x" * 2**18)
    assert "at most 262,144 bytes" in mistakes(yaml_path=file)[0]
    assert "cannot be read (File name too long)" in mistakes(yaml_path="x" * 5000)[0]
    assert "embedded null byte" in mistakes(yaml_path="x\0")[0]


@pytest.mark.parametrize("text", ["no", "3e-5", "0o17", "010", "1:30", "null", "~", "", "a\0b"])
def test_text_is_dumped_as_text_for_readers_of_either_yaml(text: str) -> None:
    made = Table({"EWC": {"mode": text}, "MSPT": {"mode": text}})
    assert parse(dump(made)).data == yaml.safe_load(dump(made)) == {"options": made.options}


def test_what_is_given_twice_in_memory_is_dumped_twice() -> None:
    shared = {"weight": 3}
    made = Table({"EWC": shared, "MSPT": shared})
    assert parse(dump(made)).data == {"options": made.options}
