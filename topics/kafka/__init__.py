"""The log's contract on Kafka, by way of confluent-kafka.

log.py         KafkaLog, which creates the clients below
settings.py    settings of librdkafka clients
admin.py       topics: description, creation, configuration, trimming, ends
member.py      member of a consumer group
reading.py     reading of assigned partitions; conversion of messages
transactor.py  transactions, and their state after an error
publisher.py   records outside of transactions
faults.py      translation of Kafka's errors
bounded.py     thread for calls of librdkafka that have no timeout
"""

from penstock.topics.kafka.log import KafkaLog

__all__ = ["KafkaLog"]
