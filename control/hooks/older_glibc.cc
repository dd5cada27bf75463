// SPDX-License-Identifier: Apache-2.0
// Built on Debian 13, the library is to load on Debian 12, too. All that it would ask for beyond glibc 2.36
// is one function that GCC 14's libstdc++.a calls (eh_alloc.cc, at start, where GLIBCXX_TUNABLES is set): a
// strtoul that reads C23's "0b", too. tools/test --only baseline looks whether there is more.

extern "C" {
unsigned long older_strtoul(const char* text, char** end, int base) asm("strtoul");

// NOLINTNEXTLINE(bugprone-reserved-identifier): glibc's name
[[gnu::visibility("hidden")]] unsigned long __isoc23_strtoul(const char* text, char** end, int base) {
    return older_strtoul(text, end, base);
}
}
