// Lets machine code read which processor it runs on, where a Cortex-M has that: a Pico W's.

#include <stdint.h>
#include <sys/mman.h>

#define SYSTEM_CONTROL_SPACE 0xE000E000u
#define CPUID 0xD00u
#define CORTEX_M0_PLUS 0x410CC601u

__attribute__((constructor)) static void make_cpuid(void) {
    uint8_t *page = (uint8_t *)SYSTEM_CONTROL_SPACE;
    void *made = mmap(page, 4096, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (made == page) {
        *(volatile uint32_t *)(page + CPUID) = CORTEX_M0_PLUS;
    }
}
