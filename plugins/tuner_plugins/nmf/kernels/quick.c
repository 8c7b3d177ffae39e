/* The hot path, what its parts share. They are compiled side by side: a first run waits for it. */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUICK_OK 0
#define QUICK_UNUSUAL 1
#define QUICK_ABSENT 2 /* a sound file without the chromosome */
#define QUICK_ROWS 64 /* more loadings or tracks than that are no quick job */
