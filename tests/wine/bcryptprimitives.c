// Test only: the one function of Windows' bcryptprimitives.dll that Rust's standard library needs. Windows 10 and later have
// the DLL, Debian 12's wine has not. The bytes come from where RtlGenRandom gets them; this makes none of its own.

typedef unsigned char bytes;
typedef unsigned long dword;

// advapi32's RtlGenRandom, under the name it is exported by
bytes __stdcall SystemFunction036(void *into, dword count);

__declspec(dllexport) int __stdcall ProcessPrng(bytes *into, unsigned long long count) {
    const dword at_once = 1u << 30;
    while (count > 0) {
        dword part = count > at_once ? at_once : (dword)count;
        if (!SystemFunction036(into, part)) return 0;
        into += part;
        count -= part;
    }
    return 1;
}

int __stdcall DllMainCRTStartup(void *module, dword reason, void *reserved) {
    (void)module, (void)reason, (void)reserved;
    return 1;
}
