// The timer of an emulated board.

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))

// Microseconds by a 32-bit counter that runs on its own.
static uint32_t counter_us(void) {
    #if defined(QEMU_SOC_MPS2)
    // FPGAIO: COUNTER's prescaler divides 25 MHz by one more than it holds.
    if (REGISTER(0x4002801c) != 24) {
        REGISTER(0x4002801c) = 24;
    }
    return REGISTER(0x40028018);
    #elif defined(QEMU_SOC_NRF51)
    // TIMER0, 32 bits wide, 16 MHz / 2^4; it is read by capturing it.
    if (REGISTER(0x40008508) != 3) {
        REGISTER(0x40008508) = 3;
        REGISTER(0x40008510) = 4;
        REGISTER(0x40008000) = 1;
    }
    REGISTER(0x40008040) = 1;
    return REGISTER(0x40008540);
    #else
    // The CLINT's mtime, 10 MHz.
    uint32_t high, low;
    do {
        high = REGISTER(0x0200bffc);
        low = REGISTER(0x0200bff8);
    } while (high != REGISTER(0x0200bffc));
    return ((uint64_t)high << 32 | low) / 10;
    #endif
}
