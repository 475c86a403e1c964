// Timers, the clock and the start of an emulated board.

#include "py/mphal.h"
#include "py/runtime.h"
#include "shared/runtime/pyexec.h"

#include "counter.h"

#if defined(__arm__)

// The host's clock, by semihosting's SYS_TIME: seconds since 1970.
static uint64_t seconds_now(void) {
    register uint32_t r0 __asm("r0") = 0x11;
    register uint32_t r1 __asm("r1") = 0;
    __asm volatile ("bkpt 0xab" : "+r" (r0) : "r" (r1) : "memory");
    return r0;
}

uint64_t mp_hal_time_ns(void) {
    return seconds_now() * 1000000000;
}

#else

// QEMU's Goldfish RTC shows the host's clock; reading the low half latches the high one.
uint64_t mp_hal_time_ns(void) {
    uint32_t low = REGISTER(0x101000);
    return (uint64_t)REGISTER(0x101004) << 32 | low;
}

#endif

// Right as long as somebody asks more than once in 71 minutes.
static uint64_t total_us(void) {
    static uint64_t total;
    total += counter_us() - (uint32_t)total;
    return total;
}

mp_uint_t mp_hal_ticks_us(void) {
    return total_us();
}

mp_uint_t mp_hal_ticks_ms(void) {
    return total_us() / 1000;
}

mp_uint_t mp_hal_ticks_cpu(void) {
    return total_us();
}

void mp_hal_delay_us(mp_uint_t us) {
    uint64_t end = total_us() + us;
    while (total_us() < end) {
        mp_handle_pending(true);
    }
}

void mp_hal_delay_ms(mp_uint_t ms) {
    uint64_t end = total_us() + (uint64_t)ms * 1000;
    while (total_us() < end) {
        mp_handle_pending(true);
    }
}

// At the end of mp_init, after power-on and after every soft reset.
void board_start(void) {
    pyexec_frozen_module("_boot.py", false);
    pyexec_file_if_exists("boot.py");
    if (pyexec_mode_kind == PYEXEC_MODE_FRIENDLY_REPL) {
        pyexec_file_if_exists("main.py");
    }
}
