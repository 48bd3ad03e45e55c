import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Files of an authority of our own, of a server at "localhost" alone, of a client, and of a stranger. */
export interface Certificates {
  authority: string
  stranger: string
  server: { cert: string; key: string }
  /** paths; the common name is the role's */
  client: { cert: string; key: string }
  text(path: string): string
}

export const hasOpenssl = (): boolean => spawnSync('openssl', ['version']).status === 0

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

/** Makes them in a folder, with openssl. */
export function makeCertificates(folder: string, role: string): Certificates {
  const file = (name: string) => join(folder, name)
  const authority = (name: string) => {
    openssl([
      'req',
      '-x509',
      ...KEY,
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
      '-keyout',
      file(`${name}.key`),
      '-out',
      file(`${name}.crt`),
    ])
    return file(`${name}.crt`)
  }
  const signed = (name: string, subject: string, extension: string) => {
    writeFileSync(file(`${name}.ext`), extension)
    openssl([
      'req',
      ...KEY,
      '-subj',
      `/CN=${subject}`,
      '-keyout',
      file(`${name}.key`),
      '-out',
      file(`${name}.csr`),
    ])
    openssl([
      ...[
        'x509',
        '-req',
        '-in',
        file(`${name}.csr`),
        '-CA',
        file('authority.crt'),
        '-CAkey',
        file('authority.key'),
      ],
      ...['-CAcreateserial', '-days', '2', '-extfile', file(`${name}.ext`), '-out', file(`${name}.crt`)],
    ])
    return { cert: file(`${name}.crt`), key: file(`${name}.key`) }
  }
  return {
    authority: authority('authority'),
    stranger: authority('stranger'),
    server: signed('server', 'localhost', 'subjectAltName=DNS:localhost\n'),
    client: signed('client', role, 'extendedKeyUsage=clientAuth\n'),
    text: (path) => readFileSync(path, 'utf8'),
  }
}

function openssl(args: string[]): void {
  const { status, stderr } = spawnSync('openssl', args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`openssl ${args[0]} ended with ${status}: ${stderr}`)
}
