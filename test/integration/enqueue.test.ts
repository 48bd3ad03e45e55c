import { expect, test } from 'vitest'
import { useDatabase } from '../support/database.js'

const db = useDatabase()

test('gives each task an id and takes a rolled back one away', async () => {
  await db.owner.query('begin')
  await db.owner.query(`select pg_background_enqueue('select 1')`)
  await db.owner.query('rollback')
  const rows = await db.owner.query('select id from pg_background_tasks')
  expect(rows).toEqual([])
})
