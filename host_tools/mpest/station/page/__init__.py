"""The operator's page: what the line does, in a browser, and what an operator may decide.

`state` is what is shown, `texts` the words, `access` who may do something, `actions` what may be
done, `server` brings it all to browsers.
"""
