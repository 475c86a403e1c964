"""What a server asks for when it refuses (RFC 9110 11.6.1), for est.auth; loaded only then."""

from est.errors import UsageError, missing


def retry(login, request):
    """As `retry` of `login`, an est.auth.Token or Password."""
    response = request.response
    status = response.status
    if status == 401 or (status == 403 and "Authorization" not in dict(request.headers)):
        return answer(login, [v for name, v in response.headers if name == "www-authenticate"])


def answer(login, challenges):
    """Whether `login` knows how to log in, given the list of WWW-Authenticate values.

    Of an empty list it makes one try: some servers name no scheme. Raises UsageError.
    """
    return (_password if hasattr(login, "user") else _token)(login, challenges)


def _token(login, challenges):
    again = login.ready
    login.ready = not challenges or _offered(challenges, "bearer")
    return login.ready and not again


def _password(login, challenges):
    if _offered(challenges, "digest"):
        try:
            from est.digest import Digest
        except ImportError as error:
            # Basic would do as well, if it is allowed and offered.
            if login.basic is None or not _offered(challenges, "basic"):
                raise missing(error)
        else:
            login.digest = login.digest or Digest(login.user, login.secret)
    known = login.digest and login.digest.answer(challenges)
    if (
        known is None
        and login.basic is not None
        and (not challenges or _offered(challenges, "basic"))
    ):
        # Never the password itself to who asked for a digest before.
        known = not login.basic and not (login.digest and login.digest.given)
        if known and ":" in login.user:
            if challenges:
                raise UsageError("Basic takes no user name with a colon")
            known = False
        login.basic = known
    return known


def _offered(challenges, scheme):
    # One value may hold several challenges, each beginning with its scheme.
    for text in challenges:
        for item in text.split(","):
            if item.strip().lower().split(" ")[0] == scheme:
                return True
    return False
