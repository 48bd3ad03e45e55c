/** What each reason rests on, as background_queue.why() gives it. Ids are bigint, instants ISO 8601 in UTC. */
export interface EvidenceOf {
  closed: {
    started_at: string | null
    closed_at: string
    role: string
    errors: string | null
    /** of a failed or cancelled run; who finished one is not kept */
    worker: WorkerPlace | null
  }
  running: RunningEvidence
  /** a running task's backend waits, or a waiting task's row is held */
  lock: Partial<RunningEvidence> & { blocked_by: Holder[]; waits_for: AwaitedLock | null }
  'not-due': { run_at: string }
  'retry-due': { run_at: string; retry_count: number; retries: number; errors: string | null }
  paused: { topic: string | null; whole_queue: boolean }
  'global-limit': { limit: number; running: number }
  'topic-limit': TopicLoad
  delay: TopicLoad
  'no-supervisor': { supervisors: []; last_seen_at: string | null }
  'no-worker-for-topic': UnservedEvidence
  'no-worker-for-role': UnservedEvidence
  ahead: {
    /** tasks that go first, counted up to 1000 */
    ahead: number
    /** there are more than that */
    more: boolean
    running: number
    limit: number
    /** that may run the task, and how many of them run another */
    workers: number
    busy: number
  }
}

export type Reason = keyof EvidenceOf

/** Any of it. */
export type SomeEvidence = Partial<
  EvidenceOf['closed'] &
    EvidenceOf['lock'] &
    EvidenceOf['retry-due'] &
    EvidenceOf['ahead'] &
    Omit<TopicLoad, 'topic'> &
    Omit<UnservedEvidence, 'topic'> & { last_seen_at: string | null }
>

export interface RunningEvidence {
  started_at: string
  attempt: number
  worker: (WorkerPlace & { id: bigint }) | null
  worker_is_gone: boolean
  end_requested: string | null
}

export interface WorkerPlace {
  host: string
  pid: number
  backend_pid: number
}

export interface AwaitedLock {
  lock: string
  mode: string
  relation: string | null
}

/** A session that holds what another waits for; pid 0 is a prepared transaction. */
export interface Holder {
  pid: number
  role: string | null
  application_name: string | null
  state: string | null
  since: string | null
  task_id: bigint | null
}

export interface TopicLoad {
  topic: string | null
  limit: number
  running: number
  /** up to 20 of those that run, of those that the caller may see */
  tasks: { task_id: bigint; since: string }[]
  delay_in_sec: number
  /** places that rest after a run, and when the first is free again */
  resting: number
  until: string | null
}

export interface UnservedEvidence {
  topic: string | null
  role: string
  cause: 'renamed' | 'nologin' | 'refused' | null
  /** of a renamed role: whether another bears its name */
  is_known?: boolean
  /** those alive; topics: those they serve, '' for tasks without topic, null for all */
  supervisors: { host: string; pid: number; topics: string[] | null }[]
}
