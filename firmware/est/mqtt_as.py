"""An est.context.Context for mqtt_as, whose own ssl_params cannot carry an intermediate."""

import sys


class _Ssl:
    # Where MicroPython has `tls` alone.
    wrap_socket = None


def ssl_params(context, host):
    """What mqtt_as takes as config["ssl_params"]: it then connects by `context`.

    mqtt_as hands it to ssl.wrap_socket. That is replaced by one that knows the key "context".
    """
    try:
        import ssl
    except ImportError:
        ssl = sys.modules["ssl"] = _Ssl
    usual_wrap = ssl.wrap_socket

    def wrap_socket(sock, *arguments, context=None, **params):
        if context is None:
            return usual_wrap(sock, *arguments, **params)
        return context.wrap_socket(sock, do_handshake_on_connect=False, **params)

    ssl.wrap_socket = wrap_socket
    return {"context": context, "server_hostname": host}
