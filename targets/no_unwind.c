/* Stands in for libunwind on Linux when std is built without backtraces and nothing has unwind tables: std still names these.
   The first says "end of stack"; the others belong to landing pads, which a program that aborts on panic does not have. */
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
