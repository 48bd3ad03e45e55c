// The least that a slot has to do before its first task: a process, a connection, and a row that says when.
import pg from 'pg'

const client = new pg.Client({ connectionString: process.env.BENCH_URL })
await client.connect()
await client.query('insert into effects (n) values (0)')
await client.end()
process.disconnect()
