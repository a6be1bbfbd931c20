"""Answers to the senders of inputs: replies, reports to parents, dead letters."""

from __future__ import annotations

from typing import Any

import structlog

from penstock.engine.core.decision import Decision, Rejection
from penstock.engine.core.limits import PART_BYTES_MAX
from penstock.engine.core.machines.child import rejected_adoption, rejected_start
from penstock.engine.runtime.encode import Encoder
from penstock.engine.runtime.overlay import Layer
from penstock.schemas.records.child import AdoptChild
from penstock.schemas.records.kinds import NO_REPLY
from penstock.schemas.records.replies import ReadAnswered, Rejected
from penstock.schemas.records.run import StartWorkflow
from penstock.topics.dead_letters import dead_letter
from penstock.topics.log import StoredRecord

logger = structlog.get_logger(__name__)


class Answers:
    """Adds answers to a layer."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def answer(self, layer: Layer, record: StoredRecord, input: Any, decision: Decision) -> None:
        """Reply to the sender of `input` if it asked for a reply; otherwise a refusal becomes a dead letter."""
        if decision.rejection is not None:
            self._refuse(layer, record, input, decision.rejection)
        elif decision.reply is not None and (reply_to := getattr(input, "reply_to", NO_REPLY)) != NO_REPLY:
            self._reply(layer, reply_to, decision.reply)

    def read(self, layer: Layer, record: StoredRecord, command: Any, found: bytes | Rejection) -> None:
        """Reply to a read of rows, in as many records as the answer takes."""
        if isinstance(found, Rejection):
            self._refuse(layer, record, command, found)
            return
        count = max(1, -(-len(found) // PART_BYTES_MAX))
        for number in range(count):
            part = ReadAnswered(
                message_id=command.message_id,
                workflow_id=command.workflow_id,
                shard=self._encoder.shard,
                data=found[number * PART_BYTES_MAX : (number + 1) * PART_BYTES_MAX],
                part=number + 1,
                parts=count,
            )
            self._reply(layer, command.reply_to, part)

    def _reply(self, layer: Layer, reply_to: int, reply: Any) -> None:
        for record in self._encoder.reply(reply_to, reply):
            layer.add(record)

    def _refuse(self, layer: Layer, record: StoredRecord, input: Any, rejection: Rejection) -> None:
        reply_to = getattr(input, "reply_to", NO_REPLY)
        if isinstance(input, StartWorkflow) and input.parent_workflow_id:
            layer.add(self._encoder.command(rejected_start(input, rejection)))
        elif isinstance(input, AdoptChild):
            layer.add(self._encoder.command(rejected_adoption(input, rejection)))
        elif reply_to != NO_REPLY:
            rejected = Rejected(
                message_id=input.message_id,
                workflow_id=input.workflow_id,
                reason=rejection.reason,
                message=rejection.message,
                run_id=rejection.run_id,
            )
            self._reply(layer, reply_to, rejected)
        elif rejection.keep:
            self.dead_letter(layer, record, rejection)

    def dead_letter(self, layer: Layer, record: StoredRecord, rejection: Rejection) -> None:
        """Send an unusable record to `dead-letters`."""
        logger.warning(
            "dead letter",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            reason=rejection.reason,
            message=rejection.message,
        )
        topic = self._encoder.topics.dead_letters
        partitions = self._encoder.partitions(topic) or 1
        layer.add(
            dead_letter(record, rejection.reason, rejection.message, layer.now_ms, topic=topic, partitions=partitions)
        )
