// A queue broken on purpose, for the torture's own tests: it finishes a task in a second transaction, as a
// worker would that does not know the queue's promise. Killed between the two, it leaves a task to be run again: until
// that has happened to some host, all of them wait there, and are ready once they do.
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'

const SLOTS = 3
const LOOK_EVERY_MS = 50
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

async function work(onUnderWay) {
  const client = await connect('pg_background_queue worker')
  const { rows } = await client.query(
    `select pid, backend_start::text as started, pg_postmaster_start_time()::text as server, usename
     from pg_stat_activity where pid = pg_backend_pid()`,
  )
  const [me] = rows
  const worker = await control.query(
    'select background_queue.register_worker($1, $2, $3, $4, true, $5, $6, $7, $8) as id',
    [supervisorId, hostname(), process.pid, me.usename, me.pid, me.started, me.server, SECRET],
  )
  while (!isStopping) {
    const claimed = await client.query('select * from background_queue.claim($1, $2)', [worker.rows[0].id, SECRET])
    const task = claimed.rows[0]
    if (task.task_id !== null) await run(client, task, onUnderWay)
    onUnderWay()
    if (task.task_id === null) await sleep(LOOK_EVERY_MS)
  }
  await client.end()
}

async function run(client, task, onEffect) {
  tell({ event: 'claimed', task_id: task.task_id })
  try {
    await client.query(`set role ${task.role}`)
    await client.query(task.sql_statement)
    await client.query('reset role')
    onEffect()
    while (!isStopping && !(await hasRescued(client))) await sleep(LOOK_EVERY_MS)
    await client.query(`select background_queue.finish($1, $2, null, null)`, [task.task_id, task.token])
  } catch (error) {
    await client.query('reset role')
    await client.query('select background_queue.fail($1, $2, $3)', [
      task.task_id,
      task.token,
      { sqlstate: error.code, message: error.message },
    ])
  }
}

async function hasRescued(client) {
  const { rows } = await client.query(`select from background_queue.attempts where outcome = 'rescued' limit 1`)
  return rows.length > 0
}

const working = []
const underWay = Array.from({ length: SLOTS }, () => new Promise((resolve) => working.push(work(resolve))))
await Promise.all(underWay)
tell({ event: 'ready' })
while (!isStopping) {
  await control.query(`select background_queue.tick($1, true, '{}')`, [supervisorId])
  await sleep(300)
}
await Promise.all(working)
await control.query('delete from background_queue.supervisors where id = $1', [supervisorId])
await control.end()
