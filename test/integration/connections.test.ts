import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { sendCancelRequest } from '../../src/engine/database/cancel.js'
import { Database } from '../../src/engine/database/database.js'
import { resolveTarget } from '../../src/engine/database/target.js'
import { type Certificates, hasOpenssl, makeCertificates } from '../support/certificates.js'
import { makeServer, type TcpServer } from '../support/tcp-server.js'
import { waitFor } from '../support/wait.js'

const CLOSED = 1
const SECRET = 's3c:ret\\% @'
const folder = mkdtempSync(join(tmpdir(), 'pgbq-connections-'))
const certificates: Certificates | undefined = hasOpenssl() ? makeCertificates(folder, 'cert') : undefined
let server: TcpServer

/** Who may log in how; without certificates TLS is off, and its tests are skipped. */
const HBA = `local all postgres trust
local all all scram-sha-256
${certificates ? 'hostssl all tls 127.0.0.1/32 scram-sha-256\nhostssl all cert 127.0.0.1/32 cert\nhostnossl all plain 127.0.0.1/32 trust' : ''}
host all free 127.0.0.1/32 trust
host all locked 127.0.0.1/32 scram-sha-256
`

beforeAll(async () => {
  server = await makeServer((put) => {
    put('pg_hba.conf', HBA)
    if (!certificates) return ''
    const { server: ours, authority, text } = certificates
    put('server.crt', text(ours.cert))
    put('server.key', text(ours.key))
    put('root.crt', text(authority))
    return `ssl = on\nssl_ca_file = 'root.crt'`
  })
  await server.start()
  const admin = await server.admin()
  for (const role of ['free', 'plain', 'cert']) await admin.query(`create role ${role} login`)
  for (const role of ['locked', 'tls']) await admin.query(`create role ${role} login password '${SECRET}'`)
  await admin.query('create database "a/b %" owner free')
  writeFiles()
})
afterAll(() => server?.remove())

const FILES: Record<string, () => string> = {
  services: () => `[free]\nhost=127.0.0.1\nport=${server.port}\nuser=free\ndbname=postgres\n
[locked]\n# of the tests\nhost=127.0.0.1\nport=${server.port}\nuser=locked\ndbname=postgres\npassword=${SECRET}\n
[wrong]\nhost=127.0.0.1\nhots=typo\n`,
  passwords: () =>
    `# of the tests\nelsewhere:*:*:*:no\n127.0.0.1:${server.port}:postgres:locked:${escaped}\nlocalhost:*:*:tls:${escaped}\n${server.folder}:*:*:locked:${escaped}\n`,
}
const escaped = SECRET.replace(/[\\:]/g, '\\$&')

function writeFiles(): void {
  for (const [name, text] of Object.entries(FILES)) writeFileSync(join(folder, name), text(), { mode: 0o600 })
  writeFileSync(join(folder, 'open'), FILES.passwords!(), { mode: 0o644 })
  if (!certificates) return
  writeFileSync(join(folder, 'open.key'), certificates.text(certificates.client.key))
  chmodSync(join(folder, 'open.key'), 0o644)
  mkdirSync(join(folder, 'home', '.postgresql'), { recursive: true })
  copyFileSync(certificates.authority, join(folder, 'home', '.postgresql', 'root.crt'))
}

/** Stands for what is known only once the server runs. */
function fill(text: string): string {
  return text
    .replaceAll('PORT', String(server.port))
    .replaceAll('SOCKETS', server.folder)
    .replaceAll('%2FSOCK', encodeURIComponent(server.folder))
    .replaceAll('FILES', folder)
}

type Env = Record<string, string>
const EMPTY_HOME = { HOME: '/nonexistent' }
const open = (url: string | undefined, env: Env = {}) => {
  const variables = Object.fromEntries(Object.entries(env).map(([name, value]) => [name, fill(value)]))
  const target = resolveTarget(url && fill(url), { ...EMPTY_HOME, PGPASSFILE: '/nonexistent', ...variables })
  return Database.connect(target, { applicationName: 'pgbq tests' })
}

/** Who, where, over what. */
async function session(url: string | undefined, env: Env = {}): Promise<string> {
  const database = await open(url, env)
  const { said } = await database.one<{ said: string }>(
    `select concat_ws(' ', session_user, current_database(),
       case when inet_server_addr() is null then 'socket' when s.ssl then 'tls' else 'tcp' end,
       nullif(current_setting('work_mem'), '4MB')) as said
     from pg_stat_ssl s where s.pid = pg_backend_pid()`,
  )
  await database.close()
  return said
}

