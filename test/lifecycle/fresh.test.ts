import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const copy = mkdtempSync(join(tmpdir(), 'pgbq-fresh-'))
const run = promisify(execFile)

/** A copy of what the generators read, so that they write beside the checkout and not into it. */
beforeAll(async () => {
  for (const name of [
    'package.json',
    'README.md',
    'oclif.manifest.json',
    'tsconfig.json',
    'bin',
    'dist',
    'sql',
  ]) {
    cpSync(join(ROOT, name), join(copy, name), { recursive: true })
  }
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'))
  const oclif = join(ROOT, 'node_modules', 'oclif', 'bin', 'run.js')
  rmSync(join(copy, 'oclif.manifest.json'))
  await run(process.execPath, [oclif, 'manifest'], { cwd: copy })
  await run(process.execPath, [oclif, 'readme', '--no-aliases'], { cwd: copy })
})

afterAll(() => rmSync(copy, { recursive: true, force: true }))

test.each(['oclif.manifest.json', 'README.md'])(
  '%s is what the commands say (renew it with npm run manifest)',
  (name) => {
    expect(readFileSync(join(ROOT, name), 'utf8')).toBe(readFileSync(join(copy, name), 'utf8'))
  },
)

test('the README names every parameter of the queue', () => {
  const sql = readFileSync(join(ROOT, 'sql', 'functions', '1_settings.sql'), 'utf8')
  const names = [...sql.matchAll(/^ {4}\('(\w+)',/gm)].map((m) => m[1]!)
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
  expect(names.length).toBeGreaterThan(8)
  expect(names.filter((name) => !readme.includes(`\`${name}\``))).toEqual([])
})
