// mbedTLS behind the interface of p256-m.

#include "mbedtls/ecdsa.h"
#include "mbedtls/memory_buffer_alloc.h"
#include "p256-m.h"

int32_t psa_generate_random(uint8_t *output, size_t size);

static int fixed_random(void *context, unsigned char *output, size_t size) {
    (void)context;
    return psa_generate_random(output, size);
}

// The group, as a key holds it.
static mbedtls_ecp_group *curve(void) {
    static unsigned char heap[16384];
    static mbedtls_ecp_group group;
    if (group.id != MBEDTLS_ECP_DP_SECP256R1) {
        mbedtls_memory_buffer_alloc_init(heap, sizeof heap);
        mbedtls_ecp_group_init(&group);
        mbedtls_ecp_group_load(&group, MBEDTLS_ECP_DP_SECP256R1);
    }
    return &group;
}

int p256_gen_keypair(uint8_t private[32], uint8_t public[64]) {
    mbedtls_ecp_group *group = curve();
    mbedtls_mpi d;
    mbedtls_ecp_point Q;
    mbedtls_mpi_init(&d);
    mbedtls_ecp_point_init(&Q);
    uint8_t point[65];
    size_t size;
    int failed = mbedtls_ecp_gen_keypair(group, &d, &Q, fixed_random, NULL);
    failed |= mbedtls_mpi_write_binary(&d, private, 32);
    failed |= mbedtls_ecp_point_write_binary(
        group, &Q, MBEDTLS_ECP_PF_UNCOMPRESSED, &size, point, sizeof point);
    for (int i = 0; i < 64; i++) {
        public[i] = point[1 + i];
    }
    mbedtls_mpi_free(&d);
    mbedtls_ecp_point_free(&Q);
    return failed;
}

int p256_ecdsa_sign(uint8_t signature[64], const uint8_t private[32], const uint8_t *digest,
    size_t size) {
    mbedtls_mpi r, s, d;
    mbedtls_mpi_init(&r);
    mbedtls_mpi_init(&s);
    mbedtls_mpi_init(&d);
    int failed = mbedtls_mpi_read_binary(&d, private, 32);
    failed |= mbedtls_ecdsa_sign(curve(), &r, &s, &d, digest, size, fixed_random, NULL);
    failed |= mbedtls_mpi_write_binary(&r, signature, 32);
    failed |= mbedtls_mpi_write_binary(&s, signature + 32, 32);
    mbedtls_mpi_free(&r);
    mbedtls_mpi_free(&s);
    mbedtls_mpi_free(&d);
    return failed;
}

int p256_ecdsa_verify(const uint8_t signature[64], const uint8_t public[64], const uint8_t *digest,
    size_t size) {
    mbedtls_ecp_group *group = curve();
    mbedtls_mpi r, s;
    mbedtls_ecp_point Q;
    mbedtls_mpi_init(&r);
    mbedtls_mpi_init(&s);
    mbedtls_ecp_point_init(&Q);
    uint8_t point[65] = { 4 };
    for (int i = 0; i < 64; i++) {
        point[1 + i] = public[i];
    }
    int failed = mbedtls_ecp_point_read_binary(group, &Q, point, sizeof point);
    failed |= mbedtls_ecp_check_pubkey(group, &Q);
    failed |= mbedtls_mpi_read_binary(&r, signature, 32);
    failed |= mbedtls_mpi_read_binary(&s, signature + 32, 32);
    failed |= mbedtls_ecdsa_verify(group, digest, size, &Q, &r, &s);
    mbedtls_mpi_free(&r);
    mbedtls_mpi_free(&s);
    mbedtls_ecp_point_free(&Q);
    return failed;
}
