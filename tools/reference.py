"""Writer of docs/reference: pages and a picture made from the code. A test compares them with what is committed.

python -m tools.reference           write docs/reference
python -m tools.reference --check   list the files that are out of date; exit 1 if there are any
"""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import json
import re
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

import penstock
from penstock.schemas.encoding.record_types import COMMANDS, EVENTS, RECORDS
from penstock.schemas.failure import Cause, Failure
from penstock.schemas.values.bounds import ActivityBounds
from penstock.schemas.values.retry import RetryPolicy
from penstock.schemas.values.schedule_spec import ScheduleSpec
from tools import features, import_graph, import_picture, mutants, reliability
from tools.public_names import ALIASES, CONSTANTS, DECORATORS, GIVEN, INSIDE, PYTHON

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
NOTICE = "<!-- Written by `make reference` from {source}; edit that instead. -->"


def main() -> int:
    """Write the files, or compare them."""
    stale = [name for name, text in pages() if _committed(name) != text]
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"docs/reference/{name} is out of date: run `make reference`", file=sys.stderr)
        return 1 if stale else 0
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages():
        (REFERENCE / name).write_text(text, "utf-8")
        print(f"wrote docs/reference/{name}")
    return 0


def pages() -> Iterator[tuple[str, str]]:
    """File name and text of every page, and of the picture."""
    for name, (source, write) in PAGES.items():
        title, _, body = "\n".join(write()).partition("\n")
        yield name, f"{title}\n\n{NOTICE.format(source=source)}\n{body}\n"
    modules = import_graph.module_imports()
    drawing = import_picture.picture(import_graph.room_imports(modules), import_graph.inner_packages(modules))
    yield "imports.svg", f"{NOTICE.format(source='the imports of the package')}\n{drawing}"


def _committed(name: str) -> str:
    path = REFERENCE / name
    return path.read_text("utf-8") if path.exists() else ""


