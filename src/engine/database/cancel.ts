import './navigator.js'
import pg from 'pg'
import type { BackendKey } from './database.js'
import type { ConnectionTarget } from './target.js'

const GIVE_UP_MS = 5000

/**
 * Asks the server to cancel what the backend runs now, and resolves when the server has delivered the signal.
 * Needs no rights on the backend's role.
 */
export async function sendCancelRequest(target: ConnectionTarget, key: BackendKey): Promise<void> {
  const client = new pg.Client(target.config) as unknown as {
    host: string
    port: number
    connection: {
      once(event: string, listener: (error?: Error) => void): void
      on(event: string, listener: (error?: Error) => void): void
      connect(port: number, host: string): void
      connect(path: string): void
      cancel(processId: number, secretKey: number): void
      requestSsl(): void
      stream: { destroy(): void }
    }
    ssl: unknown
  }
  const { connection } = client
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      connection.stream.destroy()
      reject(new Error('The server took no cancel request'))
    }, GIVE_UP_MS)
    connection.on('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
    connection.once('end', () => {
      clearTimeout(timer)
      resolve()
    })
    connection.once(client.ssl ? 'sslconnect' : 'connect', () =>
      connection.cancel(key.processId, key.secretKey),
    )
    if (client.ssl) connection.once('connect', () => connection.requestSsl())
    if (client.host.startsWith('/')) connection.connect(`${client.host}/.s.PGSQL.${client.port}`)
    else connection.connect(client.port, client.host)
  })
}
