// SPDX-License-Identifier: Apache-2.0
#include "control/hooks/openssl_calls.h"

#include <dlfcn.h>
#include <pthread.h>

namespace keyrail::hooks {

namespace {

OpensslCalls calls;
pthread_once_t once = PTHREAD_ONCE_INIT;

/// The function in the library that the server would have called without us.
void* find(void* libssl, const char* name) {
    if (void* next = dlsym(RTLD_NEXT, name)) return next;
    return libssl != nullptr ? dlsym(libssl, name) : nullptr;  // libssl came with RTLD_LOCAL
}

void find_all() {
    void* libssl = dlopen("libssl.so.3", RTLD_LAZY | RTLD_NOLOAD);
    calls.complete = true;
#define KEYRAIL_FIND(name)                                                 \
    calls.name = reinterpret_cast<decltype(&::name)>(find(libssl, #name)); \
    calls.complete = calls.complete && calls.name != nullptr;
    KEYRAIL_INTERPOSED(KEYRAIL_FIND)
    KEYRAIL_CALLED(KEYRAIL_FIND)
#undef KEYRAIL_FIND
}

}  // namespace

const OpensslCalls& openssl() {
    pthread_once(&once, find_all);
    return calls;
}

}  // namespace keyrail::hooks
