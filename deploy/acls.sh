#!/bin/sh
# Grant the worker's principal the permissions that it needs, and no others, on a Kafka with ACLs. A second run does no
# harm.
#
#   PRINCIPAL=User:moderation WORKER_KAFKA__BOOTSTRAP_SERVERS=kafka:9093 \
#       COMMAND_CONFIG=admin.properties deploy/acls.sh
#
# The names of topics and group come from the worker's own variables, with the same defaults. Other variables:
#   PRINCIPAL       User: and the SASL user, or the name that the brokers derive from the certificate's subject
#   COMMAND_CONFIG  a file for kafka-acls.sh with the login of an administrator; by default without a login
#   KAFKA_ACLS      the path of the tool; KAFKA_ACLS=echo only shows its arguments
# `moderation-worker check` tests each of these permissions, and prints the same command for a missing one. The topics
# must exist: `moderation-worker topics create` also needs CREATE on them.
set -eu

: "${PRINCIPAL:?is User:NAME}" "${WORKER_KAFKA__BOOTSTRAP_SERVERS:?is host:port}"
group=${WORKER_KAFKA__GROUP_ID:-moderation}
# Each worker has its own transactional id, and so has `check`. The ids of a group begin with the group's name, unless
# you chose other ids.
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
