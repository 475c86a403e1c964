"""An EST (RFC 7030) client for MicroPython. Import the modules you use, such as est.client."""

__version__ = "0.1.0"
