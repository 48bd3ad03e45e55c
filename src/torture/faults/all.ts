import type { Fault, FaultKind } from '../types.js'
import { backendKill } from './backend-kill.js'
import { childKill } from './child-kill.js'
import { freeze } from './freeze.js'
import { full } from './full.js'
import { network } from './network.js'
import { pooler } from './pooler.js'
import { rollingDeploy } from './rolling-deploy.js'
import { serverRestart } from './server-restart.js'
import { settings } from './settings.js'
import { supervisorKill } from './supervisor-kill.js'

const FAULTS: Fault[] = [
  childKill,
  supervisorKill,
  freeze,
  backendKill,
  serverRestart,
  network,
  rollingDeploy,
  settings,
  pooler,
  full,
]

/** The faults of these kinds, in the order of the list of kinds. */
export function faultsOf(kinds: readonly FaultKind[]): Fault[] {
  return FAULTS.filter(({ kind }) => kinds.includes(kind))
}
