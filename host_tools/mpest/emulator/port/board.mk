# Included by each board's mpconfigboard.mk.

PORT := $(dir $(lastword $(MAKEFILE_LIST)))

CFLAGS += -DMP_CONFIGFILE='"board.h"' -I$(PORT)
MICROPY_VFS_LFS2 = 1
SRC_C += shared/timeutils/timeutils.c
# Outside MicroPython's tree, so no pattern of py.mk fits it.
SRC_BOARD_O += mpest/board.o

$(BUILD)/mpest/board.o: $(PORT)board.c | $(BUILD)/genhdr/qstrdefs.generated.h
	@mkdir -p $(dir $@)
	$(CC) $(CFLAGS) -c -o $@ $<

ifeq ($(QEMU_ARCH),arm)
LDFLAGS += -T $(PORT)no_unwind.ld
endif