def _row(*cells: str) -> str:
    """A row of a table; a bar inside a cell would end the cell."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


# --- topics ------------------------------------------------------------------------------------------------------


def topics_page() -> Iterator[str]:
    """The catalogue, as a table and with settings."""
    from penstock.topics import catalogue
    from penstock.topics.partitioner import murmur2

    kinds = [*catalogue.KINDS, catalogue.TASKS]
    yield "# Topics"
    yield ""
    yield (
        "The topics are a public interface: their names, keys, partitioning, records and retention change only with a "
        "new version. A name is `<prefix>.<namespace>.<topic>`, by default `penstock.default.commands`. "
        f"P is the number of shards: {catalogue.SHARDS_KAFKA} on Kafka and {catalogue.SHARDS_EMBEDDED} on the embedded "
        "log by default, fixed when the topics are made and recorded in `registry`."
    )
    yield ""
    yield (
        "Where the key is the workflow id, the partition is `(murmur2(key) & 0x7fffffff) mod P`, which is what Java's "
        f'default partitioner does: `murmur2("order-1")` is {murmur2(b"order-1")}. Processors write in transactions: '
        "read with `isolation.level=read_committed`."
    )
    yield from ("", "| topic | holds | written by | key | partitions | kept |", "|---|---|---|---|---|---|")
    for kind in kinds:
        cells = (f"`{kind.name}`", kind.purpose, kind.writers, kind.key, _partitions(kind), kind.kept)
        yield _row(*cells)
    yield from ("", "## Records", "", "| topic | records |", "|---|---|")
    for kind in kinds:
        yield f"| `{kind.name}` | {', '.join(_record_link(name) for name in kind.records)} |"
    yield from _topic_settings()
    yield from ("", "## Limits", "")
    yield f"- A record that Penstock writes, key and value encoded: {catalogue.RECORD_BYTES_MAX:,} bytes."
    yield f"- A record of any producer, with all that Kafka adds: {catalogue.MESSAGE_BYTES_MAX:,} bytes."


def _topic_settings() -> Iterator[str]:
    from penstock.topics.catalogue import Topics, specs

    yield from ("", "## Settings", "")
    yield (
        "`penstock topics apply` makes the topics with these settings, and `verify` compares. "
        "`min.insync.replicas` is one less than the number of replicas, at least 1."
    )
    yield from ("", "| topic | settings |", "|---|---|")
    for spec in specs(Topics(), 1, ("QUEUE",)):
        name = spec.name.removeprefix("penstock.default.").replace("QUEUE", "<queue>")
        settings = {key: value for key, value in spec.config.items() if key != "min.insync.replicas"}
        yield f"| `{name}` | {', '.join(f'`{key}={value}`' for key, value in settings.items())} |"


def _partitions(kind: Any) -> str:
    if not kind.per_shard:
        return str(kind.fixed)
    return "P" if kind.per_shard == 1 else f"{kind.per_shard} P"


def _record_link(name: str) -> str:
    return f"[{name}](records.md#{name.lower()})" if " " not in name else name


# --- records -----------------------------------------------------------------------------------------------------

SECTIONS: dict[str, str | tuple[type[msgspec.Struct], ...]] = {
    "Commands: the topic `commands`": tuple(COMMANDS.values()),
    "Tasks and results: the topics `tasks.<queue>` and `results`": "tasks",
    "Decisions: the topic `events`": "decisions",
    "Events: what `DecisionRecorded.events` holds, and a history shows": tuple(EVENTS.values()),
    "Completions: the topic `completions`": "completions",
    "Replies: the topic `replies`": "replies",
    "Dead letters: the topic `dead-letters`": "dead_letters",
    "Registry: the topic `registry`": "registry",
    "Inside other records": (Failure, Cause, RetryPolicy, ActivityBounds, ScheduleSpec),
}
"""Title to records, or to the module of schemas/records that has them."""


def records_page() -> Iterator[str]:
    """Every record with its fields, fingerprint and JSON form."""
    yield "# Records"
    yield ""
    yield (
        "Every record is Avro in single-object encoding: `C3 01`, the schema's fingerprint (CRC-64-AVRO, eight bytes, "
        "little-endian), the body. The schemas are in `schemas/avro/`, in the namespace `penstock`. Fields of type "
        "`bytes` named `input`, `result` or `value` hold JSON. Times end in `_ms`: milliseconds since 1970 UTC."
    )
    for title, found in SECTIONS.items():
        yield from ("", f"## {title}")
        for record in _records_of(found) if isinstance(found, str) else found:
            yield from _record(record.__name__)
    yield from _json_commands()


def _records_of(module: str) -> list[type[msgspec.Struct]]:
    found = importlib.import_module(f"penstock.schemas.records.{module}")
    return [kind for kind in RECORDS.values() if kind.__module__ == found.__name__]


def _record(name: str) -> Iterator[str]:
    path = ROOT / "schemas" / "avro" / f"{name}.avsc"
    if not path.exists():
        return
    schema = json.loads(path.read_text("utf-8"))
    yield from (
        "",
        f"### {name}",
        "",
        f"{schema['doc']} Fingerprint, as it stands on the wire: `{_fingerprint(schema)}`.",
        "",
    )
    if not schema["fields"]:
        yield "No fields."
        return
    yield from ("| field | type | default |", "|---|---|---|")
    for field in schema["fields"]:
        default = f"`{json.dumps(field['default'])}`" if "default" in field else ""
        yield _row(f"`{field['name']}`", _type_name(field["type"]), default)


def _fingerprint(schema: Any) -> str:
    from fastavro.schema import fingerprint, to_parsing_canonical_form

    return str(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


def _type_name(declared: Any) -> str:
    if isinstance(declared, list):
        return " or ".join(_type_name(each) for each in declared)
    if isinstance(declared, str):
        return f"`{declared}`" if declared.islower() else f"[{declared}](#{declared.lower()})"
    if declared["type"] == "map":
        return f"map of {_type_name(declared['values'])}"
    if declared["type"] == "array":
        return f"array of {_type_name(declared['items'])}"
    return f"[{declared['name']}](#{declared['name'].lower()})"


def _json_commands() -> Iterator[str]:
    from penstock.schemas.encoding.json_command import JSON_COMMANDS

    yield from ("", "## Commands as JSON", "")
    yield (
        "`commands` also takes one JSON object a record, recognised by its first byte `{`. `command` is by default "
        "`StartWorkflow`; other keys than these are refused, so that a misspelt one is noticed. "
        "[Foreign producers](../guides/foreign-producers.md) shows how to send them."
    )
    yield from ("", "| `command` | needed keys | further keys |", "|---|---|---|")
    for name, keys in JSON_COMMANDS.items():
        needed = ", ".join(f"`{key}`" for key, meaning in keys.items() if meaning.required)
        further = ", ".join(f"`{key}`" for key, meaning in keys.items() if not meaning.required)
        yield f"| `{name}` | {needed} | {further} |"


# --- settings ----------------------------------------------------------------------------------------------------


def settings_page() -> Iterator[str]:
    """Every setting with its flag, variable and default."""
    from penstock.config import fields

    yield "# Settings"
    yield ""
    yield (
        "The command line takes precedence over the environment, that over `[tool.penstock]` in `pyproject.toml` of "
        "the working directory, that over the default. An invalid setting ends the program with an error message."
    )
    yield from ("", "| key | environment | meaning | default |", "|---|---|---|---|")
    for name, variable, meaning, default in fields():
        yield _row(f"`{name}`", f"`{variable}`", meaning, f"`{default}`" if default != "" else "empty")


# --- errors ------------------------------------------------------------------------------------------------------


def errors_page() -> Iterator[str]:
    """The error tree, then each class, then the short names."""
    from penstock.schemas import errors

    tree = inspect.cleandoc((errors.__doc__ or "").partition("\n\n")[2])
    yield "# Errors"
    yield ""
    yield "One tree, importable from `penstock`."
    yield from ("", "```", tree, "```")
    yield from ("", "| error | under | when |", "|---|---|---|")
    for name, error in vars(errors).items():
        if inspect.isclass(error) and issubclass(error, errors.PenstockError) and not name.startswith("_"):
            yield _row(f"`{name}`", _parent(error), " ".join((inspect.getdoc(error) or "").split()))
    yield from ("", "## Short names", "")
    yield "An event has the same name; `except` takes either name of the error."
    yield from ("", "| short name | error |", "|---|---|")
    for name, full_name in _short_names():
        yield _row(f"`{name}`", f"`{full_name}`")


def _short_names() -> Iterator[tuple[str, str]]:
    """Public names of errors that are not the class's own name."""
    for name in penstock.__all__:
        found = getattr(penstock, name)
        if inspect.isclass(found) and found.__name__ != name:
            yield name, found.__name__


