"""What nginx is told in each test: `load`, `folder` and `user` are filled in by str.format."""

HEAD = """\
{load}
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
{user}
events {{}}
"""
# Of http, else it writes where only root may.
_FOLDERS = """\
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
"""


def https(certificate: str, key: str, rest: str) -> str:
    """A server of HTTPS at `port`; the files and the rest of it as nginx is told them."""
    server = f"listen 127.0.0.1:{{port}} ssl; ssl_certificate {certificate};"
    server += f" ssl_certificate_key {key};\n{rest}"
    return f"{HEAD}http {{{{\n{_FOLDERS}server {{{{ {server}}}}}\n}}}}\n"
