"""What a server asks for when it refuses (RFC 9110 11.6.1), for est.auth; loaded only then."""

from est.errors import UsageError, missing


def retry(credentials, request):
    """As `retry` of `credentials`, an est.auth.Token or Password."""
    response = request.response
    status = response.status
    if status == 401 or (status == 403 and "Authorization" not in dict(request.headers)):
        return answer(
            credentials, [v for name, v in response.headers if name == "www-authenticate"]
        )


def answer(credentials, challenges):
    """Whether `credentials` knows how to log in, given the list of WWW-Authenticate values.

    Of an empty list it makes one try: some servers name no scheme. Raises UsageError.
    """
    return (_password if hasattr(credentials, "user") else _token)(credentials, parts(challenges))


def parts(challenges):
    """What commas outside quotes separate in WWW-Authenticate values (RFC 9110 5.6.1, 5.6.4).

    One value may hold several challenges: an element begins with a scheme, or is a parameter.
    """
    out = []
    for text in challenges:
        quoted = 0
        for element in text.split(","):
            if quoted:
                element = out.pop() + "," + element
            out.append(element)
            # A backslash takes the next character along, be it a backslash or a quote.
            # Octets: MicroPython keeps short texts for good.
            octets = element.encode().replace(b"\\\\", b"").replace(b'\\"', b"")
            quoted = octets.count(b'"') & 1
    return [element for element in out if element.strip()]


def _token(credentials, challenges):
    sent_before = credentials.ready
    credentials.ready = not challenges or _offered(challenges, "bearer")
    return credentials.ready and not sent_before


def _password(credentials, challenges):
    basic = credentials.basic is not None and (not challenges or _offered(challenges, "basic"))
    if _offered(challenges, "digest"):
        try:
            from est.digest import Digest
        except ImportError as error:
            # Basic would do as well, if it is allowed and offered.
            if not basic:
                raise missing(error)
        else:
            credentials.digest = credentials.digest or Digest(credentials.user, credentials.secret)
    again = credentials.digest and credentials.digest.answer(challenges)
    if again is None and basic:
        # Never the password itself to who asked for a digest before.
        again = not credentials.basic and not (credentials.digest and credentials.digest.given)
        if again and ":" in credentials.user:
            if challenges:
                raise UsageError("Basic takes no user name with a colon")
            again = False
        credentials.basic = again
    return again


def _offered(challenges, scheme):
    for element in challenges:
        if element.lower().split()[:1] == [scheme]:
            return True
    return False
