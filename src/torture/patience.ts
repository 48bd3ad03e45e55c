import { availableParallelism, loadavg } from 'node:os'

/** So many processes want each core of a small machine while it is tortured, with other tests beside. */
const USUAL_PER_CORE = 3

/**
 * How much of a time that was waited counts, in milliseconds: all of it, and less where so many processes want each
 * core that everything is slow. What never comes is missed all the same, only later. `load`: those that want a core,
 * averaged over the last minute; 0 where the system does not tell.
 */
export function counted(ms: number, load = loadavg()[0]!, cores = availableParallelism()): number {
  return ms * Math.min(1, (USUAL_PER_CORE * cores) / load)
}
