// Connect a device: not yet.

export const view = { id: "connect", title: "Connect a device", mount() {} };
