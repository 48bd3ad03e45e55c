import { drain } from './drain.js'
import type { Scenario } from './scenario.js'
import { select1 } from './select1.js'

/** In the order in which they are run. */
export const SCENARIOS: Scenario[] = [drain, select1]
