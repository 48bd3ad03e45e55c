import type { Agenda } from './agenda.js'
import type { EndRequests } from './end-requests.js'
import type { Funeral } from './funeral.js'
import type { Link } from './link.js'
import type { LogKeeper } from './log-keeper.js'
import type { SupervisorOptions } from './options.js'
import type { RefusedRoles } from './refused-roles.js'
import type { Rush } from './rush.js'
import type { Staffing } from './staffing.js'
import type { StopPlan } from './stop-plan.js'
import type { Watchdog } from './watchdog.js'
import type { WorkerPool } from './worker-pool.js'

/** What the parts of one supervisor share. */
export interface Parts {
  readonly options: SupervisorOptions
  readonly link: Link
  readonly pool: WorkerPool
  readonly staffing: Staffing
  readonly refused: RefusedRoles
  readonly agenda: Agenda
  readonly rush: Rush
  readonly stopPlan: StopPlan
  readonly ends: EndRequests
  readonly funeral: Funeral
  readonly watchdog: Watchdog
  readonly log: LogKeeper
}
