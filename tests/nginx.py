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
# First in http {{ }}: else it writes where only root may.
IN_HTTP = """\
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
"""
