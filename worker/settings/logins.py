"""Find logins that would wait for a token for ever, and logins that protect less than they seem to."""

from collections.abc import Iterator
from typing import NamedTuple

from worker.settings.groups import KafkaSettings
from worker.settings.kafka import Client, Config, properties_of

_METHOD, _UNSECURED = "sasl.oauthbearer.method", "enable.sasl.oauthbearer.unsecure.jwt"
_URL, _METADATA = "sasl.oauthbearer.token.endpoint.url", "sasl.oauthbearer.metadata.authentication.type"
_ID = ("sasl.oauthbearer.client.id", "sasl.oauthbearer.client.credentials.client.id")
_SECRET = ("sasl.oauthbearer.client.secret", "sasl.oauthbearer.client.credentials.client.secret")
_ASSERTION = (
    "sasl.oauthbearer.assertion.private.key.file",
    "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.assertion.file",
)
_CLIENTS: dict[Client, str] = {"consumer": "the consumer", "producer": "the producer", None: "the admin client"}


class TokenFault(NamedTuple):
    """What is wrong with the token source of OAUTHBEARER.

    Attributes:
        got: The properties with their values, without secrets.
        wants: Completes "wants ...".
    """

    got: str
    wants: str


def token_faults(kafka: KafkaSettings) -> Iterator[TokenFault]:
    """Yield a fault for the clients that have no token source.

    Without a token source librdkafka asks a callback that the worker does not have, and waits for ever without a
    log line (librdkafka issue 3871). A property that is set is not always a source: ``default`` and ``false`` are
    not.
    """
    found: dict[TokenFault, list[str]] = {}
    for client, name in _CLIENTS.items():
        if fault := _token_fault(properties_of(kafka, client)):
            found.setdefault(fault, []).append(name)
    for fault, names in found.items():
        of = "" if len(names) == len(_CLIENTS) else f" for {' and '.join(names)}"
        yield fault._replace(got=fault.got + of)


def _token_fault(properties: Config) -> TokenFault | None:
    method, unsecured = _word(properties, _METHOD, "default"), _word(properties, _UNSECURED, "false")
    is_unsecured = _is_true(unsecured)
    got = f"{_METHOD}={method} and {_UNSECURED}={unsecured}"
    if method != "oidc":
        wants = (
            f"a token source for OAUTHBEARER: {_METHOD}=oidc with {_URL}, {_ID[0]} and {_SECRET[0]}, or for "
            f"tests {_UNSECURED}=true. IAM of Amazon MSK is not supported, because it needs a callback in code: "
            "use SCRAM or mutual TLS there"
        )
        return None if is_unsecured else TokenFault(got, wants)
    if is_unsecured:
        return TokenFault(got, f"only one token source: {_UNSECURED} or {_METHOD}=oidc")
    metadata = _word(properties, _METADATA, "none")
    if metadata == "aws_iam":
        wants = f"none or azure_imds as {_METADATA}: librdkafka has no token source for aws_iam"
        return TokenFault(f"{_METADATA}={metadata}", wants)
    missing = [" or ".join(names) for names in _needed(properties, metadata) if not _any(properties, names)]
    return (
        TokenFault(f"{_METHOD}=oidc without {', '.join(missing)}", "everything that oidc needs")
        if missing
        else None
    )


def _needed(properties: Config, metadata: str) -> list[tuple[str, ...]]:
    """Return what oidc needs: one property of each tuple."""
    if metadata == "azure_imds":
        return [(_URL, "sasl.oauthbearer.config")]
    if _word(properties, "sasl.oauthbearer.grant.type", "").endswith("jwt-bearer"):
        return [(_URL,), _ASSERTION]
    return [(_URL,), _ID, _SECRET]


def login_warnings(kafka: KafkaSettings) -> Iterator[str]:
    """Yield a warning for each allowed setting that exposes a login or the chat to the network."""
    protocol, mechanism = kafka.security_protocol, kafka.sasl_mechanism
    of_clients = [properties_of(kafka, client) for client in _CLIENTS]
    if protocol == "SASL_PLAINTEXT" and mechanism in {"PLAIN", "OAUTHBEARER"}:
        secret = "the password" if mechanism == "PLAIN" else "the token"
        yield (
            f"WORKER_KAFKA__SECURITY_PROTOCOL=SASL_PLAINTEXT with WORKER_KAFKA__SASL_MECHANISM={mechanism} sends "
            f"{secret} in clear text over the network: use SASL_SSL"
        )
    if protocol.endswith("SSL"):
        name = "enable.ssl.certificate.verification"
        if any(_word(one, name, "true") in {"false", "f", "0"} for one in of_clients):
            yield _property_warning(
                f"{name}=false: the worker does not check the brokers' certificates, so anyone on the network can "
                "act as a broker. Remove the property, and name the authority in WORKER_KAFKA__SSL_CA_LOCATION"
            )
        name = "ssl.endpoint.identification.algorithm"
        if any(_word(one, name, "https") == "none" for one in of_clients):
            yield _property_warning(
                f"{name}=none: the worker does not check that a certificate was made for the broker's host name, "
                "so it accepts any certificate of the same authority. Remove the property, and use a "
                "certificate for each host"
            )
    if mechanism == "OAUTHBEARER":
        if any(_is_true(_word(one, _UNSECURED, "false")) for one in of_clients):
            yield _property_warning(
                f"{_UNSECURED}=true: the tokens are not signed, so anyone can log in as any user. Use it "
                "only for tests"
            )
        if any(_word(one, _URL, "").startswith("http://") for one in of_clients):
            yield _property_warning(
                f"{_URL} begins with http://: the client's secret goes over the network in clear text. Use https://"
            )


def _property_warning(text: str) -> str:
    return f"WORKER_KAFKA__PROPERTIES: {text}"


def _word(properties: Config, name: str, default: str) -> str:
    """Return a value in lower case, because librdkafka compares words without regard to case."""
    return str(properties.get(name, default)).lower()


def _is_true(word: str) -> bool:
    return word in {"true", "t", "1"}


def _any(properties: Config, names: tuple[str, ...]) -> bool:
    return any(str(properties.get(name, "")) for name in names)
