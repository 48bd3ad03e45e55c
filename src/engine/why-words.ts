import { psqlCommand, sqlName, topicFlag } from './shell-word.js'
import type { Evidence, Facts, Reason } from './why.js'

interface Words {
  message: string
  /** without what the words took for themselves */
  evidence: Evidence
  fix: string | null
}

type Say = (facts: Facts) => { text: string; fix?: string | undefined }

const LIMIT = 'pgbq config set max_parallel_running_tasks_count'

/** The reason as a sentence about the task, and the command that leads out. */
export function sayWhy(facts: Facts): Words {
  const { text, fix } = SAY[facts.reason](facts)
  return {
    message: `Task ${facts.id} ${text}`,
    evidence: facts.evidence,
    fix: fix ?? null,
  }
}

const SAY: Record<Reason, Say> = {
  closed: ({ id, state, evidence: e }) => ({
    text: `is ${state} since ${e.closed_at}${e.started_at ? `, run as "${e.role}"` : ''}`,
    fix: state === 'finished' ? undefined : `pgbq retry ${id}`,
  }),
  running: ({ evidence: e }) => sayRunning(e),
  lock: ({ state, evidence: e }) => ({
    text:
      state === 'running'
        ? `is running and waits for a lock that ${holder(e)} holds`
        : `cannot be claimed while ${holder(e)} holds a lock on its row`,
    fix: unblock(e),
  }),
  'not-due': ({ evidence: e }) => ({ text: `is not due before ${e.run_at}` }),
  'retry-due': ({ id, evidence: e }) => ({
    text: `failed and is tried again at ${e.run_at}, retry ${e.retry_count} of ${e.retries}`,
    fix: `pgbq status ${id}`,
  }),
  paused: ({ topic, evidence: e }) => ({
    text: `waits while ${e.whole_queue ? 'the queue is' : `${topicWords(topic)} are`} paused`,
    fix: `pgbq config set paused false${e.whole_queue ? '' : ` ${topicFlag(topic)}`}`,
  }),
  'no-supervisor': () => ({ text: 'waits because no supervisor is alive', fix: 'pgbq work' }),
  'no-worker-for-topic': ({ topic, evidence: e }) => ({
    text: `waits because ${supervisors(e)} for ${topicWords(topic)}`,
    fix: `pgbq work ${topicFlag(topic)}`,
  }),
  'no-worker-for-role': (facts) => sayRole(facts),
  'topic-limit': ({ topic, evidence: e }) => ({
    text: `waits because ${topicWords(topic)} are at their limit: ${e.running} of ${e.limit} run`,
    fix: `${LIMIT} ${e.limit + 1} ${topicFlag(topic)}`,
  }),
  delay: ({ topic, evidence: e }) => ({
    text: `waits until ${e.until}, while a place of ${topicWords(topic)} rests for ${e.delay_in_sec} s after a run`,
    fix: `pgbq config set delay_in_sec 0 ${topicFlag(topic)}`,
  }),
  'global-limit': ({ evidence: e }) => ({
    text:
      e.limit === 0
        ? "waits because the queue's limit is 0"
        : `is next, but the queue is at its limit: ${e.running} of ${e.limit} run`,
    fix: `${LIMIT} ${e.limit + 1}`,
  }),
  ahead: ({ evidence: e }) => sayAhead(e),
}

function sayRunning(e: Evidence): ReturnType<Say> {
  if (e.worker_is_gone)
    return {
      text: 'counts as running, but its worker is gone: the next look rescues it',
      fix: 'pgbq calibrate',
    }
  const end = e.end_requested ? `; its end was asked for (${e.end_requested})` : ''
  return {
    text: `is running since ${e.started_at} on worker ${e.worker.id} (${e.worker.host}/${e.worker.pid})${end}`,
  }
}

function sayAhead(e: Evidence): ReturnType<Say> {
  const isFull = e.running >= e.limit
  const isBusy = e.workers > 0 && e.busy >= e.workers
  const fix = isFull ? `${LIMIT} ${e.limit + 1}` : 'pgbq work, on one more host'
  if (e.ahead > 0) {
    const count = `${e.more ? 'more than ' : ''}${e.ahead} ${e.ahead === 1 ? 'task that goes' : 'tasks that go'} first`
    const full = isFull ? `, and the queue is at its limit: ${e.running} of ${e.limit} run` : ''
    return { text: `waits behind ${count}${full}`, fix }
  }
  if (isBusy) return { text: `is next, but all workers are busy (${e.busy})`, fix }
  return {
    text: e.workers === 0 ? 'is next: a worker for it is being started' : 'is next: a worker takes it now',
  }
}

function sayRole({ id, role, evidence: e }: Facts): ReturnType<Say> {
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
    fix: `give pgbq work that role's password in .pgpass, or run: pgbq work --run-as set-role`,
  }
}

function supervisors({ supervisors }: Evidence): string {
  return supervisors.length === 1
    ? 'the supervisor does not work'
    : `none of ${supervisors.length} supervisors works`
}

const topicWords = (topic: string | null): string =>
  topic === null ? 'tasks without topic' : `the tasks of topic "${topic}"`

function holder({ blocked_by }: Evidence): string {
  const [first, ...others] = blocked_by
  const who =
    first.task_id !== null
      ? `task ${first.task_id}`
      : first.pid === 0
        ? 'a prepared transaction'
        : `backend ${first.pid}${first.role ? ` of role "${first.role}"` : ''}`
  return others.length === 0 ? who : `${who} (and ${others.length} more)`
}

function unblock({ blocked_by: [first] }: Evidence): string {
  if (first.task_id !== null) return `pgbq cancel ${first.task_id}`
  if (first.pid === 0) return psqlCommand('SELECT gid, prepared, owner FROM pg_prepared_xacts')
  return psqlCommand(`SELECT pg_terminate_backend(${first.pid})`)
}
