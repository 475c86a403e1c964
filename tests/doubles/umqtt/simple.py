"""MQTT 3.1.1 that calls TLS and its stream as micropython-lib's umqtt.simple of 2026 does."""

import socket
import struct


class MQTTException(Exception):
    pass


class MQTTClient:
    def __init__(self, client_id, server, port=0, keepalive=0, ssl=None):
        self.client_id = client_id
        self.server = server
        self.port = port or (8883 if ssl else 1883)
        self.keepalive = keepalive
        self.ssl = ssl
        self.sock = None
        self.pid = 0
        self.cb = None

    def set_callback(self, function):
        self.cb = function

    def connect(self, clean_session=True, timeout=None):
        if self.sock:
            self.sock.close()
            self.sock = _Closed
        sock = socket.socket()
        sock.settimeout(timeout)
        sock.connect(socket.getaddrinfo(self.server, self.port)[0][-1])
        if self.ssl:
            sock = self.ssl.wrap_socket(sock, server_hostname=self.server)
        elif not hasattr(sock, "read"):  # CPython
            sock = _Stream(sock)
        self.sock = sock
        fixed = bytearray(b"\x10\0")
        fixed[1] = 12 + len(self.client_id)
        head = bytearray(b"\0\x04MQTT\x04\0\0\0")
        head[7] = clean_session << 1
        head[8] = self.keepalive >> 8
        head[9] = self.keepalive & 0xFF
        self.sock.write(fixed)
        self.sock.write(head)
        self._text(self.client_id)
        answer = self.sock.read(4)
        if len(answer) < 4:
            raise OSError(104)
        if answer[3]:
            raise MQTTException(answer[3])
        return answer[2] & 1

    def disconnect(self):
        self.sock.write(b"\xe0\0")
        self.sock.close()
        self.sock = _Closed

    def ping(self):
        self.sock.write(b"\xc0\0")

    def publish(self, topic, message, retain=False, qos=0):
        size = 2 + len(topic) + len(message) + (2 if qos else 0)
        head = bytearray(b"\x30")
        head[0] |= qos << 1 | retain
        while size > 0x7F:
            head.append(size & 0x7F | 0x80)
            size >>= 7
        head.append(size)
        self.sock.write(head)
        self._text(topic)
        if qos:
            self.pid = self.pid % 0xFFFF + 1
            self.sock.write(struct.pack("!H", self.pid))
        self.sock.write(message)
        while qos and self.wait_msg() != 0x40:
            pass

    def subscribe(self, topic, qos=0):
        self.pid = self.pid % 0xFFFF + 1
        size = 5 + len(topic)
        self.sock.write(bytes([0x82, size]))
        self.sock.write(struct.pack("!H", self.pid))
        self._text(topic)
        self.sock.write(bytes([qos]))
        while self.wait_msg() != 0x90:
            pass

    def wait_msg(self):
        first = self.sock.read(1)
        self.sock.setblocking(True)
        if first is None:
            return None
        if not first:
            raise OSError(-1)
        kind = first[0]
        size = shift = 0
        while True:
            octet = self.sock.read(1)[0]
            size |= (octet & 0x7F) << shift
            shift += 7
            if octet < 0x80:
                break
        data = b""
        while len(data) < size:
            piece = self.sock.read(size - len(data))
            if not piece:
                raise OSError(-1)
            data += piece
        if kind & 0xF0 == 0x30:
            end = 2 + (data[0] << 8 | data[1])
            topic = data[2:end]
            if kind & 6:
                self.sock.write(b"\x40\x02" + data[end : end + 2])
                end += 2
            self.cb(topic, data[end:])
        return None if kind == 0xD0 else kind

    def check_msg(self):
        self.sock.setblocking(False)
        return self.wait_msg()

    def _text(self, text):
        self.sock.write(struct.pack("!H", len(text)))
        self.sock.write(text if isinstance(text, bytes) else text.encode())


class _Closed:
    # As a closed socket of MicroPython.
    def write(*_):
        raise OSError(9)

    read = setblocking = write

    def close():
        pass


class _Stream:
    # A socket with MicroPython's methods.
    def __init__(self, sock):
        self.read = sock.recv
        self.write = sock.sendall
        self.close = sock.close
        self.setblocking = sock.setblocking
