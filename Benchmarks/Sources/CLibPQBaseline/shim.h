// libpq for the baselines: the same calls that a C program would make, without the driver in between.
#ifndef CLOACINA_CLIBPQ_BASELINE_SHIM_H
#define CLOACINA_CLIBPQ_BASELINE_SHIM_H

#include <libpq-fe.h>

#endif
