// Logs: not yet.

export const view = { id: "logs", title: "Logs", mount() {} };