async function refusal(url: string | undefined, env: Env = {}): Promise<string> {
  const error = await session(url, env).then(
    (said) => new Error(`It connected: ${said}`),
    (failed: Error) => failed,
  )
  const { code = 'none', hint = '' } = error as { code?: string; hint?: string }
  expect(`${error.message} ${hint}`).not.toContain('s3c')
  return `${code}: ${error.message}`.replaceAll(String(server.port), 'PORT').replaceAll(folder, 'FILES')
}

/** How a query ends that runs when the request to cancel it is sent. */
async function cancelled(database: Database, on: TcpServer): Promise<string> {
  const sleeping = database.query('select pg_sleep(60)').catch((error: { code: string }) => error.code)
  const admin = await on.admin()
  const { processId } = database.backendKey
  await waitFor('it to sleep', async () => {
    const [found] = await admin.query(
      `select from pg_stat_activity where pid = $1 and wait_event = 'PgSleep'`,
      [processId],
    )
    return found
  })
  await sendCancelRequest(database.target, database.backendKey)
  const code = await sleeping
  await database.close()
  return code as string
}

const PG = {
  PGHOST: '127.0.0.1',
  PGPORT: 'PORT',
  PGUSER: 'free',
  PGDATABASE: 'postgres',
  PGSSLMODE: 'disable',
}
const PLAIN = { PGSSLMODE: 'disable' }

