// Commits one-row INSERTs one after the other, where there is no pgbench. Plain JavaScript, so that tests can fork it.
import pg from 'pg'

const client = new pg.Client({ connectionString: process.env.BENCH_URL })
await client.connect()
await new Promise((resolve) => {
  process.once('message', resolve)
  process.send('ready')
})
for (let i = 0; i < Number(process.env.BENCH_COUNT); i++) await client.query('insert into effects (n) values (1)')
await client.end()
process.disconnect()
