// Counts a key pair, a signature and its verification in C, on an emulated board without a system.

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "counter.h"
#include "p256-m.h" // what mbedtls.c implements too

enum { SYS_WRITE0 = 0x04, SYS_EXIT = 0x18, APPLICATION_EXIT = 0x20026 };

static void semihosting(uintptr_t operation, uintptr_t argument) {
    #if defined(__arm__)
    register uintptr_t r0 __asm("r0") = operation;
    register uintptr_t r1 __asm("r1") = argument;
    __asm volatile ("bkpt 0xab" : "+r" (r0) : "r" (r1) : "memory");
    #else
    register uintptr_t a0 __asm("a0") = operation;
    register uintptr_t a1 __asm("a1") = argument;
    __asm volatile (
        ".option push\n.option norvc\n.balign 16\n"
        "slli zero, zero, 0x1f\nebreak\nsrai zero, zero, 7\n.option pop"
        : "+r" (a0) : "r" (a1) : "memory");
    #endif
}

static void print(const char *name, const uint8_t *bytes, size_t size) {
    static const char digits[] = "0123456789abcdef";
    char line[2 * 64 + 1];
    for (size_t i = 0; i < size; i++) {
        line[2 * i] = digits[bytes[i] >> 4];
        line[2 * i + 1] = digits[bytes[i] & 15];
    }
    line[2 * size] = 0;
    semihosting(SYS_WRITE0, (uintptr_t)name);
    semihosting(SYS_WRITE0, (uintptr_t)" ");
    semihosting(SYS_WRITE0, (uintptr_t)line);
    semihosting(SYS_WRITE0, (uintptr_t)"\n");
}

static void print_time(const char *name, uint32_t us) {
    uint8_t bytes[] = { us >> 24, us >> 16, us >> 8, us };
    print(name, bytes, sizeof bytes);
}

// mbedTLS refers to it too.
void _exit(int status) {
    (void)status;
    semihosting(SYS_EXIT, APPLICATION_EXIT);
    for (;;) {
    }
}

// What p256-m asks for; the same bytes in each run (xorshift, Marsaglia 2003).
int32_t psa_generate_random(uint8_t *output, size_t size) {
    static uint32_t state = 0x6d706573;
    while (size--) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *output++ = state;
    }
    return 0;
}

static void run(void) {
    uint8_t private[32], public[64], signature[64], digest[32];
    for (unsigned i = 0; i < sizeof digest; i++) {
        digest[i] = i;
    }
    counter_us();
    uint32_t start = counter_us();
    int failed = p256_gen_keypair(private, public);
    uint32_t made = counter_us();
    failed |= p256_ecdsa_sign(signature, private, digest, sizeof digest);
    uint32_t is_signed = counter_us();
    failed |= p256_ecdsa_verify(signature, public, digest, sizeof digest);
    uint32_t verified = counter_us();
    digest[0] ^= 1;
    if (failed || !p256_ecdsa_verify(signature, public, digest, sizeof digest)) {
        return;
    }
    print("public", public, sizeof public);
    print("signature", signature, sizeof signature);
    print_time("key_pair", made - start);
    print_time("sign", is_signed - made);
    print_time("verify", verified - is_signed);
}

static __attribute__((used)) void begin(void) {
    run();
    _exit(0);
}

#if defined(__arm__)
extern char STACK[];
void start(void) {
    begin();
}
__attribute__((section(".first"), used)) static void *const vectors[] = {
    STACK, start, _exit, _exit,
};
#else
__attribute__((section(".first"), naked)) void start(void) {
    __asm volatile ("la sp, STACK\nj begin");
}
#endif
