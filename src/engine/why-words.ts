import { psqlCommand, sqlName, topicFlag } from './shell-word.js'
import type { Facts } from './why.js'
import type { EvidenceOf, Holder, Reason } from './why-evidence.js'

interface Said {
  text: string
  fix?: string
}

const LIMIT = 'pgbq config set max_parallel_running_tasks_count'

/** The reason as a sentence about the task, and the command that leads out. */
export function sayWhy(facts: Facts): { message: string; fix: string | null } {
  const { text, fix } = (SAY[facts.reason] as (facts: Facts) => Said)(facts)
  return { message: `Task ${facts.id} ${text}`, fix: fix ?? null }
}

const SAY: { [R in Reason]: (facts: Facts<R>) => Said } = {
  closed: ({ id, state, evidence: e }) => ({
    text: `is ${state} since ${short(e.closed_at)}${e.started_at ? `, run as "${e.role}"` : ''}`,
    ...(state === 'finished' ? {} : { fix: `pgbq retry ${id}` }),
  }),
  running: ({ evidence: e }) => sayRunning(e),
  lock: ({ state, evidence: e }) => ({
    text:
      state === 'running'
        ? `is running and waits for a lock that ${holder(e.blocked_by)} holds`
        : `cannot be claimed while ${holder(e.blocked_by)} holds a lock on its row`,
    fix: unblock(e.blocked_by[0]!),
  }),
  'not-due': ({ evidence: e }) => ({ text: `is not due before ${short(e.run_at)}` }),
  'retry-due': ({ id, evidence: e }) => ({
    text: `failed and is tried again at ${short(e.run_at)}, retry ${e.retry_count} of ${e.retries}`,
    fix: `pgbq status ${id}`,
  }),
  paused: ({ topic, evidence: e }) => ({
    text: `waits because ${e.whole_queue ? 'the queue is' : `${topicTasks(topic)} are`} paused`,
    fix: `pgbq resume${e.whole_queue ? '' : ` ${topicFlag(topic)}`}`,
  }),
  'no-supervisor': () => ({ text: 'waits because no supervisor is alive', fix: 'pgbq work' }),
  'no-worker-for-topic': ({ topic, evidence: e }) => ({
    text: `waits because ${idle(e.supervisors.length)} for ${topicTasks(topic)}`,
    fix: `pgbq work ${topicFlag(topic)}`,
  }),
  'no-worker-for-role': (facts) => sayRole(facts),
  'topic-limit': ({ topic, evidence: e }) => ({
    text: `waits because ${topicTasks(topic)} are at their limit: ${e.running} of ${e.limit} run`,
    fix: `${LIMIT} ${e.limit + 1} ${topicFlag(topic)}`,
  }),
  delay: ({ topic, evidence: e }) => ({
    text: `waits until ${short(e.until)}: after a run the place of ${topicTasks(topic)} rests for ${e.delay_in_sec} s`,
    fix: `pgbq config set delay_in_sec 0 ${topicFlag(topic)}`,
  }),
  'global-limit': ({ evidence: e }) => ({
    text:
      e.limit === 0
        ? 'waits because the limit of the queue is 0'
        : `is next, but the queue is at its limit: ${e.running} of ${e.limit} run`,
    fix: `${LIMIT} ${e.limit + 1}`,
  }),
  ahead: ({ evidence: e }) => sayAhead(e),
}

function sayRunning(e: EvidenceOf['running']): Said {
  if (e.worker_is_gone || e.worker === null)
    return {
      text: 'counts as running, but its worker is gone: the next look rescues it',
      fix: 'pgbq calibrate',
    }
  const { id, host, pid } = e.worker
  const end = e.end_requested ? `; its end was asked for (${e.end_requested})` : ''
  return { text: `is running since ${short(e.started_at)} on worker ${id} (${host}/${pid})${end}` }
}

function sayAhead(e: EvidenceOf['ahead']): Said {
  const isFull = e.running >= e.limit
  const fix = isFull ? `${LIMIT} ${e.limit + 1}` : 'pgbq work, on one more host'
  if (e.ahead > 0) {
    const count = `${e.more ? 'more than ' : ''}${e.ahead} ${e.ahead === 1 ? 'task that goes' : 'tasks that go'} first`
    const full = isFull ? `, and the queue is at its limit: ${e.running} of ${e.limit} run` : ''
    return { text: `waits behind ${count}${full}`, fix }
  }
  if (e.workers === 0) return { text: 'is next: a worker for it is being started' }
  if (e.busy < e.workers) return { text: 'is next: a worker takes it now' }
  return { text: `is next, but every worker is busy (${e.busy})`, fix }
}

function sayRole({ id, role, evidence: e }: Facts<'no-worker-for-role'>): Said {
  const whose = `waits because no worker may run as role "${role}"`
  if (e.cause === 'renamed') {
    return {
      text: `${whose}: the role that enqueued it was renamed or dropped`,
      fix: e.is_known ? 'pgbq calibrate --adopt' : `pgbq cancel ${id}`,
    }
  }
  if (e.cause === 'nologin') {
    return { text: `${whose}: it may not log in`, fix: psqlCommand(`ALTER ROLE ${sqlName(role)} LOGIN`) }
  }
  return {
    text: `${whose}: its login was refused`,
    fix: "give pgbq work that role's password in .pgpass, or run: pgbq work --run-as set-role",
  }
}

/** To the second: the whole instant stands in the evidence. */
const short = (instant: string | null): string => (instant ?? '').replace(/\.\d+/, '')

const idle = (count: number): string =>
  count === 1 ? 'the supervisor does not work' : `none of ${count} supervisors works`

const topicTasks = (topic: string | null): string =>
  topic === null ? 'tasks without topic' : `tasks of topic "${topic}"`

function holder([first, ...others]: Holder[]): string {
  const who = first!.task_id !== null ? `task ${first!.task_id}` : sayBackend(first!)
  return others.length === 0 ? who : `${who} (and ${others.length} more)`
}

function sayBackend({ pid, role }: Holder): string {
  if (pid === 0) return 'a prepared transaction'
  return `backend ${pid}${role ? ` of role "${role}"` : ''}`
}

function unblock({ task_id, pid }: Holder): string {
  if (task_id !== null) return `pgbq cancel ${task_id}`
  if (pid === 0) return psqlCommand('SELECT gid, prepared, owner FROM pg_prepared_xacts')
  return psqlCommand(`SELECT pg_terminate_backend(${pid})`)
}
