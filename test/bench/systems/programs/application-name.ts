/** Sessions of a worker's handler are known by this name. */
export const applicationName = (pid: number | string): string => `pgbq bench peer ${pid}`
