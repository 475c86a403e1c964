// What an emulated board has beyond MicroPython's QEMU port: time, littlefs, and a start like that
// of a real board (_boot.py mounts the storage, then boot.py and main.py run).

#include "mpconfigport.h"

#undef MICROPY_PY_TIME
#define MICROPY_PY_TIME (1)
#define MICROPY_PY_TIME_GMTIME_LOCALTIME_MKTIME (1)
#define MICROPY_PY_TIME_TIME_TIME_NS (1)
#define MICROPY_PY_TIME_INCLUDEFILE "modtime.inc.c"
#define MICROPY_EPOCH_IS_1970 (1)

#if defined(QEMU_SOC_NRF51)
// As the rp2 port has it for the same core.
#define MICROPY_EMIT_THUMB (1)
#define MICROPY_EMIT_INLINE_THUMB (1)
#define MICROPY_EMIT_THUMB_ARMV7M (0)
#define MICROPY_EMIT_INLINE_THUMB_FLOAT (0)
#elif defined(QEMU_SOC_VIRT)
// As the esp32 port has it for an ESP32-C3.
#undef MICROPY_EMIT_INLINE_RV32
#define MICROPY_EMIT_INLINE_RV32 (0)
#endif

void board_start(void);
#define MICROPY_PORT_INIT_FUNC board_start()
