import type { ConnectionTarget } from '../engine/database/target.js'
import { Supervisor } from '../engine/supervisor/supervisor.js'
import type { Screen } from '../output/screen.js'
import type { Interrupt } from './interrupt.js'
import { Progress } from './progress.js'
import type { DemoTask } from './script.js'

const REDRAW_MS = 200
const SHUTDOWN_TIMEOUT_MS = 5000

/** Runs the tasks with a real supervisor and its worker processes until none is left. Errors: INTERRUPTED. */
export async function workUntilEmpty(
  target: ConnectionTarget,
  version: string,
  tasks: Map<bigint, DemoTask>,
  screen: Screen,
  interrupt: Interrupt,
): Promise<void> {
  screen.step('Running it', 'A supervisor and its worker processes, as "pgbq work --drain" has them.')
  const progress = new Progress(tasks, screen)
  const supervisor = new Supervisor({
    target,
    version,
    lanes: null,
    isDraining: true,
    shutdownTimeoutMs: SHUTDOWN_TIMEOUT_MS,
    runAs: 'login',
    isPrivateServer: true,
    emit: (event) => progress.on(event),
  })
  interrupt.listen((signal) => supervisor.stop(signal))
  const redraw = setInterval(() => progress.draw(), REDRAW_MS)
  try {
    await supervisor.run()
  } finally {
    clearInterval(redraw)
    interrupt.listen(undefined)
    screen.live('')
  }
  interrupt.check()
}