def _parent(error: type[BaseException]) -> str:
    named = [base for base in error.__mro__[1:] if not base.__name__.startswith("_")]
    return f"`{named[0].__name__}`"


# --- command line ------------------------------------------------------------------------------------------------


def cli_page() -> Iterator[str]:
    """Every command with its arguments and options, the common flags once, the exit codes."""
    from penstock.cli.command import GLOBAL
    from penstock.cli.exit_codes import EPILOG
    from penstock.cli.root import penstock as root

    yield "# Command line"
    yield ""
    yield f"{root.help} `python -m penstock` is the same. A failure prints one sentence on stderr."
    context = click.Context(root, info_name="penstock")
    common: set[str | None] = {"help", *(option.name for option in _options_of(GLOBAL))}
    for name in root.list_commands(context):
        yield from _command(root.commands[name], f"penstock {name}", common)
    yield from ("", "## Flags of every command", "", *_option_table(_options_of(GLOBAL)))
    codes = re.findall(r"^  (\d+) +(.+)$", EPILOG, flags=re.MULTILINE)
    yield from ("", "## Exit codes", "", "| code | meaning |", "|---|---|")
    yield from (f"| {code} | {meaning} |" for code, meaning in codes)


def _command(command: click.Command, path: str, common: set[str | None]) -> Iterator[str]:
    if isinstance(command, click.Group):
        yield from ("", f"## {path}", "", *inspect.cleandoc(command.help or "").splitlines())
        for name, inner in command.commands.items():
            yield from _command(inner, f"{path} {name}", common)
        return
    arguments = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    options = [
        option
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden and option.name not in common
    ]
    usage = " ".join([path, *(argument.make_metavar(click.Context(command)) for argument in arguments)])
    yield from ("", f"## {path}", "", f"`{usage}{' [OPTIONS]' if options else ''}`", "")
    yield from inspect.cleandoc(command.help or "").replace("\b\n", "").splitlines()
    if options:
        yield from ("", *_option_table(options))


def _options_of(decorators: Sequence[Callable[..., Any]]) -> list[click.Option]:
    """The options that these decorators add."""

    def bare() -> None: ...

    for decorator in reversed(decorators):
        decorator(bare)
    return [option for option in click.command()(bare).params if isinstance(option, click.Option)]


