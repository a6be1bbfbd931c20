"""Workflow types: a function with its name, version and options, and what calling a workflow gives."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Generic, Literal, NamedTuple, ParamSpec, Self, TypeVar, get_args

import msgspec

from penstock.engine.core.execution import Rebuilt
from penstock.engine.core.versions import WorkflowTypes
from penstock.engine.execution import guards
from penstock.engine.execution.bugs import CODE_ERRORS, Kinds
from penstock.engine.execution.handlers import Handlers
from penstock.engine.execution.program import Program
from penstock.engine.execution.replayer import rebuild
from penstock.schemas.errors import BadInput, BadName, NotInWorkflow
from penstock.schemas.ids import check_version, check_workflow_id
from penstock.schemas.records.decisions import DecisionRecorded
from penstock.schemas.values.attributes import SearchValue, encode_memo, encode_search
from penstock.schemas.values.call import Call
from penstock.schemas.values.durations import Duration
from penstock.schemas.values.functions import code_of
from penstock.schemas.values.payload import Signature
from penstock.schemas.values.requests import ChildRequest
from penstock.schemas.values.retry_options import UNSET, Unset, gives_retry, run_bounds
from penstock.schemas.values.schedule import Schedule

P = ParamSpec("P")
R = TypeVar("R")

ParentClose = Literal["cancel", "terminate", "abandon"]
"""What the end of a run does to a child that is still open."""

_definitions: WorkflowTypes[WorkflowDefinition[Any, Any]] = WorkflowTypes()


class TypeOptions(NamedTuple):
    """Options of a workflow type. `name`: empty for that of the code.

    `blocks_on`: errors that stand for a bug; a run that they would fail becomes BLOCKED. `waits_for_handlers`: a run
    closes only when handlers of signals and updates that began have ended. `schedule`: processors apply it."""

    name: str = ""
    version: int = 1
    closed_kept_ms: int = 0
    blocks_on: Kinds = CODE_ERRORS
    waits_for_handlers: bool = True
    schedule: Schedule | None = None
    closed_kept_by_status: Mapping[str, int] = {}


class WorkflowCall(Call[R]):
    """A workflow that has not started: await it inside a workflow (a child), or hand it to `client.start`."""

    __slots__ = ("_signature",)

    request: ChildRequest

    def __init__(self, name: str, input: bytes, signature: Signature, *, depth: int = 3) -> None:
        super().__init__(name, ChildRequest(name), input, signature.returns, depth=depth)
        self._signature = signature

    def options(
        self,
        *,
        id: str | None = None,
        run_timeout: Duration | None = None,
        execution_timeout: Duration | None = None,
        retries: int | Unset | None = UNSET,
        backoff: float | Sequence[Duration] | Unset = UNSET,
        parent_close: ParentClose | None = None,
        memo: Mapping[str, Any] | None = None,
        search: Mapping[str, SearchValue] | None = None,
        version: int | None = None,
    ) -> Self:
        """Return a copy of the call under a workflow id of your choice, as a child with these bounds and retries.

        They are those of `Client.start`, which takes them as keywords of its own. `parent_close`: what the end of its
        parent does to a child that is still open (child-workflows.md); by default it is cancelled, and terminated if
        the parent was terminated. `version`: that of the workflow type which the run takes, instead of the one that new
        runs take; a child of the parent's own type takes the parent's by default.

        Raises BadName, BadInput, BadDuration, PayloadTooLarge."""
        asked, bounds = self.request, run_bounds(run_timeout, execution_timeout, retries, backoff)
        if parent_close is not None and parent_close not in get_args(ParentClose):
            raise BadInput(f"parent_close={parent_close!r} is unknown: give one of {', '.join(get_args(ParentClose))}.")
        changed = ChildRequest(
            self.name,
            asked.workflow_id if id is None else check_workflow_id(id),
            bounds.run_timeout_ms or asked.run_timeout_ms,
            bounds.execution_timeout_ms or asked.execution_timeout_ms,
            bounds.retry if gives_retry(retries, backoff) else asked.retry,
            parent_close or asked.parent_close,
            memo=asked.memo if memo is None else encode_memo(memo),
            search=asked.search if search is None else encode_search(search),
            version=asked.version if version is None else check_version(version),
        )
        return self._changed(changed)

    def awaiting_start(self) -> Self:
        """A copy of the call as a child whose start is awaited before its result."""
        return self._changed(msgspec.structs.replace(self.request, awaits_start=True))

    def rewritten(self, input: bytes) -> bytes:
        return self._signature.rewritten(input)

    async def run_outside(self) -> R:
        raise NotInWorkflow(
            f"{self.name}(…) at {self.made_at} is a workflow and can only be awaited inside another one; "
            f"start it with `await client.start({self.name}(…), id=…)`, or in a test with penstock.testing."
        )


class WorkflowDefinition(Generic[P, R]):
    """A workflow type: its name, version and code. Calling it gives a WorkflowCall."""

    def __init__(self, fn: Callable[P, Coroutine[Any, Any, R]], options: TypeOptions) -> None:
        self.fn, self.name, self.version = fn, options.name or fn.__name__, options.version
        self.closed_kept_ms, self.blocks_on = options.closed_kept_ms, options.blocks_on
        self.closed_kept_by_status = options.closed_kept_by_status
        self.waits_for_handlers, self.schedule = options.waits_for_handlers, options.schedule
        self.module = fn.__module__
        self.signature = Signature.of(fn)
        functools.update_wrapper(self, fn)

    @property
    def place(self) -> tuple[str, str]:
        """Qualified name and file of the code: it may be imported both as a script and as a module of a package."""
        return self.fn.__qualname__, code_of(self.fn).co_filename

    def call_without_input(self) -> WorkflowCall[Any]:
        """The call without arguments. Raises BadInput if the workflow needs some."""
        return WorkflowCall(self.name, self.signature.bind((), {}, self.name), self.signature)

    def begun(self, handlers: Handlers, arguments: tuple[Any, ...]) -> Callable[[], Coroutine[Any, Any, Any]]:  # noqa: ARG002 - Code
        """What gives the code of a new run (the Code protocol of execution/code.py)."""
        by_place, by_name = self.signature.handed(arguments)
        return functools.partial(self.fn, *by_place, **by_name)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> WorkflowCall[R]:
        return WorkflowCall(self.name, self.signature.bind(args, kwargs, self.name), self.signature)

    def __repr__(self) -> str:
        return f"<workflow {self.name} version {self.version} of {self.module}>"

    # Definition (engine/core/execution.py).

    @property
    def handlers(self) -> Mapping[str, Sequence[str]]:
        """None: a function registers its handlers itself."""
        return {}

    def check_input(self, data: bytes) -> None:
        """Validate an input (JSON) against the signature, guarded as workflow code is. Raises BadInput."""
        with guards.guarded():
            self.signature.decode(data)

    def canonical_input(self, data: bytes) -> bytes:
        """An input (JSON) as the signature writes it, defaults included. Raises BadInput, PayloadTooLarge."""
        with guards.guarded():
            return self.signature.rewritten(data)

    def begin(self, workflow_id: str, run_id: str, seed: str) -> Program:
        """The execution of a new run."""
        return Program(self, workflow_id, run_id, seed)

    def rebuild(
        self,
        workflow_id: str,
        run_id: str,
        records: Iterable[DecisionRecorded],
        *,
        strict_inputs: bool,
        observed: bool = False,
    ) -> Rebuilt:
        """Repeat a run's history. Raises NonDeterminism, CodeError."""
        return rebuild(self, workflow_id, run_id, records, strict_inputs=strict_inputs, observed=observed)


def register(definition: WorkflowDefinition[Any, Any]) -> None:
    """Make a workflow type known to this process. Raises BadName for a name and version that other code has."""
    known = _definitions.of(definition.name).get(definition.version)
    if known is not None and known.place != definition.place:
        version = "" if definition.version == 1 else f" in version {definition.version}"
        raise BadName(
            f"Two workflows are called {definition.name!r}{version}: one in {known.module}, one in "
            f"{definition.module}; give one of them another name with @workflow(name=…), or another version with "
            "@workflow(version=…)."
        )
    _definitions.add(definition)


def registered_workflows() -> WorkflowTypes[WorkflowDefinition[Any, Any]]:
    """Every workflow defined in this process, in all versions."""
    return _definitions.copied()
