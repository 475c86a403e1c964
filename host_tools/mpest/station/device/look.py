import sys


def mac():
    try:
        import network

        station = network.WLAN(network.STA_IF)
    except (ImportError, AttributeError, OSError):
        return ""
    for turned_on in (False, True):  # some drivers tell once the radio is on
        try:
            if turned_on:
                station.active(True)
            address = station.config("mac")
            if any(address):
                return binascii.hexlify(address).decode()
        except (OSError, ValueError):
            pass
        finally:
            if turned_on:
                station.active(False)
    return ""


def listed(folder, names):
    # All files below a folder, but those of file systems without names.
    for name in os.listdir(folder or "/"):
        path = folder + "/" + name
        if os.stat(path)[0] & 0x4000:
            listed(path, names)
        else:
            names.append(path)
    return names


def look(number):
    """Who the board is and which files it has. number: given to one that has none."""
    if number and not unique_id():
        with open("/unique_id", "w") as file:
            file.write(number)
    i = sys.implementation
    return {
        "unique_id": unique_id(),
        "mac": mac(),
        "platform": sys.platform,
        "machine": getattr(i, "_machine", ""),
        "version": list(i.version[:3]),
        "mpy": getattr(i, "_mpy", 0),
        "name": i.name,
        "files": listed("", []),
    }


def wipe():
    for path in listed("", []):
        os.remove(path)
    empty("")
    return listed("", [])


def empty(folder):
    for name in os.listdir(folder or "/"):
        empty(folder + "/" + name)
        os.rmdir(folder + "/" + name)


def holding(paths, texts):
    """Which of `paths` are there, and which files hold one of `texts`, octets in hex."""
    texts = [binascii.unhexlify(text) for text in texts]
    there = [path for path in paths if exists(path)]
    longest = max([len(text) for text in texts] + [1])
    for path in listed("", []):
        tail = b""
        with open(path, "rb") as file:
            while True:
                part = file.read(512)
                if not part:
                    break
                tail = tail[1 - longest :] + part if longest > 1 else part
                if any([text in tail for text in texts]):
                    there.append(path)
                    break
    return there
