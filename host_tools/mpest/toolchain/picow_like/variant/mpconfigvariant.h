// The unix port with the memory of MicroPython's rp2 port: what rp2's mpconfigport.h sets that
// changes how much of the heap a program takes. No board's pins, no threads.

#define MICROPY_CONFIG_ROM_LEVEL (MICROPY_CONFIG_ROM_LEVEL_EXTRA_FEATURES)

#define MICROPY_QSTR_BYTES_IN_HASH (1)
#define MICROPY_FLOAT_IMPL (MICROPY_FLOAT_IMPL_FLOAT)
// The heap neither grows nor has a second part: -X heapsize is all there is.
#define MICROPY_GC_SPLIT_HEAP (0)
#define MICROPY_GC_SPLIT_HEAP_AUTO (0)
// mbedTLS allocates with m_tracked_calloc, from the garbage collector's heap.
#define MICROPY_TRACKED_ALLOC (1)
// This processor runs a Cortex-M's machine code.
#define MICROPY_EMIT_INLINE_THUMB (1)

#include "variants/mpconfigvariant_common.h"
