"""The end of est/__init__ where the modules lie in one file beside it (mpest.packages.packed).

On littlefs each file of its own takes a block. `modules` begins with a line for each, of name and
offset, and an empty one; .mpy files follow. What is not in it is looked for beside it.
"""

import os

import vfs

_folder = __file__.rpartition("/")[0]
if _folder[:1] != "/":
    _folder = os.getcwd().rstrip("/") + "/" + _folder


class _Modules:
    # A file system, as far as `import` and est.comb need one.
    def mount(self, *arguments):
        pass

    umount = mount

    def open(self, path, *mode):
        file = open(_folder + "/modules", "rb")
        name = (path[1:].replace(".mpy", "") + " ").encode()
        line = path[-4:] == ".mpy"
        while line:
            line = file.readline()
            if line.startswith(name):
                # The .mpy loader reads no further than its module goes.
                file.seek(int(line[len(name) :]))
                return file
            if len(line) < 2:
                break
        file.close()
        return open(_folder + path, *mode)

    def stat(self, path):
        self.open(path, "rb").close()
        return (0x8000,) + (0,) * 9


__path__ = "/.est"
try:
    vfs.umount(__path__)  # of an import before
except OSError:
    pass
vfs.mount(_Modules(), __path__)
