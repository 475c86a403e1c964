# MBEDTLS: mbedTLS's source tree.

MICROPY_PY_BTREE = 0
MICROPY_PY_FFI = 0
MICROPY_PY_JNI = 0
MICROPY_PY_TERMIOS = 0
MICROPY_PY_THREAD = 0
MICROPY_USE_READLINE = 0

# Debian's extmod.mk leaves out mbedTLS's sources. Its errors are named as on a board.
CFLAGS += -DMBEDTLS_CONFIG_FILE=\"mbedtls_config_variant.h\" -I$(MBEDTLS)/include
SRC_THIRDPARTY_C += lib/mbedtls_errors/mp_mbedtls_errors.c
SRC_THIRDPARTY_C += $(filter-out %/error.c %/net_sockets.c, $(wildcard $(MBEDTLS)/library/*.c))

# Of a secure element TLS's signatures may come, as on boards that have one.
CFLAGS += -DMICROPY_PY_SSL_ECDSA_SIGN_ALT=1
LDFLAGS += -Wl,--wrap=mbedtls_ecdsa_write_signature

# live_peak.c looks at the heap after each collection. The C library for ARM is linked in, so that
# none is needed beside it.
LDFLAGS += -static -Wl,--wrap=gc_collect_end

# The machine code of frozen modules is a Cortex-M's, which this processor runs.
MPY_CROSS_FLAGS += -march=armv7m