def _option_table(options: Sequence[click.Option]) -> Iterator[str]:
    yield from ("| option | meaning | default |", "|---|---|---|")
    for option in options:
        name = ", ".join(option.opts)
        value = (
            ""
            if option.is_flag
            else f" {option.make_metavar(click.Context(click.Command('x'))).replace('INTEGER RANGE', 'N')}"
        )
        default = f"`{option.default}`" if option.show_default and option.default is not None else ""
        yield _row(f"`{name}{value}`", option.help or "", default)


# --- Python ------------------------------------------------------------------------------------------------------

SIGNATURE_WIDTH_MAX = 100


def python_page() -> Iterator[str]:
    """Every public name but the errors, with its signature and docstring, grouped."""
    yield "# Python"
    yield ""
    yield (
        "Everything is imported from `penstock`; `TestEngine` alone from `penstock.testing`. A class shown without "
        "parentheses is not made by hand: a name above it gives it. `R` and `T` are your own types, as you annotated "
        "them. [Errors](errors.md) have a page of their own; they are imported from `penstock` too."
    )
    for title, about, names in PYTHON:
        yield from ("", f"## {title}", "", about, "", " · ".join(_links(names)))
        for name in names:
            yield from _python(*_found(name))
    yield from ("", "## Types in the signatures", "", "| name | stands for | meaning |", "|---|---|---|")
    for name in ALIASES:
        yield _row(*_alias(name))
    yield _row("`Call[R]`", "a call of a workflow or activity", "Nothing happens before it is awaited or started.")


def _links(names: Sequence[str]) -> list[str]:
    """A link to each name's heading; `Info` stands right below `info`, whose anchor would be the same."""
    short = [name.rpartition(".")[2] for name in names]
    return [f"[{name}](#{name.lower()})" for name in short if name.islower() or name.lower() not in short]


def _found(name: str) -> tuple[str, Any]:
    """The short name, and what it names."""
    module, _, short = name.rpartition(".")
    return short, getattr(importlib.import_module(module or "penstock"), short)


def _python(name: str, found: Any) -> Iterator[str]:
    yield from ("", f"### {name}", "", "```python")
    if isinstance(found, tuple):
        yield from (f"{name} = ({', '.join(kind.__name__ for kind in found)})", "```", "", CONSTANTS[name])
        return
    if inspect.isclass(found):
        yield from _class_lines(name, found)
    elif not callable(found):  # an object such as the logger
        yield f"{name}: {type(found).__name__}"
    elif name in DECORATORS:
        yield from (f"@{name}", *_signature(f"@{name}", found, skip=1, returns=False))
    else:
        yield from _callable_lines(name, found)
    yield from ("```", "", *_docstring(found))
    if inspect.isclass(found) or not callable(found):
        yield from _members(name, found if inspect.isclass(found) else type(found))


def _class_lines(name: str, found: type) -> Iterator[str]:
    generic = ", ".join(parameter.__name__ for parameter in getattr(found, "__parameters__", ()))
    shown = f"class {name}[{generic}]" if generic else f"class {name}"
    fields = getattr(found, "__struct_fields__", None) or getattr(found, "_fields", None)
    if fields is not None:
        yield f"{shown}:"
        yield from (f"    {field}: {_short_type(found.__annotations__[field])}" for field in fields)
    elif name in GIVEN:
        yield shown
    else:
        made: Any = found.__init__  # type: ignore[misc]
        for one in typing.get_overloads(made) or (made,):
            yield from _signature(shown, one, skip=1, returns=False)


def _members(name: str, found: type) -> Iterator[str]:
    for word, member in vars(found).items():
        full = f"{name}.{word}"
        if word.startswith("_") or full in INSIDE or word in getattr(found, "__slots__", ()):
            continue
        if isinstance(member, property):
            yield from ("", f"#### {full}", "", "```python")
            assert member.fget is not None
            yield f"{word}: {_short_type(inspect.signature(member.fget).return_annotation)}"
        elif inspect.isfunction(member):
            yield from ("", f"#### {full}", "", "```python", *_callable_lines(word, member, skip=1))
        else:
            continue
        yield from ("```", "", *_docstring(member))


def _callable_lines(name: str, found: Any, skip: int = 0) -> Iterator[str]:
    start = "async def" if inspect.iscoroutinefunction(found) else "def"
    for one in typing.get_overloads(found) or (found,):
        yield from _signature(f"{start} {name}", one, skip=skip)


