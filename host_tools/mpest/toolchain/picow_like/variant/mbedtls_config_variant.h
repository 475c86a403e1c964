// mbedTLS as the rp2 port configures it: ports/rp2/mbedtls/mbedtls_config_port.h without the
// board's clock and random source.

#define MBEDTLS_ECP_NIST_OPTIM
#define MICROPY_MBEDTLS_CONFIG_BARE_METAL (1)

#include "extmod/mbedtls/mbedtls_config_common.h"

// Random bytes come from the system.
#undef MBEDTLS_ENTROPY_HARDWARE_ALT
#undef MBEDTLS_NO_PLATFORM_ENTROPY
