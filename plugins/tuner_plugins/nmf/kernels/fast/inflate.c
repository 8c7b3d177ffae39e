/* Blocks of a bigWig file decompressed by libdeflate, or by zlib, which is wherever Python is.
 *
 * Neither has to be there to compile or to start: they are opened at run time, and where none is
 * found the careful path asks Python's zlib. libdeflate is the faster one.
 */
#include <dlfcn.h>
#include <string.h>

#include "inflate.h"

#if defined(ANY_GLIBC) && defined(__GLIBC__) && defined(__x86_64__)
/* Not the versions that came with glibc 2.34, under which an older one would not open this. */
__asm__(".symver dlopen,dlopen@GLIBC_2.2.5\n.symver dlsym,dlsym@GLIBC_2.2.5\n"
        ".symver dlclose,dlclose@GLIBC_2.2.5");
#endif

static const char *const inflate_deflates[] = {"libdeflate.so.0", "libdeflate.0.dylib"};
static const char *const inflate_zlibs[] = {"libz.so.1", "libz.1.dylib"};

/* Find a function: C has no cast from an address of data to one of code. */
static int inflate_find(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

static int inflate_open_deflate(inflate_tool *tool)
{
    void *(*make)(void);
    if (!inflate_find(tool->library, "libdeflate_alloc_decompressor", &make)) return 0;
    if (!inflate_find(tool->library, "libdeflate_zlib_decompress", &tool->deflate)) return 0;
    tool->machine = make();
    return tool->machine != NULL;
}

int tuner_inflate_open(inflate_tool *tool)
{
    memset(tool, 0, sizeof *tool);
    for (int i = 0; i < 2; i++) {
        tool->library = dlopen(inflate_deflates[i], RTLD_NOW | RTLD_LOCAL);
        if (tool->library && inflate_open_deflate(tool)) return INFLATE_OK;
        tuner_inflate_close(tool);
    }
    for (int i = 0; i < 2; i++) {
        tool->library = dlopen(inflate_zlibs[i], RTLD_NOW | RTLD_LOCAL);
        if (tool->library && inflate_find(tool->library, "uncompress", &tool->zlib)) return INFLATE_OK;
        tuner_inflate_close(tool);
    }
    return INFLATE_BAD;
}

void tuner_inflate_close(inflate_tool *tool)
{
    void (*end)(void *);
    if (tool->machine && inflate_find(tool->library, "libdeflate_free_decompressor", &end))
        end(tool->machine);
    if (tool->library) dlclose(tool->library);
    memset(tool, 0, sizeof *tool);
}

int tuner_inflate(const inflate_tool *tool, uint8_t *out, int64_t *size, const uint8_t *in,
                  int64_t packed)
{
    size_t got = 0;
    unsigned long long_got = (unsigned long)*size;
    if (*size < 1) return INFLATE_BAD; /* zlib takes no room for a room of its own */
    if (tool->machine) {
        if (tool->deflate(tool->machine, in, (size_t)packed, out, (size_t)*size, &got)) return INFLATE_BAD;
    } else {
        if (!tool->zlib || tool->zlib(out, &long_got, in, (unsigned long)packed)) return INFLATE_BAD;
        got = long_got;
    }
    *size = (int64_t)got;
    return INFLATE_OK;
}
