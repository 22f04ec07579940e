"""Which settings to look at when a broker won't let us in."""

_LOGIN = "WORKER_KAFKA__SECURITY_PROTOCOL, SASL_MECHANISM, SASL_USERNAME, SASL_PASSWORD"
_TLS = "WORKER_KAFKA__SSL_CA_LOCATION, SSL_CERTIFICATE_LOCATION, SSL_KEY_LOCATION"
_BY_CODE = {"_AUTHENTICATION": _LOGIN, "SASL_AUTHENTICATION_FAILED": _LOGIN, "_SSL": _TLS}


def settings_to_look_at(code: str, text: str) -> str:
    """Names settings; none if the error is of another kind.

    Since TLS 1.3 a broker says only after the handshake, by an alert, that it wants another certificate than ours,
    or one at all: librdkafka calls that a transport error, and would try for ever.

    Args:
        code: librdkafka's name of the error.
        text: What librdkafka says.
    """
    return _TLS if code == "_TRANSPORT" and "SSL alert" in text else _BY_CODE.get(code, "")
