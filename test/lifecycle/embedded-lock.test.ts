import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { withLock } from '../../src/embedded/lock.js'
import { findProcess, fromPs } from '../../src/embedded/process-table.js'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pgbq-lock-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const noWait = () => {}

test('lets one in at a time', async () => {
  let inside = 0
  let most = 0
  const visit = async () => {
    most = Math.max(most, ++inside)
    await setImmediate()
    inside--
  }
  await Promise.all(Array.from({ length: 20 }, () => withLock(folder, noWait, visit)))
  expect(most).toBe(1)
})

test('is free again after an error inside it, and keeps one empty ticket', async () => {
  const failing = withLock(folder, noWait, () => Promise.reject(new Error('inside')))
  await expect(failing).rejects.toThrow('inside')
  await withLock(folder, noWait, async () => {})
  expect(readdirSync(folder)).toEqual(['2'])
  expect(readFileSync(join(folder, '2'), 'utf8')).toBe('')
})

test('is taken from a dead holder, and its drafts are swept', async () => {
  const dead = spawnSync('true').pid
  writeFileSync(join(folder, '7'), JSON.stringify({ pid: dead, started: '1' }))
  writeFileSync(join(folder, `draft-${dead}-x`), '')
  await withLock(folder, noWait, async () => expect(readdirSync(folder)).toEqual(['8']))
})

test('is taken from a dead holder whose pid another process has by now', async () => {
  writeFileSync(join(folder, '7'), JSON.stringify({ pid: process.pid, started: 'long ago' }))
  await withLock(folder, noWait, async () => expect(readdirSync(folder)).toEqual(['8']))
})

test('tells once that it waits', async () => {
  const waits: string[] = []
  let second: Promise<void> | undefined
  await withLock(folder, noWait, async () => {
    second = withLock(
      folder,
      () => waits.push('waiting'),
      async () => {},
    )
    while (waits.length === 0) await setImmediate()
  })
  await second
  expect(waits).toEqual(['waiting'])
})

test('ps tells the same as /proc of a living process, and both nothing of a dead one', () => {
  const [line, table] = [fromPs(process.pid), findProcess(process.pid)]
  expect(line?.command.split(' ')[0]).toBe(table?.command.split(' ')[0])
  expect(findProcess(spawnSync('true').pid)).toBeUndefined()
})
