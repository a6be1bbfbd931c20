"""How is the log kept in Kafka? Through confluent-kafka, behind the contract of `topics/log.py`.

log.py         KafkaLog: opens everything below
settings.py    every librdkafka setting that differs from its default, with the reason
admin.py       topics: what exists, making, configuring, trimming, ends
member.py      one member of a consumer group
reading.py     partitions read by hand; messages into records
transactor.py  transactions, and what may be believed after an error
publisher.py   records outside of transactions
faults.py      Kafka's errors into Penstock's
bounded.py     a thread that waits where librdkafka would wait for ever
"""

from penstock.topics.kafka.log import KafkaLog

__all__ = ["KafkaLog"]
