// Configuration: not yet.

export const view = { id: "config", title: "Configuration", mount() {} };
