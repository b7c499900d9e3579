// The few OpenSSL calls that the package uses: random bytes, SHA-256, HMAC and PBKDF2.
#ifndef CLOACINA_COPENSSL_SHIM_H
#define CLOACINA_COPENSSL_SHIM_H

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#endif
