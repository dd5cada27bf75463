// SPDX-License-Identifier: Apache-2.0
#include "control/hooks/current_store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <new>

namespace keyrail::hooks {

namespace {

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
Store* store = nullptr;  // never freed: contexts point to it, and the mapping must outlive every exit handler
bool complained = false;

const char* path() {
    const char* given = getenv("KEYRAIL_STORE");
    return given != nullptr && given[0] != '\0' ? given : kDefaultStorePath;
}

/// The store is open, and there is no newer one.
bool up_to_date() {
    if (store == nullptr) return false;
    struct stat st{};
    return stat(path(), &st) != 0 || st.st_ino == store->inode();
}

}  // namespace

Store* current_store() {
    pthread_mutex_lock(&lock);
    if (!up_to_date()) {
        if (auto opened = Store::open(path())) {
            store = new (std::nothrow) Store(std::move(*opened));
        } else if (store == nullptr && !complained) {
            complained = true;
            dprintf(2, "keyrail-tls: %s; sessions stay with this server; start keyrail-agent, then reload\n",
                    opened.error().message.c_str());
        }
    }
    Store* found = store;
    pthread_mutex_unlock(&lock);
    return found;
}

}  // namespace keyrail::hooks
