#!/bin/sh
# Grants the worker's principal on a Kafka with ACLs what it needs, and no more; again without harm.
#
#   PRINCIPAL=User:moderation WORKER_KAFKA__BOOTSTRAP_SERVERS=kafka:9093 \
#       COMMAND_CONFIG=admin.properties deploy/acls.sh
#
# The names are those of the worker's own variables, with the same defaults. Besides:
#   PRINCIPAL       User: and the SASL user, or what the brokers make of the certificate's subject
#   COMMAND_CONFIG  how the one who grants logs in: a file for kafka-acls.sh; by default it doesn't
#   KAFKA_ACLS      where the tool is; KAFKA_ACLS=echo only shows its arguments
# `moderation-worker check` tries each of these, and gives the same command for the one that is missing. The topics
# are taken to be there: `moderation-worker topics create` needs CREATE on them besides.
set -eu

: "${PRINCIPAL:?is User:NAME}" "${WORKER_KAFKA__BOOTSTRAP_SERVERS:?is host:port}"
group=${WORKER_KAFKA__GROUP_ID:-moderation}
# Each worker has an id of its own, and `check` one more: those of a group begin with its name, unless you chose
# another beginning.
id=${WORKER_KAFKA__TRANSACTIONAL_ID:-$group}
case $id in "$group"*) id=$group ;; esac

allow() {
    "${KAFKA_ACLS:-kafka-acls.sh}" --bootstrap-server "$WORKER_KAFKA__BOOTSTRAP_SERVERS" \
        ${COMMAND_CONFIG:+--command-config "$COMMAND_CONFIG"} --add --allow-principal "$PRINCIPAL" --operation "$@"
}

for topic in $(echo "${WORKER_KAFKA__INPUT_TOPICS:-chat.messages}" | tr ',' ' '); do
    allow Read --topic "$topic"
done
allow Read --group "$group"
allow Write --transactional-id "$id" --resource-pattern-type prefixed
allow Write --topic "${WORKER_KAFKA__VERDICT_TOPIC:-moderation.verdicts}"
allow Write --topic "${WORKER_KAFKA__ALERT_TOPIC:-moderation.alerts}"
allow Write --topic "${WORKER_KAFKA__DEAD_LETTER_TOPIC:-moderation.dead-letters}"
