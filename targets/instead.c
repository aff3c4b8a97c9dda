/* Stands in for parts of musl, zig and libunwind on ARM64 and x86_64 Linux where std is built without
   backtraces. CROSS_STD=debian only. Without it the file is larger (README.md in this directory) and
   does the same. */

/* musl names a thread by writing to /proc with printf, which brings all of printf and its 128-bit
   floating point. std and the packages name only the calling thread, with at most 15 bytes. */
int prctl(int option, ...);

int pthread_setname_np(void *thread, const char *name)
{
	(void)thread;
	return prctl(15 /* PR_SET_NAME */, name, 0L, 0L, 0L);
}

/* musl's resolver sorts at most 48 addresses with qsort. zig's qsort has 15 kB, because it is compiled
   for speed with any input; this is an insertion sort. */
void qsort(void *base, unsigned long count, unsigned long size, int (*compare)(const void *, const void *))
{
	unsigned char *first = base;
	for (unsigned long end = 1; end < count; end++)
		for (unsigned char *at = first + end * size; at > first && compare(at - size, at) > 0; at -= size)
			for (unsigned long byte = 0; byte < size; byte++) {
				unsigned char kept = at[byte];
				at[byte] = at[byte - size];
				at[byte - size] = kept;
			}
}

/* std's panic handler asks for a backtrace when a panic happens during a panic. There are no unwind
   tables to walk, so libunwind would find nothing either. 5 is _URC_END_OF_STACK. */
int _Unwind_Backtrace(void *callback, void *argument)
{
	(void)callback, (void)argument;
	return 5;
}

unsigned long _Unwind_GetIP(void *context)
{
	(void)context;
	return 0;
}

/* std's personality function names these. With panic = "abort" no code calls it. */
#define NEVER_CALLED(name) void name(void) { __builtin_trap(); }
NEVER_CALLED(_Unwind_GetIPInfo)
NEVER_CALLED(_Unwind_GetLanguageSpecificData)
NEVER_CALLED(_Unwind_GetRegionStart)
NEVER_CALLED(_Unwind_GetDataRelBase)
NEVER_CALLED(_Unwind_GetTextRelBase)
NEVER_CALLED(_Unwind_SetGR)
NEVER_CALLED(_Unwind_SetIP)
NEVER_CALLED(_Unwind_Resume)
