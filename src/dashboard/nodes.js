// Nodes: not yet.

export const view = { id: "nodes", title: "Nodes", mount() {} };