describe('a server is found as libpq finds it', () => {
  test.each<[what: string, url: string | undefined, env: Env, said: string]>([
    ['a URL', 'postgresql://free@127.0.0.1:PORT/postgres', PLAIN, 'free postgres tcp'],
    ['a URL of the other scheme', 'postgres://free@127.0.0.1:PORT/postgres', PLAIN, 'free postgres tcp'],
    [
      'a database with a slash and a percent sign',
      'postgresql://free@127.0.0.1:PORT/a%2Fb%20%25',
      PLAIN,
      'free a/b % tcp',
    ],
    [
      'a URL of parameters alone',
      'postgresql:///?host=127.0.0.1&port=PORT&user=free&dbname=postgres',
      PLAIN,
      'free postgres tcp',
    ],
    [
      'a URL without user and database',
      'postgresql://127.0.0.1:PORT',
      { ...PG, PGHOST: 'elsewhere' },
      'free postgres tcp',
    ],
    [
      'a password with signs, escaped',
      'postgresql://locked:s3c%3Aret%5C%25%20%40@127.0.0.1:PORT/postgres',
      PLAIN,
      'locked postgres tcp',
    ],
    [
      'a password with signs, raw',
      'postgresql://locked:s3c:ret\\% @@127.0.0.1:PORT/postgres',
      PLAIN,
      'locked postgres tcp',
    ],
    [
      'a socket as a parameter',
      'postgresql://locked@/postgres?host=SOCKETS&port=PORT',
      { PGPASSWORD: SECRET },
      'locked postgres socket',
    ],
    [
      'a socket as a host',
      'postgresql://locked@%2FSOCK:PORT/postgres',
      { PGPASSWORD: SECRET },
      'locked postgres socket',
    ],
    [
      'a socket, where TLS is asked for',
      'postgresql://locked@/postgres?host=SOCKETS&port=PORT&sslmode=require',
      { PGPASSWORD: SECRET },
      'locked postgres socket',
    ],
    ['keywords', 'host=127.0.0.1 port=PORT user=free dbname=postgres', PLAIN, 'free postgres tcp'],
    [
      'keywords in quotes',
      "host = '127.0.0.1'\tport=PORT user='fr\\ee' dbname = 'a/b %'",
      PLAIN,
      'free a/b % tcp',
    ],
    [
      'keywords with a password',
      `host=127.0.0.1 port=PORT user=locked password='s3c:ret\\\\% @' dbname=postgres`,
      PLAIN,
      'locked postgres tcp',
    ],
    [
      'keywords of a socket',
      'host=SOCKETS port=PORT user=locked dbname=postgres',
      { PGPASSWORD: SECRET },
      'locked postgres socket',
    ],
    ['variables', undefined, PG, 'free postgres tcp'],
    ['an empty variable', undefined, { ...PG, PGHOSTADDR: '', PGSERVICE: '' }, 'free postgres tcp'],
    [
      'an address instead of a look-up',
      undefined,
      { ...PG, PGHOST: 'nowhere.invalid', PGHOSTADDR: '127.0.0.1' },
      'free postgres tcp',
    ],
    ['options', undefined, { ...PG, PGOPTIONS: '-c work_mem=3MB' }, 'free postgres tcp 3MB'],
    [
      'options in a URL before variables',
      'postgresql://free@127.0.0.1:PORT/postgres?options=-c%20work_mem%3D2MB',
      { ...PLAIN, PGOPTIONS: '-c work_mem=3MB' },
      'free postgres tcp 2MB',
    ],
    [
      'a service',
      undefined,
      { PGSERVICE: 'free', PGSERVICEFILE: 'FILES/services', ...PLAIN },
      'free postgres tcp',
    ],
    [
      'a service with a password',
      undefined,
      { PGSERVICE: 'locked', PGSERVICEFILE: 'FILES/services', ...PLAIN },
      'locked postgres tcp',
    ],
    [
      'a service in a URL',
      'postgresql:///a%2Fb%20%25?service=free',
      { PGSERVICEFILE: 'FILES/services', ...PLAIN },
      'free a/b % tcp',
    ],
    ['a service of a named file', 'service=free servicefile=FILES/services', PLAIN, 'free postgres tcp'],
    [
      'a service before variables',
      'service=free',
      { ...PG, PGUSER: 'nobody', PGSERVICEFILE: 'FILES/services' },
      'free postgres tcp',
    ],
    [
      'a password file',
      'postgresql://locked@127.0.0.1:PORT/postgres',
      { ...PLAIN, PGPASSFILE: 'FILES/passwords' },
      'locked postgres tcp',
    ],
    [
      'a password file for a socket',
      'postgresql://locked@%2FSOCK:PORT/postgres',
      { PGPASSFILE: 'FILES/passwords' },
      'locked postgres socket',
    ],
    [
      'a named password file',
      'postgresql://locked@127.0.0.1:PORT/postgres?passfile=FILES/passwords',
      PLAIN,
      'locked postgres tcp',
    ],
    [
      'a password file beside an empty PGPASSWORD',
      'postgresql://locked@127.0.0.1:PORT/postgres',
      { ...PLAIN, PGPASSWORD: '', PGPASSFILE: 'FILES/passwords' },
      'locked postgres tcp',
    ],
    [
      'PGPASSWORD before a password file',
      'postgresql://locked@127.0.0.1:PORT/postgres',
      { ...PLAIN, PGPASSWORD: SECRET, PGPASSFILE: 'FILES/open' },
      'locked postgres tcp',
    ],
    [
      'the second of two hosts',
      `postgresql://free@127.0.0.1:${CLOSED},127.0.0.1:PORT/postgres`,
      PLAIN,
      'free postgres tcp',
    ],
    [
      'the second of two hosts in variables',
      undefined,
      { ...PG, PGHOST: '/nonexistent,127.0.0.1', PGPORT: `${CLOSED},PORT` },
      'free postgres tcp',
    ],
    [
      'one port for two hosts',
      'host=/nonexistent,127.0.0.1 port=PORT user=free dbname=postgres',
      PLAIN,
      'free postgres tcp',
    ],
    [
      'a host that takes read-write sessions',
      `postgresql://free@/postgres?host=SOCKETS,127.0.0.1&port=${CLOSED},PORT&target_session_attrs=read-write`,
      PLAIN,
      'free postgres tcp',
    ],
    [
      'any host, where a standby is preferred',
      'postgresql://free@127.0.0.1:PORT/postgres?target_session_attrs=prefer-standby',
      PLAIN,
      'free postgres tcp',
    ],
    [
      'parameters of other programs',
      'postgresql://free@127.0.0.1:PORT/postgres?schema=public&pgbouncer=true&connect_timeout=5',
      PLAIN,
      'free postgres tcp',
    ],
    [
      'a name of its own application',
      'postgresql://free@127.0.0.1:PORT/postgres?application_name=x',
      PLAIN,
      'free postgres tcp',
    ],
  ])('by %s', async (_, url, env, said) => {
    expect(await session(url, env)).toBe(said)
  })

  test.each<[what: string, url: string | undefined, env: Env, code: RegExp]>([
    [
      'no host answers',
      `postgresql://u:s3c@127.0.0.1:${CLOSED},localhost:${CLOSED}/d`,
      PLAIN,
      /^SERVER_UNREACHABLE: No server answers for database "d" at 127\.0\.0\.1:1, localhost:1: 127\.0\.0\.1:1: connect ECONNREFUSED 127\.0\.0\.1:1; localhost:1: /,
    ],
    [
      'no host is a standby',
      'host=127.0.0.1 port=PORT user=free dbname=postgres target_session_attrs=standby',
      PLAIN,
      /^SERVER_UNREACHABLE: No server answers for database "postgres" at 127\.0\.0\.1:PORT as standby: 127\.0\.0\.1:PORT is not standby$/,
    ],
    [
      'the first host refuses the login',
      `postgresql://nobody@127.0.0.1:PORT,127.0.0.1:${CLOSED}/d`,
      PLAIN,
      /^LOGIN_REFUSED: /,
    ],
    [
      'others may read the password file',
      'postgresql://locked@127.0.0.1:PORT/postgres',
      { ...PLAIN, PGPASSFILE: 'FILES/open' },
      /^LOGIN_REFUSED: .* the password file "FILES\/open" is not used, because others may read it$/,
    ],
    [
      'no line of the password file fits',
      'postgresql://locked@localhost:PORT/postgres',
      { ...PLAIN, PGPASSFILE: 'FILES/passwords' },
      /^LOGIN_REFUSED: .*none was given$/,
    ],
    ['a keyword is none', 'hots=127.0.0.1', {}, /^INVALID_URL: .* does not know: "hots"$/],
    [
      'a password has a blank',
      'host=h password=x s3c=t',
      {},
      /^INVALID_URL: The connection string has a parameter that libpq does not know$/,
    ],
    [
      'a quote is not closed',
      "host=h password='s3c",
      {},
      /^INVALID_URL: The connection string cannot be read: no keyword = value stands at its character 8$/,
    ],
    [
      'a keyword of a service is none',
      'service=wrong',
      { PGSERVICEFILE: 'FILES/services' },
      /^INVALID_URL: The service "wrong" .*"hots"$/,
    ],
    [
      'ports and hosts differ in number',
      'host=a,b,c port=1,2',
      {},
      /^INVALID_VALUE: Expected as many ports and addresses as hosts, 3$/,
    ],
    ['a port is none', 'port=x', {}, /^INVALID_VALUE: Expected port to be a port from 1 to 65535, got "x"$/],
    [
      'a port in a URL may be part of a password',
      'postgresql://u:s3c/ret@h/d',
      {},
      /^INVALID_URL: The database URL cannot be read: its hosts and ports are not as in/,
    ],
    ['a URL holds a NUL', 'postgresql://u:s3c%00@h/d', {}, /^INVALID_URL: .*%00$/],
    [
      'a mode is none',
      'sslmode=full',
      {},
      /^INVALID_VALUE: Expected sslmode to be one of disable, .*got "full"$/,
    ],
    [
      'a kind of session is none',
      'target_session_attrs=rw',
      {},
      /^INVALID_VALUE: Expected target_session_attrs to be one of/,
    ],
    [
      'it asks for a protection that cannot be held',
      'channel_binding=require',
      {},
      /^NOT_SUPPORTED: The connection parameter channel_binding=require /,
    ],
    [
      'a variable asks for one',
      undefined,
      { ...PG, PGREQUIREAUTH: 'scram-sha-256' },
      /^NOT_SUPPORTED: The connection parameter require_auth=/,
    ],
  ])('or refused, where %s', async (_, url, env, code) => {
    expect(await refusal(url, env)).toMatch(code)
  })
})