def _signature(start: str, found: Any, *, skip: int = 0, returns: bool = True) -> Iterator[str]:
    """`start`, the parameters but the first `skip`, and what it gives: on one line, or a parameter a line."""
    signature = inspect.signature(found)
    parameters = list(_parameters(list(signature.parameters.values())[skip:]))
    end = f") -> {_short_type(signature.return_annotation)}" if returns else ")"
    line = f"{start}({', '.join(parameters)}{end}"
    if len(line) <= SIGNATURE_WIDTH_MAX:
        yield line
    else:
        yield from (f"{start}(", *(f"    {parameter}," for parameter in parameters), end)


def _parameters(parameters: Sequence[inspect.Parameter]) -> Iterator[str]:
    """Each as one writes it, with the bare `*` before those that go by name."""
    starred = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
        default = "" if parameter.default is parameter.empty else f" = {_default_text(parameter.default)}"
        yield f"{stars}{parameter.name}: {_short_type(parameter.annotation)}{default}"


def _default_text(default: Any) -> str:
    if isinstance(default, bytes):
        return f"b{json.dumps(default.decode())}"
    if isinstance(default, str):
        return json.dumps(default)
    return repr(default) if not callable(default) else getattr(default, "__name__", repr(default))


def _short_type(annotation: Any) -> str:
    """The annotation as the source has it, without the modules before names."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__forward_arg__", "")
    assert text, f"an annotation that is no text: {annotation!r}"
    return re.sub(r"\b[a-z_]\w*\.(?=\w)", "", text)


def _docstring(found: Any) -> list[str]:
    assert found.__doc__, f"{found!r} is public and has no docstring"
    return inspect.cleandoc(found.__doc__).splitlines()


def _alias(name: str) -> tuple[str, str, str]:
    """Name, definition and meaning of a type alias, as its module's source has them."""
    module, _, short = name.rpartition(".")
    body = ast.parse(inspect.getsource(importlib.import_module(module))).body
    for node, follower in itertools.pairwise(body):
        match node, follower:
            case ast.Assign(targets=[ast.Name(id=target)], value=value), _ if target == short:
                meaning = ast.get_docstring(ast.Module([follower], []))
                return f"`{short}`", f"`{_short_type(ast.unparse(value))}`", " ".join((meaning or "").split())
    raise AssertionError(f"{name} is defined nowhere")


# --- imports -----------------------------------------------------------------------------------------------------


def imports_page() -> Iterator[str]:
    """The picture of the import graph, and a table of all imports between rooms."""
    yield "# Imports"
    yield ""
    yield (
        "The rooms of the package: the packages two levels deep, and the modules that lie directly in one of the five "
        "folders. An arrow goes from the importer to what it imports; its colour is that of the importer's folder. "
        "Imports inside functions and under `if TYPE_CHECKING` count."
    )
    yield ""
    yield "![Imports between the rooms, importers above what they import](imports.svg)"
    yield ""
    yield (
        "An arrow is left out where other arrows lead the same way, and where a room of another folder imports "
        f"`{import_picture.COMMON}`. The table has every import. The contracts are in `pyproject.toml` under "
        "`[tool.importlinter]`; [decision 0012](../decisions/0012-import-linter.md) gives the reasons."
    )
    yield from ("", "| room | imports |", "|---|---|")
    for room, imported in import_graph.room_imports(import_graph.module_imports()).items():
        yield _row(f"`{room}`", ", ".join(f"`{name}`" for name in sorted(imported)) or "nothing of ours")


PAGES: dict[str, tuple[str, Callable[[], Iterator[str]]]] = {
    "topics.md": ("topics/catalogue.py", topics_page),
    "records.md": ("schemas/avro/ and schemas/json_command.py", records_page),
    "settings.md": ("penstock/config.py", settings_page),
    "errors.md": ("schemas/errors.py", errors_page),
    "cli.md": ("penstock/cli/", cli_page),
    "imports.md": ("the imports of the package", imports_page),
    "python.md": ("the docstrings of `penstock.__all__`", python_page),
    "features.md": ("tools/features.toml", features.page),
    "reliability.md": ("tools/mends", reliability.page),
    "mutants.md": ("tools/mutants.toml", mutants.page),
}

if __name__ == "__main__":
    sys.exit(main())
