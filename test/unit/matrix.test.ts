import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { readOptions } from '../matrix/options.js'
import { matrixReport } from '../matrix/report.js'
import { readLog, type SuiteResult } from '../matrix/run-suite.js'
import { MAJORS, releaseOf } from '../support/postgres-packages.js'

const LOG = ` RUN  v4 /somewhere

 FAIL  test/unit/a.test.ts > adds
 FAIL  test/unit/a.test.ts > adds
AssertionError: expected 1 to be 2
 FAIL  test/unit/b.test.ts [ test/unit/b.test.ts ]

skipped: runs VACUUM: PostgreSQL 13: it has none (from 14 on)

10 passed, 2 failed, 1 skipped
`
const result = (version: string, log: string): SuiteResult => ({
  version,
  ...readLog(log),
  seconds: 61,
  isOk: !log.includes('FAIL'),
  logFile: '/log',
})

test('reads the counts, each failed title once, and why a test was skipped', () => {
  expect(readLog(LOG)).toEqual({
    count: { passed: 10, failed: 2, skipped: 1 },
    failures: ['test/unit/a.test.ts > adds', 'test/unit/b.test.ts [ test/unit/b.test.ts ]'],
    skips: ['runs VACUUM: PostgreSQL 13: it has none (from 14 on)'],
  })
})

test('does not take a run that broke off for one without failures', () => {
  expect(readLog('9 passed, 0 failed, 0 skipped by then\nKilled').count).toBeNull()
})

test('reports a line a version, then what failed where, and what was skipped with its reason', () => {
  const fine = '12 passed, 0 failed, 1 skipped\nskipped: speaks German: no messages\n'
  const report = matrixReport([result('13.23', LOG), result('18.4', fine), result('17.10', 'FAIL')])
  expect(report).toBe(`PostgreSQL  passed     failed  skipped  took
     13.23      10          2        1  61 s
      18.4      12          0        1  61 s
     17.10          broke off           61 s

Failed on 13.23 (see /log):
  test/unit/a.test.ts > adds
  test/unit/b.test.ts [ test/unit/b.test.ts ]

Failed on 17.10 (see /log):

Skipped:
  13.23: runs VACUUM: PostgreSQL 13: it has none (from 14 on)
  18.4: speaks German: no messages`)
})

test('says once what every version skips for the same reason', () => {
  const log = 'skipped: speaks German: no messages\n1 passed, 0 failed, 1 skipped\n'
  const report = matrixReport([result('13.23', log), result('18.4', log)])
  expect(report).toMatch(/\n\nSkipped:\n {2}all: speaks German: no messages$/)
})

test.each([
  [[], [13, 14], { majors: [13, 14], files: [] }],
  [['--only', '14'], [13, 14], { majors: [14], files: [] }],
  [['--only', '14,13', 'sql-claim'], [13, 14], { majors: [14, 13], files: ['sql-claim'] }],
])('takes %j', (args, known, options) => {
  expect(readOptions(args, known)).toEqual(options)
})

test.each([[['--only', '12']], [['--only', '']], [['--only', '13,x']], [['--all']]])('refuses %j', (args) => {
  expect(() => readOptions(args, [13, 14])).toThrow(/--only|--all/)
})

test('has every supported version, the newest as the embedded server has it', () => {
  const { optionalDependencies } = JSON.parse(
    readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
  )
  expect(MAJORS).toEqual([13, 14, 15, 16, 17, 18])
  expect(new Set(Object.values(optionalDependencies))).toEqual(new Set([releaseOf(18)]))
})