describe('TLS by the rules of libpq', () => {
  beforeEach((ctx) => {
    if (!certificates) ctx.skip('there is no program "openssl"')
  })
  const TLS = 'host=localhost hostaddr=127.0.0.1 port=PORT user=tls dbname=postgres'
  const BY_ADDRESS = 'host=127.0.0.1 port=PORT user=tls dbname=postgres'
  const KEYS = { PGPASSFILE: 'FILES/passwords' }
  const PASSWORD = { PGPASSWORD: SECRET }
  const AUTHORITY = 'sslrootcert=FILES/authority.crt'
  const CLIENT = 'sslcert=FILES/client.crt sslkey=FILES/client.key'

  test.each<[what: string, url: string, env: Env, said: string]>([
    ['is taken where the server has it', `${TLS}`, KEYS, 'tls postgres tls'],
    [
      'is left where the role may come only without',
      'host=127.0.0.1 port=PORT user=plain dbname=postgres',
      {},
      'plain postgres tcp',
    ],
    [
      'is left with sslmode=allow',
      'host=127.0.0.1 port=PORT user=free dbname=postgres sslmode=allow',
      {},
      'free postgres tcp',
    ],
    ['is taken with allow where the role may come only so', `${TLS} sslmode=allow`, KEYS, 'tls postgres tls'],
    ['with require trusts any certificate', `${BY_ADDRESS} sslmode=require`, PASSWORD, 'tls postgres tls'],
    [
      'with ssl=true is required',
      'postgresql://tls@127.0.0.1:PORT/postgres?ssl=true',
      PASSWORD,
      'tls postgres tls',
    ],
    [
      'with verify-ca trusts the authority for any name',
      `${BY_ADDRESS} sslmode=verify-ca ${AUTHORITY}`,
      PASSWORD,
      'tls postgres tls',
    ],
    [
      'with verify-full trusts the authority for the name',
      `${TLS} sslmode=verify-full ${AUTHORITY}`,
      KEYS,
      'tls postgres tls',
    ],
    [
      'is set by variables',
      TLS,
      { ...KEYS, PGSSLMODE: 'verify-full', PGSSLROOTCERT: 'FILES/authority.crt' },
      'tls postgres tls',
    ],
    [
      'is set by files in the home',
      `${TLS} sslmode=verify-full`,
      { ...KEYS, HOME: 'FILES/home' },
      'tls postgres tls',
    ],
    [
      'shows a certificate',
      `${TLS.replace('=tls', '=cert')} sslmode=verify-full ${AUTHORITY} ${CLIENT}`,
      {},
      'cert postgres tls',
    ],
    [
      'shows a certificate that variables name',
      TLS.replace('=tls', '=cert'),
      { PGSSLCERT: 'FILES/client.crt', PGSSLKEY: 'FILES/client.key' },
      'cert postgres tls',
    ],
  ])('%s', async (_, url, env, said) => {
    expect(await session(url, env)).toBe(said)
  })

  test.each<[what: string, url: string, env: Env, code: RegExp]>([
    [
      'the name is another',
      `${BY_ADDRESS} sslmode=verify-full ${AUTHORITY}`,
      PASSWORD,
      /^CERTIFICATE_REFUSED: No TLS with .*127\.0\.0\.1 is not in the cert's list/,
    ],
    [
      'the authority is another',
      `${TLS} sslmode=verify-full sslrootcert=FILES/stranger.crt`,
      KEYS,
      /^CERTIFICATE_REFUSED: /,
    ],
    [
      'the authority is another, with verify-ca',
      `${TLS} sslmode=verify-ca sslrootcert=FILES/stranger.crt`,
      KEYS,
      /^CERTIFICATE_REFUSED: /,
    ],
    [
      'the authority is another, with require',
      `${TLS} sslmode=require sslrootcert=FILES/stranger.crt`,
      KEYS,
      /^CERTIFICATE_REFUSED: /,
    ],
    [
      'no authority is named that could be known',
      `${TLS} sslmode=verify-full`,
      KEYS,
      /^CERTIFICATE_REFUSED: /,
    ],
    ['verify-ca has no authority', `${TLS} sslmode=verify-ca`, KEYS, /^CERTIFICATE_MISSING: /],
    [
      'the file of the authority is missing',
      `${TLS} sslmode=verify-full sslrootcert=FILES/nope.crt`,
      KEYS,
      /^CERTIFICATE_MISSING: The file "FILES\/nope.crt" does not exist$/,
    ],
    [
      'others may read the key',
      `${TLS} sslcert=FILES/client.crt sslkey=FILES/open.key`,
      KEYS,
      /^KEY_OPEN: Others may read the key "FILES\/open.key"/,
    ],
    [
      'it is left out and the role may come only with it',
      `${TLS} sslmode=disable`,
      KEYS,
      /^LOGIN_REFUSED: .*no encryption$/,
    ],
    [
      'the system has no weaker mode',
      `${TLS} sslmode=require sslrootcert=system`,
      KEYS,
      /^INVALID_VALUE: sslrootcert=system needs sslmode=verify-full$/,
    ],
    ['the role has no certificate', TLS.replace('=tls', '=cert'), {}, /^LOGIN_REFUSED: .*certificate/],
  ])('refuses, where %s', async (_, url, env, code) => {
    expect(await refusal(url, env)).toMatch(code)
  })

  test('carries a cancel request too', async () => {
    expect(await cancelled(await open(`${TLS} sslmode=verify-full ${AUTHORITY}`, KEYS), server)).toBe('57014')
  })
})

test('a server without TLS is used without it, and refused where TLS is required', async () => {
  const plain = await makeServer()
  try {
    await plain.start()
    const at = `host=127.0.0.1 port=${plain.port} user=postgres`
    expect(await session(at)).toBe('postgres postgres tcp')
    expect(await refusal(`${at} sslmode=require`)).toMatch(/^TLS_UNAVAILABLE: The server of .* takes no TLS/)
    expect(await cancelled(await open(at), plain)).toBe('57014')
  } finally {
    await plain.remove()
  }
})
