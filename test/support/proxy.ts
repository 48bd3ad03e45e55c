import { type AddressInfo, createServer, type Socket, connect as toServer } from 'node:net'

/** A network between clients and the server, which a test may break. */
export interface Proxy {
  port: number
  /** Breaks the connection that the server knows by this port of its client, for both ends, without a word. */
  reset(clientPort: number): void
  close(): Promise<void>
}

/** Forwards to a TCP port of this machine, or to a unix socket. */
export async function startProxy(server: { host: string; port: number }): Promise<Proxy> {
  const pairs = new Set<[Socket, Socket]>()
  const listener = createServer((client) => {
    const behind = server.host.startsWith('/')
      ? toServer(`${server.host}/.s.PGSQL.${server.port}`)
      : toServer(server.port, server.host)
    const pair: [Socket, Socket] = [client, behind]
    pairs.add(pair)
    for (const [from, to] of [pair, [behind, client] as const]) {
      from.pipe(to)
      from.on('error', () => to.destroy())
      from.on('close', () => {
        to.destroy()
        pairs.delete(pair)
      })
    }
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  return {
    port: (listener.address() as AddressInfo).port,
    reset(clientPort) {
      for (const [client, behind] of pairs)
        if (behind.localPort === clientPort) {
          client.resetAndDestroy()
          behind.destroy()
        }
    },
    close: () =>
      new Promise((resolve) => {
        for (const pair of pairs) for (const socket of pair) socket.destroy()
        listener.close(() => resolve())
      }),
  }
}
