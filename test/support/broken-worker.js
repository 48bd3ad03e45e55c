// A queue broken on purpose, for the torture's own tests: it finishes a task in a second transaction, as a
// worker would that does not know the queue's promise. Killed between the two, it leaves a task to be run again.
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'

const SLOTS = 3
const PAUSE_MS = 250
const SECRET = 'broken'

const tell = (event) => process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), ...event })}\n`)
const connect = async (name) => {
  const client = new pg.Client({ connectionString: process.env.PGBQ_DATABASE_URL, application_name: name })
  await client.connect()
  return client
}

let isStopping = false
process.on('SIGTERM', () => {
  isStopping = true
})

const control = await connect('pg_background_queue supervisor')
const registered = await control.query(
  `select background_queue.register_supervisor($1, $2, 'broken', $3, null, null) as id`,
  [hostname(), process.pid, SLOTS],
)
const supervisorId = registered.rows[0].id

async function work() {
  const client = await connect('pg_background_queue worker')
  const { rows } = await client.query(
    `select pid, backend_start::text as started, pg_postmaster_start_time()::text as server, usename
     from pg_stat_activity where pid = pg_backend_pid()`,
  )
  const [me] = rows
  const worker = await control.query(
    'select background_queue.register_worker($1, $2, $3, $4, false, $5, $6, $7, $8) as id',
    [supervisorId, hostname(), process.pid, me.usename, me.pid, me.started, me.server, SECRET],
  )
  while (!isStopping) {
    const claimed = await client.query('select * from background_queue.claim($1, $2)', [worker.rows[0].id, SECRET])
    const task = claimed.rows[0]
    if (task.task_id === null) await sleep(50)
    else await run(client, task)
  }
  await client.end()
}

async function run(client, task) {
  tell({ event: 'claimed', task_id: task.task_id })
  try {
    await client.query(task.sql_statement)
    await sleep(PAUSE_MS)
    await client.query(`select background_queue.finish($1, $2, null, null)`, [task.task_id, task.token])
  } catch (error) {
    await client.query('select background_queue.fail($1, $2, $3)', [
      task.task_id,
      task.token,
      { sqlstate: error.code, message: error.message },
    ])
  }
}

const working = Array.from({ length: SLOTS }, work)
tell({ event: 'ready' })
while (!isStopping) {
  await control.query(`select background_queue.tick($1, true, '{}')`, [supervisorId])
  await sleep(300)
}
await Promise.all(working)
await control.query('delete from background_queue.supervisors where id = $1', [supervisorId])
await control.end()
