// libpq, and the two Linux calls beside it that Swift's Glibc module leaves out.
#ifndef CLOACINA_CLIBPQ_SHIM_H
#define CLOACINA_CLIBPQ_SHIM_H

#include <libpq-fe.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

/// A descriptor that becomes readable when it is written to; -1 on failure.
static inline int cloacina_eventfd(void) { return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); }

/// Linux's POLLRDHUP, which Glibc hides without _GNU_SOURCE: the peer has closed its end of the socket.
static const short cloacina_pollrdhup = 0x2000;

/// Keeps SIGPIPE away from the calling thread, which must be one of ours.
static inline void cloacina_block_sigpipe(void) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

/// Names the calling thread, for debuggers and `top -H`.
static inline void cloacina_name_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

#endif
