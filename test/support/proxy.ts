import { type AddressInfo, createServer, type Socket, connect as toServer } from 'node:net'

/** A network between clients and the server, which a test may break. */
export interface Proxy {
  port: number
  /** Breaks the connection of this backend, for both ends, without a word. */
  reset(backendPid: number): void
  /** From now on both ends of this backend's connection are heard by nobody, and nothing tells them so. */
  swallow(backendPid: number): void
  /** The same of all that there are, and of all that come. */
  fallSilent(): void
  /** Takes no more clients; those that are there stay. */
  refuse(): void
  /** how many clients there have been */
  readonly count: number
  close(): Promise<void>
}

/** How BackendKeyData begins: https://www.postgresql.org/docs/current/protocol-message-formats.html */
const BACKEND_KEY = Buffer.from([0x4b, 0, 0, 0, 12])

/** Forwards to a TCP port of this machine, or to a unix socket. */
export async function startProxy(server: { host: string; port: number }): Promise<Proxy> {
  const pairs = new Set<[Socket, Socket]>()
  const byBackend = new Map<number, [Socket, Socket]>()
  let count = 0
  let isSilent = false
  const swallowed = new Set<[Socket, Socket]>()
  const listener = createServer((client) => {
    const behind = server.host.startsWith('/')
      ? toServer(`${server.host}/.s.PGSQL.${server.port}`)
      : toServer(server.port, server.host)
    count++
    const pair: [Socket, Socket] = [client, behind]
    if (isSilent) swallowed.add(pair)
    pairs.add(pair)
    behind.on('data', (chunk: Buffer) => {
      const at = chunk.indexOf(BACKEND_KEY)
      if (at >= 0 && chunk.length >= at + 9) byBackend.set(chunk.readInt32BE(at + 5), pair)
    })
    for (const [from, to] of [pair, [behind, client] as const]) {
      if (!isSilent) from.pipe(to)
      const end = () => {
        if (swallowed.has(pair)) return
        to.destroy()
        pairs.delete(pair)
      }
      from.on('error', end)
      from.on('close', end)
    }
  })
  const swallow = (pair: [Socket, Socket]) => {
    swallowed.add(pair)
    for (const socket of pair) socket.unpipe().resume()
  }
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  return {
    port: (listener.address() as AddressInfo).port,
    reset(backendPid) {
      const [client, behind] = byBackend.get(backendPid)!
      client.resetAndDestroy()
      behind.destroy()
    },
    swallow: (backendPid) => swallow(byBackend.get(backendPid)!),
    fallSilent() {
      isSilent = true
      for (const pair of pairs) swallow(pair)
    },
    refuse: () => void listener.close(),
    get count() {
      return count
    },
    close: () =>
      new Promise((resolve) => {
        for (const pair of pairs) for (const socket of pair) socket.destroy()
        listener.close(() => resolve())
      }),
  }
}
