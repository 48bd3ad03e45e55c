import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { destroyEmbedded, type EmbeddedServer, startEmbedded, stopEmbedded } from '../embedded/server.js'
import { type ConnectionTarget, resolveTarget } from '../engine/database/target.js'
import { Disk } from './disk.js'
import { Network } from './network.js'

/** Few enough connections to take them all, and little enough of a log for a small disk. */
const SETTINGS = { max_connections: '60', max_wal_size: '128MB', min_wal_size: '32MB' }

/** Not the user's embedded server: one in a folder of its own, which may be restarted, filled up and cut off. */
export class OwnServer {
  readonly disk: Disk | undefined
  readonly network: Network | undefined
  private readonly home: string
  private readonly settings: Record<string, string>
  private server!: EmbeddedServer

  private constructor(settings: Record<string, string>) {
    this.home = mkdtempSync(join(tmpdir(), 'pgbq-torture-server-'))
    chmodSync(this.home, 0o755)
    this.settings = { ...SETTINGS, ...settings }
    this.disk = Disk.mount(this.home)
    this.network = Network.make()
  }

  /** settings: more of the server's command line. Errors: those of startEmbedded. */
  static async start(
    onProgress: (message: string) => void,
    settings: Record<string, string> = {},
  ): Promise<OwnServer> {
    const server = new OwnServer(settings)
    try {
      await server.launch(onProgress)
      return server
    } catch (error) {
      await server.destroy()
      throw error
    }
  }

  get target(): ConnectionTarget {
    return resolveTarget(this.server.url)
  }

  get pid(): number {
    return this.server.pid
  }

  async launch(onProgress?: (message: string) => void): Promise<void> {
    this.server = await startEmbedded({
      home: this.home,
      settings: { ...this.settings, ...this.network?.serverSettings(this.home) },
      wrapper: this.network?.serverWrapper,
      onProgress,
    })
  }

  /** Down and up again; `immediate` is a crash for every session. Resolves when it takes connections. */
  async restart(mode: 'fast' | 'immediate'): Promise<void> {
    if (mode === 'immediate') process.kill(this.server.pid, 'SIGQUIT')
    // one that is going down still takes connections: it has to be gone before it is started
    await stopEmbedded({ home: this.home })
    await this.launch()
  }

  async destroy(): Promise<void> {
    try {
      await destroyEmbedded({ home: this.home })
    } finally {
      this.network?.remove()
      this.disk?.unmount()
      rmSync(this.home, { recursive: true, force: true })
    }
  }
}
