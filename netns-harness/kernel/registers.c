// Preloaded into the lab's kernel, which is a program of the host (User-Mode Linux).
//
// Before 6.13 its buffer for a process' extended registers has a fixed size, that of AVX-512. PTRACE_SETREGSET takes a whole
// set or nothing (EFAULT, arch/x86/kernel/fpu/regset.c), and on a processor with AMX a whole set is larger: the kernel
// would die with its first process. The rest of the set is tiles that no process of the guest may use (it would have to ask
// with arch_prctl, which the guest's kernel does not know), so it is filled with nothing.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <stdarg.h>

typedef long (*Ptrace)(enum __ptrace_request, ...);

long ptrace(enum __ptrace_request request, ...) {
    // The kernel is one thread, and its stacks are small: neither needs a lock nor has room for this.
    static Ptrace real;
    static char set[1 << 16] __attribute__((aligned(64)));
    static size_t whole;

    va_list rest;
    va_start(rest, request);
    int process = va_arg(rest, int);
    void *address = va_arg(rest, void *);
    void *data = va_arg(rest, void *);
    va_end(rest);

    if (!real)
        real = (Ptrace)dlsym(RTLD_NEXT, "ptrace");
    if (request != PTRACE_SETREGSET || (long)address != NT_X86_XSTATE)
        return real(request, process, address, data);

    struct iovec all = {set, sizeof set};
    if (!whole) {
        if (real(PTRACE_GETREGSET, process, address, &all) < 0)
            return -1;
        whole = all.iov_len;
    }
    const struct iovec *given = data;
    if (given->iov_len >= whole)
        return real(request, process, address, data);
    memset(set, 0, whole);
    memcpy(set, given->iov_base, given->iov_len);
    all.iov_len = whole;
    return real(request, process, address, &all);
}
