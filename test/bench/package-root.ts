import { fileURLToPath } from 'node:url'

const UP = import.meta.url.includes('/dist-bench/') ? '../../../' : '../../'

/** The folder of the package, from test/bench as from dist-bench/test/bench, where it is compiled to. */
export const PACKAGE_ROOT = fileURLToPath(new URL(UP, import.meta.url))
