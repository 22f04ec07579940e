"""How a client logs in to Kafka, and which settings to check when a broker refuses the login."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LOGIN_CODES = frozenset({"_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """The settings with which a client reaches the brokers, for messages. It holds no secret.

    An empty value means that the setting is not set.

    Attributes:
        servers: ``WORKER_KAFKA__BOOTSTRAP_SERVERS``.
        protocol: ``WORKER_KAFKA__SECURITY_PROTOCOL``.
        mechanism: ``WORKER_KAFKA__SASL_MECHANISM``.
        username: ``WORKER_KAFKA__SASL_USERNAME``.
        ca: ``WORKER_KAFKA__SSL_CA_LOCATION``.
        certificate: ``WORKER_KAFKA__SSL_CERTIFICATE_LOCATION``.
        key: ``WORKER_KAFKA__SSL_KEY_LOCATION``.
    """

    servers: str
    protocol: str
    mechanism: str
    username: str
    ca: str
    certificate: str
    key: str

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Login":
        """Return the login that librdkafka's properties describe."""
        return cls(
            servers=config.get("bootstrap.servers", ""),
            protocol=config.get("security.protocol", "PLAINTEXT"),
            mechanism=config.get("sasl.mechanism", ""),
            username=config.get("sasl.username", ""),
            ca=config.get("ssl.ca.location", ""),
            certificate=config.get("ssl.certificate.location", ""),
            key=config.get("ssl.key.location", ""),
        )

    def settings_to_look_at(self, code: str, text: str) -> str:
        """Return the settings to check, with their values, or an empty string if the error is not about the login.

        Since TLS 1.3, a broker refuses a missing or wrong client certificate only after the handshake, by an alert.
        librdkafka reports that as a transport error, and would retry without end.

        Args:
            code: librdkafka's name of the error.
            text: librdkafka's message.
        """
        if code == "_SSL" or (code == "_TRANSPORT" and "SSL alert" in text):
            return (
                f"WORKER_KAFKA__SSL_CA_LOCATION ({_shown(self.ca)}), SSL_CERTIFICATE_LOCATION "
                f"({_shown(self.certificate)}) and SSL_KEY_LOCATION ({_shown(self.key)})"
            )
        if code not in _LOGIN_CODES:
            return ""
        how = f"WORKER_KAFKA__SECURITY_PROTOCOL ({self.protocol}), SASL_MECHANISM ({_shown(self.mechanism)})"
        if self.mechanism == "OAUTHBEARER":
            return f"{how} and sasl.oauthbearer.* in WORKER_KAFKA__PROPERTIES"
        return f"{how}, SASL_USERNAME ({_shown(self.username)}) and SASL_PASSWORD"

    @property
    def way(self) -> str:
        """Return the settings that lead to a broker, with their values."""
        return (
            f"WORKER_KAFKA__BOOTSTRAP_SERVERS ({_shown(self.servers)}) and WORKER_KAFKA__SECURITY_PROTOCOL "
            f"({self.protocol})"
        )


def _shown(value: str) -> str:
    return value or "not set"
