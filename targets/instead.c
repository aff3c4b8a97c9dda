/* What stands in for parts of the C library and of libunwind on 64-bit Linux, where std is built without backtraces and
   nothing has unwind tables. */

/* musl's own writes the name of another thread into /proc by printf, which with its floating point is 15 kB. std names only
   the thread that asks, and a name of at most 15 bytes. */
int prctl(int what, ...);
int pthread_setname_np(void *self, const char *name) { (void)self; return prctl(15 /* PR_SET_NAME */, name, 0l, 0l, 0l); }

/* std still names these. The first says "end of stack"; the others belong to landing pads, which a program that aborts on
   panic does not have. */
int _Unwind_Backtrace(void *visit, void *argument) { (void)visit, (void)argument; return 5; }
unsigned long _Unwind_GetIP(void *context) { (void)context; return 0; }

#define NEVER(name) void name(void) { __builtin_trap(); }
NEVER(_Unwind_GetIPInfo)
NEVER(_Unwind_GetLanguageSpecificData)
NEVER(_Unwind_GetRegionStart)
NEVER(_Unwind_GetDataRelBase)
NEVER(_Unwind_GetTextRelBase)
NEVER(_Unwind_SetGR)
NEVER(_Unwind_SetIP)
NEVER(_Unwind_Resume)
