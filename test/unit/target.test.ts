import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { asRole, chosenUrl, describeTarget, resolveTarget } from '../../src/engine/database/target.js'

const SERVICES = join(mkdtempSync(join(tmpdir(), 'pgbq-service-')), 'services')
writeFileSync(
  SERVICES,
  '# of the tests\n[other]\nhost=wrong\n\n[shop]\nhost=db.example\nport=6000\nuser=clerk\ndbname=shop\npassword=s3cret\n',
)

describe('the server that is chosen', () => {
  const all = {
    flag: 'postgresql://flag',
    file: 'postgresql://file',
    env: { PGBQ_DATABASE_URL: 'postgresql://own', DATABASE_URL: 'postgresql://common' },
  }

  test('is that of --database-url, PGBQ_DATABASE_URL, DATABASE_URL, the file, in this order', () => {
    expect(chosenUrl(all)).toBe('postgresql://flag')
    expect(chosenUrl({ ...all, flag: undefined })).toBe('postgresql://own')
    expect(chosenUrl({ ...all, flag: undefined, env: { DATABASE_URL: 'postgresql://common' } })).toBe(
      'postgresql://common',
    )
    expect(chosenUrl({ file: all.file, env: {} })).toBe('postgresql://file')
    expect(chosenUrl({ env: {} })).toBeUndefined()
  })

  test('is for workers the direct one, in front of each kind of these', () => {
    const env = { ...all.env, PGBQ_DIRECT_URL: 'postgresql://direct-env' }
    const direct = { flag: 'postgresql://direct-flag', file: 'postgresql://direct-file' }
    const ofFile = { flag: undefined, file: direct.file }
    expect(chosenUrl({ ...all, env, direct })).toBe('postgresql://direct-flag')
    expect(chosenUrl({ ...all, env, direct: ofFile })).toBe('postgresql://flag')
    expect(chosenUrl({ ...all, flag: undefined, env, direct: ofFile })).toBe('postgresql://direct-env')
    expect(chosenUrl({ ...all, flag: undefined, direct: ofFile })).toBe('postgresql://own')
    expect(chosenUrl({ file: all.file, env: {}, direct: ofFile })).toBe('postgresql://direct-file')
    expect(chosenUrl({ ...all, flag: undefined, env })).toBe('postgresql://own')
  })

  test('counts an empty variable as not set', () => {
    expect(chosenUrl({ env: { PGBQ_DATABASE_URL: '', DATABASE_URL: 'postgresql://common' } })).toBe(
      'postgresql://common',
    )
  })
})

describe("libpq's variables", () => {
  const env = { PGHOST: 'h', PGPORT: '6001', PGUSER: 'u', PGDATABASE: 'd' }

  test('name the server where no URL does', () => {
    expect(resolveTarget(undefined, env).config).toEqual({ host: 'h', port: 6001, user: 'u', database: 'd' })
  })

  test('fill in what a URL leaves out', () => {
    expect(resolveTarget('postgresql:///other', env).config).toMatchObject({
      host: 'h',
      port: 6001,
      user: 'u',
      database: 'other',
    })
  })

  test('name the database as the user where nothing names one', () => {
    expect(resolveTarget(undefined, { PGHOST: 'h', PGUSER: 'u' }).config.database).toBe('u')
  })

  test.each(['abc', '0', '65536', '-1'])('refuse the port "%s"', (PGPORT) => {
    expect(() => resolveTarget(undefined, { PGPORT })).toThrow(
      `Expected PGPORT to be a port from 1 to 65535, got "${PGPORT}"`,
    )
  })

  test('may name a service, which goes before the others', () => {
    const target = resolveTarget(undefined, { ...env, PGSERVICE: 'shop', PGSERVICEFILE: SERVICES })
    expect(target.config).toEqual({
      host: 'db.example',
      port: 6000,
      user: 'clerk',
      database: 'shop',
      password: 's3cret',
    })
  })

  test('refuse a service that no file knows', () => {
    expect(() => resolveTarget(undefined, { PGSERVICE: 'nope', PGSERVICEFILE: SERVICES })).toThrow(
      /^No service is named "nope" in /,
    )
  })
})

describe('a URL', () => {
  test.each([
    'mysql://u:s3cret@h/d',
    's3cret',
    'postgresql://u:s3cret@h:99999999/d',
    'postgres://u:s3cret@[::1/d',
  ])('that cannot be read is refused without being repeated: %s', (url) => {
    let message = ''
    try {
      resolveTarget(url, {})
    } catch (error) {
      message = (error as Error).message
    }
    expect(message).toMatch(/URL/)
    expect(message).not.toContain('s3cret')
  })

  test('is described without its password', () => {
    expect(describeTarget(resolveTarget('postgresql://u:s3cret@h:5/d', {}))).toBe('database "d" at h:5')
    expect(describeTarget(resolveTarget('postgresql://u@/d?host=/run/pg', {}))).toBe(
      'database "d" at /run/pg',
    )
  })

  test("loses its password where another role's credentials are to be used", () => {
    const { config } = asRole(resolveTarget('postgresql://u:s3cret@h:5/d', {}), 'alice')
    expect(config).toMatchObject({ user: 'alice', host: 'h', database: 'd' })
    expect(JSON.stringify(config)).not.toContain('s3cret')
  })
})
