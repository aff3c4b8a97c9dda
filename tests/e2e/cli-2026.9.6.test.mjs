// The real `openclaw` command 2026.9.6 (protocol 4) against a gateway.
import { cliTable } from './cli-table.mjs';

cliTable('b', '2026.9.6');
