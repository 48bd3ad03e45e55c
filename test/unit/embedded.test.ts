import { describe, expect, test } from 'vitest'
import { findUser } from '../../src/embedded/owner.js'
import { defaultHome, socketDirFor } from '../../src/embedded/place.js'
import { findPackage } from '../../src/embedded/programs.js'

describe('the home of the embedded server', () => {
  test.each([
    ['PGBQ_EMBEDDED_HOME before all', { PGBQ_EMBEDDED_HOME: '/a', XDG_DATA_HOME: '/b' }, false, '/a'],
    ['PGBQ_EMBEDDED_HOME for root too', { PGBQ_EMBEDDED_HOME: '/a' }, true, '/a'],
    ['the data folder of XDG', { XDG_DATA_HOME: '/b' }, false, '/b/pgbq'],
  ])('is %s', (_, env, root, home) => {
    expect(defaultHome(env, root)).toBe(home)
  })

  test('is a folder of the system for root, whose own folder the server cannot enter', () => {
    expect(defaultHome({ XDG_DATA_HOME: '/home/of-root/data' }, true)).toMatch(/^\/(var\/lib|Library)\//)
  })
})

describe('the folder of the socket', () => {
  test('is in the home while its path fits into a socket address', () => {
    expect(socketDirFor('/home/me/embedded/18')).toBe('/home/me/embedded/18/socket')
  })

  test.each([['a'.repeat(80)], ['é'.repeat(40)]])('is a short one in /tmp for the long home %s', (name) => {
    const folder = socketDirFor(`/${name}/embedded/18`)
    expect(folder).toMatch(/^\/tmp\/pgbq-[0-9a-f]{16}$/)
    expect(socketDirFor(`/${name}/embedded/18`)).toBe(folder)
    expect(socketDirFor(`/other${name}/embedded/18`)).not.toBe(folder)
  })
})

test('a platform without a package of programs is named, with the way out', () => {
  expect(() => findPackage('plan9-mips')).toThrow(
    expect.objectContaining({
      code: 'EMBEDDED_UNAVAILABLE',
      message: 'No PostgreSQL programs are installed for "plan9-mips"',
      hint: expect.stringContaining('DATABASE_URL='),
    }),
  )
})

test('a user is found by its whole name, and a negative id is read as the unsigned one it stands for', () => {
  const passwd = 'root:x:0:0::/root:/bin/sh\nnobody2:x:7:7::/:\nnobody:*:-2:-2:Nobody:/:\n'
  expect(findUser(passwd, 'nobody')).toEqual({ uid: 4294967294, gid: 4294967294, name: 'nobody' })
  expect(findUser(passwd, 'postgres')).toBeUndefined()
})
