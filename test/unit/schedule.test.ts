import { describe, expect, test } from 'vitest'
import { resolveTarget } from '../../src/engine/database/target.js'
import { type OwnCallOptions, ownCall, withoutPassword } from '../../src/engine/schedule/own-call.js'
import { crontabLine } from '../../src/output/schedule/crontab.js'
import { systemdFiles } from '../../src/output/schedule/systemd.js'

const call = (options: Partial<OwnCallOptions> = {}) =>
  ownCall({
    words: ['/opt/node', '/opt/pgbq/bin/run.js', 'ensure-workers'],
    target: resolveTarget('postgresql://app@db.internal/app', {}),
    url: undefined,
    configPath: undefined,
    env: {},
    ...options,
  })

test.each([
  ['postgresql://app:s3cret@db/app', 'postgresql://app@db/app'],
  ['postgresql://app:a%40b:c@db:5432/app?x=1', 'postgresql://app@db:5432/app?x=1'],
  ['postgresql://db/app?password=s3cret', 'postgresql://db/app'],
  [
    'postgresql://db/app?user=app&password=s3cret&sslmode=disable',
    'postgresql://db/app?user=app&sslmode=disable',
  ],
  ['postgresql://db/app?PASSWORD=s3cret&user=app', 'postgresql://db/app?user=app'],
  ['postgresql://app@/app?host=%2Ftmp%2Fa:b', 'postgresql://app@/app?host=%2Ftmp%2Fa:b'],
])('a URL without its password: %s', (url, expected) => {
  expect(withoutPassword(url)).toBe(expected)
})

describe('what a call takes along', () => {
  test('is the URL without its password, whose place in .pgpass is told', () => {
    const url = 'postgresql://app:s3cret@db:6543/app'
    expect(call({ url, target: resolveTarget(url, {}) })).toMatchObject({
      variables: [['PGBQ_DATABASE_URL', 'postgresql://app@db:6543/app']],
      passwordLine: 'db:6543:app:app:PASSWORD',
    })
  })

  test("are libpq's variables, paths made absolute, but no password and nothing else", () => {
    const env = { PGHOST: 'db', PGSSLROOTCERT: 'ca.pem', PGPASSWORD: 's3cret', HOME: '/x', PGUSER: '' }
    const { variables, passwordLine } = call({ env })
    expect(variables).toEqual([
      ['PGHOST', 'db'],
      ['PGSSLROOTCERT', `${process.cwd()}/ca.pem`],
    ])
    expect(passwordLine).toBe('db.internal:5432:app:app:PASSWORD')
  })

  test('is the configuration file by its absolute path, or --embedded', () => {
    expect(call({ configPath: 'a/.pgbqrc' }).words.slice(-2)).toEqual([
      '--config',
      `${process.cwd()}/a/.pgbqrc`,
    ])
    expect(call({ url: 'embedded', target: undefined })).toMatchObject({
      name: 'embedded',
      words: [...call().words, '--embedded'],
    })
  })

  test('has no line break', () => {
    expect(() => call({ configPath: '/a\nb' })).toThrow(/^Expected no line break in "\/a\\nb"$/)
  })
})

describe('the line for cron', () => {
  test.each([
    ['/a/b.rc', '/a/b.rc'],
    ['/a b', "'/a b'"],
    ["/it's", `'/it'"'"'s'`],
    ['/50%', String.raw`/50\%`],
    ['/$HOME `x` "y"', `'/$HOME \`x\` "y"'`],
    ['', ''],
  ])('quotes the path %s', (path, quoted) => {
    const line = crontabLine(call(path === '' ? {} : { configPath: path }))
    expect(line).toBe(
      `* * * * * /opt/node /opt/pgbq/bin/run.js ensure-workers${path === '' ? '' : ` --config ${quoted}`} >/dev/null`,
    )
  })

  test.each([
    ['a backslash', '/a\\b', 'Expected no backslash in "/a\\b" for cron'],
    [
      'more than cron takes',
      `/${'x'.repeat(950)}`,
      /^The line for cron would have 1017 characters, cron takes 998$/,
    ],
  ])('is refused with %s', (_, configPath, message) => {
    expect(() => crontabLine(call({ configPath }))).toThrow(message)
  })
})

test('the unit quotes what systemd would read otherwise', () => {
  const env = { PGOPTIONS: `-c a="b\\c" 5% $x` }
  const { service, timer } = systemdFiles(call({ configPath: `/a "b" 5% $x`, env }), {
    user: 'app',
    stopWithinSec: 45,
  })
  expect(service.name).toBe('pgbq-app.service')
  expect(timer.name).toBe('pgbq-app.timer')
  expect(service.text).toContain(String.raw`Environment="PGOPTIONS=-c a=\"b\\c\" 5%% $x"`)
  expect(service.text).toContain(
    String.raw`ExecStart=/opt/node /opt/pgbq/bin/run.js ensure-workers --config "/a \"b\" 5%% $$x"`,
  )
})

test('a database of any name gives names of files that systemd takes', () => {
  const { service } = systemdFiles(call({ target: { config: { database: 'a /%b-c' } } }), {
    user: 'app',
    stopWithinSec: 45,
  })
  expect(service.name).toBe('pgbq-a___b_c.service')
  expect(service.text).toContain('Description=Workers of the queue in database a /%%b-c, while')
})
