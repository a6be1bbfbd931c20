"""SyncClient: the methods of Client for programs without asyncio.

An event loop in a private thread runs the asynchronous client; any thread may call.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar, overload

from penstock.client.checks import Wait
from penstock.client.client import IN_FLIGHT_MAX, Client, Started
from penstock.client.reads import Json, JsonList
from penstock.client.run import Run
from penstock.client.sync_schedules import SyncSchedules
from penstock.client.sync_versions import SyncVersions
from penstock.client.update import UpdateHandle
from penstock.config import Settings
from penstock.engine.authoring.class_form import Startable
from penstock.engine.authoring.handlers import Query, QueryMethod, SignalMethod, Update, UpdateMethod
from penstock.engine.authoring.signal import Signal
from penstock.schemas.errors import UserError
from penstock.schemas.records.run import OnExisting
from penstock.schemas.values.attributes import SearchValue
from penstock.schemas.values.call import Call
from penstock.schemas.values.durations import Duration, Moment
from penstock.schemas.values.retry_options import UNSET, Unset
from penstock.topics.log import Log

R = TypeVar("R")
T = TypeVar("T")
U = TypeVar("U")


class SyncClient:
    """`with SyncClient() as client:`; takes the arguments of Client, and raises the same errors."""

    def __init__(
        self,
        url: str | None = None,
        *,
        namespace: str | None = None,
        log: Log | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._client = Client(url, namespace=namespace, log=log, settings=settings)
        self._loop: LoopThread | None = None

    def __enter__(self) -> SyncClient:
        loop = LoopThread()
        try:
            loop.run(self._client.__aenter__())
        except BaseException:
            loop.close()
            raise
        self._loop = loop
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            try:
                loop.run(self._client.__aexit__(kind, error, trace))
            finally:
                loop.close()

    def start(
        self,
        call: Call[R] | Startable[R],
        *,
        id: str | None = None,
        on_existing: OnExisting = "use_existing",
        headers: Mapping[str, str] | None = None,
        start_delay: Duration | None = None,
        run_timeout: Duration | None = None,
        execution_timeout: Duration | None = None,
        retries: int | Unset | None = UNSET,
        backoff: float | Sequence[Duration] | Unset = UNSET,
        memo: Mapping[str, Any] | None = None,
        search: Mapping[str, SearchValue] | None = None,
        version: int | None = None,
        wait: Wait = "accepted",
        timeout: Duration | None = None,
    ) -> SyncRun[R]:
        """As `Client.start`."""
        started = self._client.start(
            call,
            id=id,
            on_existing=on_existing,
            headers=headers,
            start_delay=start_delay,
            run_timeout=run_timeout,
            execution_timeout=execution_timeout,
            retries=retries,
            backoff=backoff,
            memo=memo,
            search=search,
            version=version,
            wait=wait,
            timeout=timeout,
        )
        return SyncRun(self, self.wait(started))

    def execute(
        self,
        call: Call[R] | Startable[R],
        *,
        id: str | None = None,
        on_existing: OnExisting = "use_existing",
        headers: Mapping[str, str] | None = None,
        start_delay: Duration | None = None,
        run_timeout: Duration | None = None,
        execution_timeout: Duration | None = None,
        retries: int | Unset | None = UNSET,
        backoff: float | Sequence[Duration] | Unset = UNSET,
        memo: Mapping[str, Any] | None = None,
        search: Mapping[str, SearchValue] | None = None,
        version: int | None = None,
        timeout: Duration | None = None,
    ) -> R:
        """As `Client.execute`."""
        executed = self._client.execute(
            call,
            id=id,
            on_existing=on_existing,
            headers=headers,
            start_delay=start_delay,
            run_timeout=run_timeout,
            execution_timeout=execution_timeout,
            retries=retries,
            backoff=backoff,
            memo=memo,
            search=search,
            version=version,
            timeout=timeout,
        )
        return self.wait(executed)

    def signal_with_start(
        self,
        signal: Signal[T] | SignalMethod[..., Any] | str,
        value: T | None,
        call: Call[R] | Startable[R],
        *,
        id: str | None = None,
        headers: Mapping[str, str] | None = None,
        start_delay: Duration | None = None,
        run_timeout: Duration | None = None,
        execution_timeout: Duration | None = None,
        retries: int | Unset | None = UNSET,
        backoff: float | Sequence[Duration] | Unset = UNSET,
        memo: Mapping[str, Any] | None = None,
        search: Mapping[str, SearchValue] | None = None,
        version: int | None = None,
        timeout: Duration | None = None,
    ) -> SyncRun[R]:
        """As `Client.signal_with_start`."""
        started = self._client.signal_with_start(
            signal,
            value,
            call,
            id=id,
            headers=headers,
            start_delay=start_delay,
            run_timeout=run_timeout,
            execution_timeout=execution_timeout,
            retries=retries,
            backoff=backoff,
            memo=memo,
            search=search,
            version=version,
            timeout=timeout,
        )
        return SyncRun(self, self.wait(started))

    def update_with_start(
        self,
        update: Update[T, U] | UpdateMethod[[T], U],
        value: T,
        call: Call[R] | Startable[R],
        *,
        id: str | None = None,
        update_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        start_delay: Duration | None = None,
        run_timeout: Duration | None = None,
        execution_timeout: Duration | None = None,
        retries: int | Unset | None = UNSET,
        backoff: float | Sequence[Duration] | Unset = UNSET,
        memo: Mapping[str, Any] | None = None,
        search: Mapping[str, SearchValue] | None = None,
        version: int | None = None,
        timeout: Duration | None = None,
    ) -> U:
        """As `Client.update_with_start`."""
        updated = self._client.update_with_start(
            update,
            value,
            call,
            id=id,
            update_id=update_id,
            headers=headers,
            start_delay=start_delay,
            run_timeout=run_timeout,
            execution_timeout=execution_timeout,
            retries=retries,
            backoff=backoff,
            memo=memo,
            search=search,
            version=version,
            timeout=timeout,
        )
        return self.wait(updated)

    def start_by_name(
        self,
        type: str,
        input: bytes = b"null",
        id: str | None = None,
        *,
        on_existing: OnExisting = "use_existing",
        headers: Mapping[str, str] | None = None,
        start_delay: Duration | None = None,
        run_timeout: Duration | None = None,
        execution_timeout: Duration | None = None,
        retries: int | Unset | None = UNSET,
        backoff: float | Sequence[Duration] | Unset = UNSET,
        memo: Mapping[str, Any] | None = None,
        search: Mapping[str, SearchValue] | None = None,
        version: int | None = None,
        wait: Wait = "accepted",
        timeout: Duration | None = None,
    ) -> SyncRun[Any]:
        """As `Client.start_by_name`."""
        started = self._client.start_by_name(
            type,
            input,
            id,
            on_existing=on_existing,
            headers=headers,
            start_delay=start_delay,
            run_timeout=run_timeout,
            execution_timeout=execution_timeout,
            retries=retries,
            backoff=backoff,
            memo=memo,
            search=search,
            version=version,
            wait=wait,
            timeout=timeout,
        )
        return SyncRun(self, self.wait(started))

    def start_many(
        self,
        starts: Iterable[tuple[str, bytes, str]],
        *,
        in_flight: int = IN_FLIGHT_MAX,
        on_existing: OnExisting = "use_existing",
        headers: Mapping[str, str] | None = None,
        start_delay: Duration | None = None,
        run_timeout: Duration | None = None,
        execution_timeout: Duration | None = None,
        retries: int | Unset | None = UNSET,
        backoff: float | Sequence[Duration] | Unset = UNSET,
        memo: Mapping[str, Any] | None = None,
        search: Mapping[str, SearchValue] | None = None,
        version: int | None = None,
        timeout: Duration | None = None,
    ) -> Iterator[Started]:
        """As `Client.start_many`. `starts` is iterated on the client's thread."""
        outcomes = self._client.start_many(
            starts,
            in_flight=in_flight,
            on_existing=on_existing,
            headers=headers,
            start_delay=start_delay,
            run_timeout=run_timeout,
            execution_timeout=execution_timeout,
            retries=retries,
            backoff=backoff,
            memo=memo,
            search=search,
            version=version,
            timeout=timeout,
        )
        while True:
            try:
                yield self.wait(anext(outcomes))  # type: ignore[arg-type]  # typeshed declares an Awaitable
            except StopAsyncIteration:
                return

    @overload
    def get(self, id: str, *, run_id: str = "") -> SyncRun[Any]: ...
    @overload
    def get(self, id: str, *, returns: type[R], run_id: str = "") -> SyncRun[R]: ...
    def get(self, id: str, *, returns: Any = Any, run_id: str = "") -> SyncRun[Any]:
        """As `Client.get`."""
        return SyncRun(self, self._client.get(id, returns=returns, run_id=run_id))

    def result(self, id: str, *, timeout: Duration | None = None) -> Any:
        """As `Client.result`."""
        return self.wait(self._client.result(id, timeout=timeout))

    def signal(self, id: str, signal: Signal[T] | str, value: T | None = None, *, signal_id: str | None = None) -> None:
        """As `Client.signal`."""
        self.wait(self._client.signal(id, signal, value, signal_id=signal_id))

    def cancel(self, id: str, reason: str = "") -> None:
        """As `Client.cancel`."""
        self.wait(self._client.cancel(id, reason))

    def terminate(self, id: str, reason: str = "") -> None:
        """As `Client.terminate`."""
        self.wait(self._client.terminate(id, reason))

    def unblock(self, id: str, reason: str = "", *, by: str = "") -> None:
        """As `Client.unblock`."""
        self.wait(self._client.unblock(id, reason, by=by))

    def pause(self, id: str, reason: str = "", *, by: str = "") -> None:
        """As `Client.pause`."""
        self.wait(self._client.pause(id, reason, by=by))

    def resume(self, id: str, reason: str = "", *, by: str = "") -> None:
        """As `Client.resume`."""
        self.wait(self._client.resume(id, reason, by=by))

    def skip(self, id: str, activity: str | int, value: Any = None, *, reason: str = "", by: str = "") -> None:
        """As `Client.skip`."""
        self.wait(self._client.skip(id, activity, value, reason=reason, by=by))

    def change_activity(self, id: str, activity: str | int, **changes: Any) -> None:
        """As `Client.change_activity`."""
        self.wait(self._client.change_activity(id, activity, **changes))

    def complete(self, token: str, value: Any = None) -> None:
        """As `Client.complete`."""
        self.wait(self._client.complete(token, value))

    def fail(
        self, token: str, error: str | BaseException, *, retryable: bool = True, retry_after: Moment | None = None
    ) -> None:
        """As `Client.fail`."""
        self.wait(self._client.fail(token, error, retryable=retryable, retry_after=retry_after))

    def heartbeat(self, token: str, details: Any = None) -> None:
        """As `Client.heartbeat`."""
        self.wait(self._client.heartbeat(token, details))

    def reset(self, id: str, *, to_event: int, reason: str = "", of_run: str = "", by: str = "") -> None:
        """As `Client.reset`."""
        self.wait(self._client.reset(id, to_event=to_event, reason=reason, of_run=of_run, by=by))

    def retry(self, id: str, reason: str = "", *, force: bool = False, by: str = "") -> None:
        """As `Client.retry`."""
        self.wait(self._client.retry(id, reason, force=force, by=by))

    def delete(self, id: str, reason: str = "", *, force: bool = False, by: str = "") -> None:
        """As `Client.delete`."""
        self.wait(self._client.delete(id, reason, force=force, by=by))

    def export_run(self, id: str, *, run_id: str = "") -> Json:
        """As `Client.export_run`."""
        return self.wait(self._client.export_run(id, run_id=run_id))

    def import_run(self, exported: Mapping[str, Any], *, reason: str = "", by: str = "") -> SyncRun[Any]:
        """As `Client.import_run`."""
        return SyncRun(self, self.wait(self._client.import_run(exported, reason=reason, by=by)))

    def describe(self, id: str) -> Json:
        """As `Client.describe`."""
        return self.wait(self._client.describe(id))

    def history(self, id: str) -> JsonList:
        """As `Client.history`."""
        return self.wait(self._client.history(id))

    def list(
        self, *, status: str | None = None, type: str | None = None, limit: int = 100, after: str = ""
    ) -> JsonList:
        """As `Client.list`."""
        return self.wait(self._client.list(status=status, type=type, limit=limit, after=after))

    @property
    def schedules(self) -> SyncSchedules:
        """As `Client.schedules`."""
        return SyncSchedules(self, self._client.schedules)

    @property
    def versions(self) -> SyncVersions:
        """As `Client.versions`."""
        return SyncVersions(self, self._client.versions)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the asynchronous client and return its result."""
        if self._loop is None:
            work.close()
            raise UserError("this client is not open: use it inside `with SyncClient() as client:`.")
        return self._loop.run(work)


class SyncRun(Generic[R]):
    """A handle on one run; see `Run`."""

    def __init__(self, client: SyncClient, run: Run[R]) -> None:
        self._client, self._run = client, run
        self.id, self.run_id, self.existing, self.note = run.id, run.run_id, run.existing, run.note

    def result(self, timeout: Duration | None = None) -> R:
        """As `Run.result`."""
        return self._client.wait(self._run.result(timeout))

    @overload
    def signal(self, signal: Signal[T] | str, value: T | None = None, /, *, id: str | None = None) -> None: ...
    @overload
    def signal(self, signal: SignalMethod[..., Any], /, *values: Any, id: str | None = None) -> None: ...
    def signal(self, signal: Any, /, *values: Any, id: str | None = None) -> None:
        """As `Run.signal`."""
        self._client.wait(self._run.signal(signal, *values, id=id))

    @overload
    def query(self, query: str, /, *values: Any, timeout: Duration | None = None) -> Any: ...
    @overload
    def query(self, query: Query[U] | QueryMethod[..., U], /, *values: Any, timeout: Duration | None = None) -> U: ...
    def query(self, query: Any, /, *values: Any, timeout: Duration | None = None) -> Any:
        """As `Run.query`."""
        return self._client.wait(self._run.query(query, *values, timeout=timeout))

    @overload
    def update(self, update: str, /, *values: Any, id: str | None = None, timeout: Duration | None = None) -> Any: ...
    @overload
    def update(
        self,
        update: Update[Any, U] | UpdateMethod[..., U],
        /,
        *values: Any,
        id: str | None = None,
        timeout: Duration | None = None,
    ) -> U: ...
    def update(self, update: Any, /, *values: Any, id: str | None = None, timeout: Duration | None = None) -> Any:
        """As `Run.update`."""
        return self._client.wait(self._run.update(update, *values, id=id, timeout=timeout))

    @overload
    def start_update(
        self, update: str, /, *values: Any, id: str | None = None, timeout: Duration | None = None
    ) -> SyncUpdateHandle[Any]: ...
    @overload
    def start_update(
        self,
        update: Update[Any, U] | UpdateMethod[..., U],
        /,
        *values: Any,
        id: str | None = None,
        timeout: Duration | None = None,
    ) -> SyncUpdateHandle[U]: ...
    def start_update(
        self, update: Any, /, *values: Any, id: str | None = None, timeout: Duration | None = None
    ) -> SyncUpdateHandle[Any]:
        """As `Run.start_update`."""
        started = self._run.start_update(update, *values, id=id, timeout=timeout)
        return SyncUpdateHandle(self._client, self._client.wait(started))

    def cancel(self, reason: str = "") -> None:
        """As `Run.cancel`."""
        self._client.wait(self._run.cancel(reason))

    def terminate(self, reason: str = "") -> None:
        """As `Run.terminate`."""
        self._client.wait(self._run.terminate(reason))

    def unblock(self, reason: str = "", *, by: str = "") -> None:
        """As `Run.unblock`."""
        self._client.wait(self._run.unblock(reason, by=by))

    def pause(self, reason: str = "", *, by: str = "") -> None:
        """As `Run.pause`."""
        self._client.wait(self._run.pause(reason, by=by))

    def resume(self, reason: str = "", *, by: str = "") -> None:
        """As `Run.resume`."""
        self._client.wait(self._run.resume(reason, by=by))

    def skip(self, activity: str | int, value: Any = None, *, reason: str = "", by: str = "") -> None:
        """As `Run.skip`."""
        self._client.wait(self._run.skip(activity, value, reason=reason, by=by))

    def change_activity(self, activity: str | int, **changes: Any) -> None:
        """As `Run.change_activity`."""
        self._client.wait(self._run.change_activity(activity, **changes))

    def reset(self, *, to_event: int, reason: str = "", of_run: str = "", by: str = "") -> None:
        """As `Run.reset`."""
        self._client.wait(self._run.reset(to_event=to_event, reason=reason, of_run=of_run, by=by))

    def retry(self, reason: str = "", *, force: bool = False, by: str = "") -> None:
        """As `Run.retry`."""
        self._client.wait(self._run.retry(reason, force=force, by=by))

    def delete(self, reason: str = "", *, force: bool = False, by: str = "") -> None:
        """As `Run.delete`."""
        self._client.wait(self._run.delete(reason, force=force, by=by))

    def describe(self) -> Json:
        """As `Run.describe`."""
        return self._client.wait(self._run.describe())

    def history(self) -> JsonList:
        """As `Run.history`."""
        return self._client.wait(self._run.history())

    def __repr__(self) -> str:
        return repr(self._run)


class SyncUpdateHandle(Generic[R]):
    """An update that was accepted; see `UpdateHandle`."""

    def __init__(self, client: SyncClient, handle: UpdateHandle[R]) -> None:
        self._client, self._handle = client, handle
        self.workflow_id, self.id = handle.workflow_id, handle.id

    def result(self, timeout: Duration | None = None) -> R:
        """As `UpdateHandle.result`."""
        return self._client.wait(self._handle.result(timeout))

    def __repr__(self) -> str:
        return repr(self._handle)


class LoopThread:
    """An event loop that runs in a private thread until closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="penstock-sync-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the loop and return its result; an interrupted wait (Ctrl-C) cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the thread and close the loop."""
        asyncio.run_coroutine_threadsafe(self._loop.shutdown_default_executor(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
